//! Answers that are made here: short, typed, with a stable reason.

use std::borrow::Cow;

/// A response that no endpoint sent.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'a> {
    /// The status.
    pub(crate) status: u16,
    /// The stable reason, in the body and the log.
    pub(crate) reason: &'a str,
    /// `Location`.
    pub(crate) location: Option<&'a str>,
    /// The client prefers JSON.
    pub(crate) json: bool,
    /// The connection does not live on.
    pub(crate) close: bool,
}

impl Answer<'_> {
    /// The body: one line of text, or one JSON object.
    pub(crate) fn body(&self) -> String {
        let (status, phrase) = (self.status, phrase(self.status));
        if self.json {
            // Reasons are kebab-case ids of ours: nothing to escape.
            format!(
                "{{\"status\":{status},\"error\":\"{phrase}\",\"reason\":\"{}\"}}\n",
                self.reason
            )
        } else if self.reason.is_empty() || self.status < 400 {
            format!("{status} {phrase}\n")
        } else {
            format!("{status} {phrase}: {}\n", self.reason)
        }
    }

    /// The body's media type.
    pub(crate) fn content_type(&self) -> &'static str {
        if self.json { "application/json" } else { "text/plain; charset=utf-8" }
    }
}

/// The reason phrase of a status (RFC 9110 section 15), for those that are answered here.
pub(crate) fn phrase(status: u16) -> Cow<'static, str> {
    Cow::Borrowed(match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        other => return Cow::Owned(format!("Status {other}")),
    })
}

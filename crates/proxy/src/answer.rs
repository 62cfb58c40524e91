//! Answers that are made here: short, typed, with a stable reason.

use std::borrow::Cow;

use model::policy::AnswerBody;

/// A response that no endpoint sent.
#[derive(Clone, Debug)]
pub(crate) struct Answer<'a> {
    /// The status.
    pub(crate) status: u16,
    /// The stable reason, in the body and the log.
    pub(crate) reason: &'a str,
    /// `Location`.
    pub(crate) location: Option<&'a str>,
    /// The form of the body.
    pub(crate) form: Form,
    /// The `Server` field is left out.
    pub(crate) hides_server: bool,
    /// The connection does not live on.
    pub(crate) close: bool,
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One JSON object: the client prefers it.
    Json,
    /// What configuration wants.
    Of(AnswerBody),
}

impl Answer<'_> {
    /// The body: one line of text, one JSON object, or a small page.
    pub(crate) fn body(&self) -> String {
        let (status, phrase) = (self.status, phrase(self.status));
        // Reasons are kebab-case ids of ours: nothing to escape.
        match self.form {
            Form::Json => format!(
                "{{\"status\":{status},\"error\":\"{phrase}\",\"reason\":\"{}\"}}\n",
                self.reason
            ),
            Form::Of(AnswerBody::Page) => page(status, &phrase, self.reason),
            Form::Of(AnswerBody::Text) if self.reason.is_empty() || status < 400 => {
                format!("{status} {phrase}\n")
            }
            Form::Of(AnswerBody::Text) => format!("{status} {phrase}: {}\n", self.reason),
        }
    }

    /// The body's media type.
    pub(crate) fn content_type(&self) -> &'static str {
        match self.form {
            Form::Json => "application/json",
            Form::Of(AnswerBody::Page) => "text/html",
            Form::Of(AnswerBody::Text) => "text/plain; charset=utf-8",
        }
    }
}

/// A page as nginx makes them, with the reason where it has its own name.
fn page(status: u16, phrase: &str, reason: &str) -> String {
    let title = page_title(status).unwrap_or(phrase);
    format!(
        "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n\
         <center><h1>{status} {title}</h1></center>\r\n<hr><center>{reason}</center>\r\n\
         </body>\r\n</html>\r\n"
    )
}

/// The titles of nginx's pages, which people and tests look for, where they are not the phrase.
fn page_title(status: u16) -> Option<&'static str> {
    Some(match status {
        401 => "Authorization Required",
        405 => "Not Allowed",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        431 => "Request Header Or Cookie Too Large",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => return None,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(form: Form) -> Answer<'static> {
        Answer {
            status: 503,
            reason: "no-endpoint",
            location: None,
            form,
            hides_server: false,
            close: false,
        }
    }

    #[test]
    fn a_page_has_the_title_that_people_look_for() {
        let page = answer(Form::Of(AnswerBody::Page));
        assert_eq!(page.content_type(), "text/html");
        assert_eq!(
            page.body(),
            "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n\
             <body>\r\n<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n\
             <hr><center>no-endpoint</center>\r\n</body>\r\n</html>\r\n"
        );
    }

    #[test]
    fn who_asks_for_json_gets_json() {
        let json = answer(Form::Json);
        assert_eq!(json.content_type(), "application/json");
        assert!(json.body().contains(r#""reason":"no-endpoint""#));
        let text = answer(Form::Of(AnswerBody::Text));
        assert_eq!(text.body(), "503 Service Unavailable: no-endpoint\n");
    }
}

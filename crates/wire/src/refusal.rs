//! The one table of what is not accepted, in requests and in responses.
//!
//! Every check of this crate ends in one row of this table; the proxy answers a refused request
//! with the row's status, closes the connection (on HTTP/2: ends the stream), and writes the row's
//! reason to log and metrics. A refused *response* is a 502 whatever the row says: the table's
//! status speaks to the one who sent the message.

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident, $status:literal, $reason:literal, $sentence:literal;)+) => {
        /// Why a message was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $(#[doc = $sentence] $(#[$doc])* $variant,)+
        }

        impl Refusal {
            /// Every row of the table, in its order.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$variant,)+];

            /// The status for a client: 400, 405, 413, 414, 417, 431, 501 or 505; 502 for rows that
            /// only a response can meet.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Refusal::$variant => $status,)+ }
            }

            /// The stable kebab-case reason for log and metrics.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $(Refusal::$variant => $reason,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Refusal::$variant => $sentence,)+ }
            }
        }
    };
}

refusals! {
    // Lines.
    BareLineFeed, 400, "bare-line-feed", "A line ends with LF alone.";
    BareCarriageReturn, 400, "bare-carriage-return", "A CR is not followed by LF.";
    EmptyLines, 400, "empty-lines", "More than one empty line stands before the request line.";
    HeadTooLarge, 431, "head-too-large", "The head is longer than the limit.";

    // The request line (RFC 9112 section 3).
    RequestLine, 400, "request-line", "The request line is not method, target and version with one space between.";
    MethodInvalid, 400, "method-invalid", "The method is not a token.";
    MethodConnect, 405, "method-connect", "CONNECT is not served.";
    VersionInvalid, 400, "version-invalid", "The version is missing or unreadable, or is that of HTTP/0.9.";
    VersionUnsupported, 505, "version-unsupported", "The version is neither HTTP/1.0 nor HTTP/1.1.";
    TargetTooLong, 414, "target-too-long", "The request target is longer than the limit.";
    TargetForm, 400, "target-form", "The target is not a path, not an http or https URI, and not the asterisk of OPTIONS.";
    TargetCharacter, 400, "target-character", "The path holds a character that must be percent-encoded.";
    TargetControl, 400, "target-control", "The target holds a control character or a blank.";
    TargetFragment, 400, "target-fragment", "The target holds a fragment.";
    TargetNonAscii, 400, "target-non-ascii", "The target holds bytes outside ASCII that are not percent-encoded.";

    // The path (RFC 3986 section 6.2.2).
    PathRelative, 400, "path-relative", "The path does not begin with a slash.";
    PathPercent, 400, "path-percent", "A percent sign is not followed by two hexadecimal digits.";
    PathNul, 400, "path-nul", "The path holds NUL, raw or percent-encoded.";
    PathBackslash, 400, "path-backslash", "The path holds a backslash, raw or percent-encoded.";
    PathClimbs, 400, "path-climbs", "Dot segments lead above the root.";

    // Host and authority (RFC 9112 section 3.2).
    HostMissing, 400, "host-missing", "HTTP/1.1 without a Host field.";
    HostRepeated, 400, "host-repeated", "More than one Host field.";
    HostInvalid, 400, "host-invalid", "The host or port is malformed.";
    HostMismatch, 400, "host-mismatch", "The target's authority and the Host field differ.";

    // Fields (RFC 9112 section 5).
    TooManyFields, 431, "too-many-fields", "The head has more fields than the limit.";
    FieldName, 400, "field-name", "A field line has no colon, or its name is empty or not a token.";
    FieldValue, 400, "field-value", "A field value holds a control character.";
    FieldFolded, 400, "field-folded", "A field line begins with a blank: line folding is obsolete.";
    FieldSpaceBeforeColon, 400, "field-space-before-colon", "A blank stands between a field name and its colon.";
    FieldConnectionSpecific, 400, "field-connection-specific", "A field that belongs to HTTP/1 connections was sent by HTTP/2.";
    ConnectionOptions, 400, "connection-options", "Connection names more options than the limit.";
    ExpectationFailed, 417, "expectation-failed", "An expectation other than 100-continue.";

    // Framing (RFC 9112 section 6).
    LengthInvalid, 400, "length-invalid", "Content-Length is not a plain decimal number.";
    LengthRepeated, 400, "length-repeated", "More than one Content-Length field, equal or not.";
    LengthTooLarge, 413, "length-too-large", "Content-Length is above 2^63 - 1.";
    LengthMismatch, 400, "length-mismatch", "Content-Length differs from what the stream says about its body.";
    LengthAndCoding, 400, "length-and-coding", "Content-Length and Transfer-Encoding together.";
    CodingRepeated, 400, "coding-repeated", "More than one Transfer-Encoding field.";
    CodingInvalid, 400, "coding-invalid", "Transfer-Encoding does not end in chunked, or is malformed.";
    CodingUnsupported, 501, "coding-unsupported", "A transfer coding besides chunked.";
    CodingVersion, 400, "coding-version", "Transfer-Encoding in HTTP/1.0.";

    // Bodies (RFC 9112 section 7.1).
    ChunkSize, 400, "chunk-size", "A chunk size is not one to sixteen hexadecimal digits, or above 2^63 - 1.";
    ChunkExtension, 400, "chunk-extension", "A chunk extension holds a control character.";
    ChunkExtensionsTooLarge, 400, "chunk-extensions-too-large", "The chunk extensions of one body are longer than the limit.";
    ChunkEnd, 400, "chunk-end", "The data of a chunk is not followed by CRLF.";
    TrailersTooLarge, 431, "trailers-too-large", "The trailer section is longer than the limit.";
    BodyIncomplete, 400, "body-incomplete", "The connection ended within a body.";

    // Responses only.
    StatusLine, 502, "status-line", "The status line is malformed.";
    StatusInvalid, 502, "status-invalid", "The status is not between 100 and 599.";
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.sentence())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_unique_kebab_case() {
        let mut seen = std::collections::BTreeSet::new();
        for refusal in Refusal::ALL {
            let reason = refusal.reason();
            assert!(seen.insert(reason), "{reason} twice");
            assert!(reason.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{reason}");
            assert!(refusal.sentence().ends_with('.'), "{reason}");
        }
    }

    #[test]
    fn statuses_are_those_of_the_contract() {
        for refusal in Refusal::ALL {
            assert!(matches!(
                refusal.status(),
                400 | 405 | 413 | 414 | 417 | 431 | 501 | 502 | 505
            ));
        }
    }
}

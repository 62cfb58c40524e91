//! What the echo backend answers: the request as it was seen, changed by switches in the query.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A request as the echo backend saw it: its answer's JSON body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The backend's own name.
    pub name: String,
    /// The method.
    pub method: String,
    /// Path and query as received.
    pub path: String,
    /// `Host` or `:authority`; empty when absent.
    pub host: String,
    /// The fields: on HTTP/1 in the order and case of their arrival; on HTTP/2 in lower case, those
    /// of one name together.
    pub headers: Vec<(String, String)>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: String,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// The trailing fields, where there were any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trailers: Vec<(String, String)>,
    /// The address of the peer: the gateway's.
    pub peer: String,
}

impl Received {
    /// The answer's body: JSON with a line for each member and each field, ending in a line feed.
    pub(super) fn to_body(&self) -> Vec<u8> {
        let list = |pairs: &[(String, String)]| {
            let lines: Vec<String> = pairs
                .iter()
                .map(|(name, value)| format!("    [{}, {}]", quoted(name), quoted(value)))
                .collect();
            if lines.is_empty() {
                "[]".to_owned()
            } else {
                format!("[\n{}\n  ]", lines.join(",\n"))
            }
        };
        let mut members = vec![
            ("name", quoted(&self.name)),
            ("method", quoted(&self.method)),
            ("path", quoted(&self.path)),
            ("host", quoted(&self.host)),
            ("headers", list(&self.headers)),
            ("protocol", quoted(&self.protocol)),
            ("body_bytes", self.body_bytes.to_string()),
        ];
        if !self.trailers.is_empty() {
            members.push(("trailers", list(&self.trailers)));
        }
        members.push(("peer", quoted(&self.peer)));
        let lines: Vec<String> =
            members.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n")).into_bytes()
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// How the answer shall differ from a plain one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switches {
    /// `status=503`
    pub(super) status: u16,
    /// `delay_ms=100`: wait before the head.
    pub(super) delay: Duration,
    /// `bytes=1000`: that many bytes instead of JSON.
    pub(super) bytes: Option<u64>,
    /// `chunked=1`: no content length.
    pub(super) chunked: bool,
    /// `trailers=1`: trailing fields after the body.
    pub(super) trailers: bool,
    /// `close=1`: end the connection after the answer.
    pub(super) close: bool,
}

impl Switches {
    /// Reads the query of a target. What is not understood is left alone: it is data being echoed.
    pub(super) fn of(path: &str) -> Self {
        let mut switches = Self {
            status: 200,
            delay: Duration::ZERO,
            bytes: None,
            chunked: false,
            trailers: false,
            close: false,
        };
        let query = path.split_once('?').map_or("", |(_, query)| query);
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "status" => {
                    let status = value.parse().ok().filter(|status| (200..=599).contains(status));
                    switches.status = status.unwrap_or(switches.status);
                }
                "delay_ms" => {
                    let delay = value.parse().unwrap_or(0).min(600_000);
                    switches.delay = Duration::from_millis(delay);
                }
                "bytes" => switches.bytes = value.parse().ok(),
                "chunked" => switches.chunked = value == "1",
                "trailers" => switches.trailers = value == "1",
                "close" => switches.close = value == "1",
                _ => {}
            }
        }
        switches
    }

    /// Whether the status allows a body (RFC 9110 section 6.4.1).
    pub(super) fn may_have_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }
}

/// The trailing fields sent for `trailers=1`.
pub(super) const TRAILERS: [(&str, &str); 2] =
    [("echo-trailer", "after the body"), ("echo-last", "1")];

/// Bytes of filler at a time.
pub(super) const FILLER: [u8; 16 * 1024] = [b'.'; 16 * 1024];

/// Splits a number of bytes into pieces of filler.
pub(super) fn filler(mut bytes: u64) -> impl Iterator<Item = &'static [u8]> {
    std::iter::from_fn(move || {
        let piece = bytes.min(FILLER.len() as u64);
        bytes -= piece;
        // `piece` is at most the filler's length, so it fits in usize and in the slice.
        (piece > 0).then(|| &FILLER[..piece as usize])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read_from_the_query_and_the_rest_left_alone() {
        let switches = Switches::of("/a?status=503&delay_ms=5&x=y&bytes=10&chunked=1&status=9999");
        assert_eq!(switches.status, 503);
        assert_eq!(switches.delay, Duration::from_millis(5));
        assert_eq!(switches.bytes, Some(10));
        assert!(switches.chunked && !switches.trailers && !switches.close);
    }

    #[test]
    fn the_body_is_the_json_form_of_what_was_received() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let received = Received {
            name: "a\"b".into(),
            headers: vec![pair("Host", "x"), pair("X", "\u{1}")],
            trailers: vec![pair("T", "1")],
            body_bytes: 7,
            ..Received::default()
        };
        for received in [received, Received::default()] {
            let parsed: Received = serde_json::from_slice(&received.to_body()).unwrap();
            assert_eq!(parsed, received);
        }
    }

    #[test]
    fn filler_adds_up() {
        let lengths: Vec<usize> = filler(40_000).map(<[u8]>::len).collect();
        assert_eq!(lengths, [16_384, 16_384, 7_232]);
        assert_eq!(filler(0).count(), 0);
    }
}

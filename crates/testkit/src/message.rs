//! A plain reading of HTTP/1 messages, for fakes: no limits, no strictness, bodies in memory.
//!
//! Deliberately not `wire`: what checks the gateway must not share its mistakes.

use std::io::{self, Read};

/// A request or a response as it came over a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The request line or status line.
    pub start: String,
    /// The fields in order, names as sent.
    pub fields: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// The trailer fields.
    pub trailers: Vec<(String, String)>,
    /// The head as sent, blank line included.
    pub head: String,
}

impl Message {
    /// The status of a response; 0 for a request.
    pub fn status(&self) -> u16 {
        let code = self.start.strip_prefix("HTTP/").and_then(|rest| rest.split(' ').nth(1));
        code.and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The first value of a field, whatever the case of its name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON: the test that asked expected it to be.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.head, self.text()))
    }
}

/// Reads one message. `pending` keeps what came after it. `method` is the request's, for responses.
///
/// Informational responses (1xx but 101) are messages of their own.
///
/// # Errors
/// When the connection fails or ends before the message does.
pub fn read_message(
    stream: &mut impl Read,
    pending: &mut Vec<u8>,
    method: Option<&str>,
) -> io::Result<Message> {
    let end = read_until(stream, pending, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&pending[..end]).into_owned();
    pending.drain(..end);
    let (start, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    let mut message = Message {
        start: start.to_owned(),
        fields: fields(rest),
        head: head.clone(),
        ..Message::default()
    };
    let status = message.status();
    let is_response = method.is_some();
    let is_bodiless =
        is_response && (method == Some("HEAD") || status < 200 || status == 204 || status == 304);
    if is_bodiless {
        return Ok(message);
    }
    let coding = message.field("transfer-encoding").unwrap_or_default().to_ascii_lowercase();
    if coding.contains("chunked") {
        read_chunked(stream, pending, &mut message)?;
    } else if let Some(length) = message.field("content-length").and_then(|l| l.parse().ok()) {
        fill(stream, pending, length)?;
        message.body = pending.drain(..length).collect();
    } else if is_response {
        stream.read_to_end(pending)?;
        message.body = std::mem::take(pending);
    }
    Ok(message)
}

fn read_chunked(
    stream: &mut impl Read,
    pending: &mut Vec<u8>,
    message: &mut Message,
) -> io::Result<()> {
    loop {
        let end = read_until(stream, pending, b"\r\n")?;
        let line = String::from_utf8_lossy(&pending[..end]).into_owned();
        pending.drain(..end);
        let digits = line.trim().split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("chunk `{line}`")))?;
        if size == 0 {
            break;
        }
        fill(stream, pending, size + 2)?;
        message.body.extend(pending.drain(..size));
        pending.drain(..2);
    }
    let mut trailers = String::new();
    loop {
        let end = read_until(stream, pending, b"\r\n")?;
        let line = String::from_utf8_lossy(&pending[..end]).into_owned();
        pending.drain(..end);
        if line == "\r\n" {
            break;
        }
        trailers.push_str(&line);
    }
    message.trailers = fields(&trailers);
    Ok(())
}

fn fields(text: &str) -> Vec<(String, String)> {
    text.split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Reads until `pending` has `marker`; where it ends.
fn read_until(stream: &mut impl Read, pending: &mut Vec<u8>, marker: &[u8]) -> io::Result<usize> {
    let mut searched = 0;
    loop {
        let from = searched.min(pending.len());
        let found = pending[from..].windows(marker.len()).position(|window| window == marker);
        if let Some(position) = found {
            return Ok(from + position + marker.len());
        }
        searched = pending.len().saturating_sub(marker.len() - 1);
        read_some(stream, pending)?;
    }
}

/// Reads until `pending` has this many bytes.
fn fill(stream: &mut impl Read, pending: &mut Vec<u8>, count: usize) -> io::Result<()> {
    while pending.len() < count {
        read_some(stream, pending)?;
    }
    Ok(())
}

fn read_some(stream: &mut impl Read, pending: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let count = stream.read(&mut buffer)?;
    if count == 0 {
        let seen = String::from_utf8_lossy(pending).into_owned();
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the connection ended inside a message, after {seen:?}"),
        ));
    }
    pending.extend_from_slice(&buffer[..count]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], method: Option<&str>) -> (Message, Vec<u8>) {
        let mut pending = Vec::new();
        let message = read_message(&mut &*bytes, &mut pending, method).unwrap();
        (message, pending)
    }

    #[test]
    fn a_chunked_response_has_its_payload_and_trailers() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\nHTTP/1.1 204";
        let (message, rest) = read(bytes, Some("GET"));
        assert_eq!((message.status(), message.text().as_str()), (200, "abcde"));
        assert_eq!(message.trailers, [("X-Sum".to_owned(), "5".to_owned())]);
        let mut more: &[u8] = &rest;
        assert!(bytes.ends_with(&rest) || more.read(&mut [0; 1]).is_ok());
    }

    #[test]
    fn a_response_to_head_has_no_body() {
        let (message, _) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Some("HEAD"));
        assert_eq!((message.status(), message.body.len()), (200, 0));
    }

    #[test]
    fn a_request_without_length_has_no_body() {
        let (message, rest) = read(b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\nGET", None);
        assert_eq!((message.method(), message.target()), ("GET", "/a?b"));
        assert_eq!((message.body.len(), rest.as_slice()), (0, &b"GET"[..]));
    }
}

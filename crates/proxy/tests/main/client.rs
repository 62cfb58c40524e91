//! A client that writes bytes and reads HTTP/1 responses, over any byte stream.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::world::PATIENCE;

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    pub status: u16,
    /// Status line and fields.
    pub head: String,
    pub body: Vec<u8>,
    /// What stood behind the last chunk.
    pub trailers: String,
}

impl Response {
    pub(crate) fn has(&self, line: &str) -> bool {
        self.head.to_ascii_lowercase().contains(&format!("\r\n{}\r\n", line.to_ascii_lowercase()))
    }
}

/// A connection, and what was read ahead from it.
pub(crate) struct Client<S> {
    pub stream: S,
    buffer: Vec<u8>,
}

pub(crate) fn connect(address: SocketAddr) -> Client<TcpStream> {
    let stream = TcpStream::connect(address).expect("the proxy listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("a socket");
    Client::over(stream)
}

impl Client<TcpStream> {
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("open");
    }

    /// Ends the connection by a reset.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("an open socket");
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the proxy reads");
        self.stream.flush().expect("the proxy reads");
    }

    /// A GET, and its response.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        self.response("GET").expect("a response")
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut scratch = [0; 16 * 1024];
        let read = self.stream.read(&mut scratch)?;
        self.buffer.extend_from_slice(&scratch[..read]);
        Ok(read)
    }

    fn until(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        let mut scanned = 0;
        loop {
            let mut marks = self.buffer[scanned..].windows(mark.len());
            if let Some(at) = marks.position(|window| window == mark) {
                let rest = self.buffer.split_off(scanned + at + mark.len());
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            scanned = self.buffer.len().saturating_sub(mark.len() - 1);
            if self.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if self.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.buffer.split_off(count);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// The next head.
    pub(crate) fn head(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.until(b"\r\n\r\n")?).into_owned())
    }

    /// Everything up to an orderly end.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more()? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// The next response as the answer to `method`.
    pub(crate) fn response(&mut self, method: &str) -> io::Result<Response> {
        let head = self.head()?;
        let lower = head.to_ascii_lowercase();
        let status: u16 = head[9..12].parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let mut trailers = String::new();
        let mut body = Vec::new();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        } else if lower.contains("transfer-encoding: chunked") {
            loop {
                let line = self.until(b"\r\n")?;
                let text = String::from_utf8_lossy(&line).into_owned();
                let size = usize::from_str_radix(text.trim(), 16)
                    .map_err(|_| io::Error::other(format!("no chunk size: {text:?}")))?;
                if size == 0 {
                    loop {
                        let line = self.until(b"\r\n")?;
                        if line == b"\r\n" {
                            break;
                        }
                        trailers.push_str(&String::from_utf8_lossy(&line));
                    }
                    break;
                }
                body.extend(self.take(size)?);
                if self.take(2)? != b"\r\n" {
                    return Err(io::Error::other("no line end behind a chunk"));
                }
            }
        } else if let Some((_, rest)) = lower.split_once("content-length: ") {
            let digits = rest.split("\r\n").next().unwrap_or_default();
            body = self.take(digits.parse().map_err(|_| io::ErrorKind::InvalidData)?)?;
        } else {
            body = self.rest()?;
        }
        Ok(Response { status, head, body, trailers })
    }

    /// Whether the connection has ended in order, with nothing more to read.
    pub(crate) fn is_ended(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.more(), Ok(0))
    }
}

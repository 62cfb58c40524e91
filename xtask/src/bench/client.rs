//! A client for checks: one plaintext connection, one request at a time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::Result;

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A field by its lower-case name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Client {
    pub(super) fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Asks for a path of a host. Answers without a length are taken as empty.
    pub(super) fn get(&mut self, host: &str, path: &str) -> Result<Answer> {
        self.exchange(host, path).map_err(|error| format!("GET {host}{path}: {error}"))
    }

    fn exchange(&mut self, host: &str, path: &str) -> std::io::Result<Answer> {
        write!(self.stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
        let end = loop {
            let end = self.received.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            self.read()?;
        };
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        self.received.drain(..end);
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut answer = Answer { status, head, body: Vec::new() };
        let bytes = answer.field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        while self.received.len() < bytes {
            self.read()?;
        }
        answer.body = self.received.drain(..bytes).collect();
        Ok(answer)
    }

    fn read(&mut self) -> std::io::Result<()> {
        let mut scratch = [0; 16 << 10];
        match self.stream.read(&mut scratch)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            bytes => {
                self.received.extend_from_slice(&scratch[..bytes]);
                Ok(())
            }
        }
    }
}

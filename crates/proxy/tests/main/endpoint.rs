//! An HTTP/1 endpoint that follows a script: one thread for each connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::world::PATIENCE;

/// A listening endpoint. Its threads end with their connections.
pub(crate) struct Endpoint {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

/// One connection of it.
pub(crate) struct Conversation {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Endpoint {
    pub(crate) fn new(script: impl Fn(&mut Conversation) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self::on(listener, script)
    }

    pub(crate) fn on(
        listener: TcpListener,
        script: impl Fn(&mut Conversation) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                count.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                    stream.set_nodelay(true).expect("a socket");
                    script(&mut Conversation { stream, buffer: Vec::new() });
                });
            }
        });
        Self { address, accepted }
    }

    /// Answers every request, on however many connections, with these bytes.
    pub(crate) fn saying(answer: &'static [u8]) -> Self {
        Self::new(move |conversation| {
            while conversation.request().is_some() {
                conversation.say(answer);
            }
        })
    }

    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Conversation {
    /// The next head, blank line included; `None` at the end.
    pub(crate) fn head(&mut self) -> Option<String> {
        let mut scanned = 0;
        loop {
            let mut ends = self.buffer[scanned..].windows(4);
            if let Some(at) = ends.position(|window| window == b"\r\n\r\n") {
                let rest = self.buffer.split_off(scanned + at + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            scanned = self.buffer.len().saturating_sub(3);
            if self.more() == 0 {
                return None;
            }
        }
    }

    /// The next request: head, and body by Content-Length or chunked (decoded).
    pub(crate) fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head()?;
        let lower = head.to_ascii_lowercase();
        let mut body = Vec::new();
        if let Some((_, rest)) = lower.split_once("content-length: ") {
            let length: usize = rest.split("\r\n").next()?.parse().ok()?;
            body = self.take(length)?;
        } else if lower.contains("transfer-encoding: chunked") {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                if size == 0 {
                    while !self.line()?.trim().is_empty() {}
                    break;
                }
                body.extend(self.take(size)?);
                self.line()?;
            }
        }
        Some((head, body))
    }

    /// The next line of what comes.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let rest = self.buffer.split_off(at + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            if self.more() == 0 {
                return None;
            }
        }
    }

    /// Exactly so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            if self.more() == 0 {
                return None;
            }
        }
        let rest = self.buffer.split_off(count);
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    /// Writes; whether that worked.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads until the other side has ended or failed. Panics when it does neither in time.
    pub(crate) fn wait_for_end(&mut self) {
        let mut scratch = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut scratch) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("the connection did not end")
                }
                Err(_) => return,
            }
        }
    }

    fn more(&mut self) -> usize {
        let mut scratch = [0; 16 * 1024];
        let read = self.stream.read(&mut scratch).unwrap_or(0);
        self.buffer.extend_from_slice(&scratch[..read]);
        read
    }
}

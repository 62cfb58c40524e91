//! The backend: answers prebuilt responses, so cheaply that it is never what is measured.
//!
//! One thread and epoll. The last part of the path says which answer: `1k`, `10k`, `1m`, or
//! `head`, which answers with the request head as it arrived, for checking what a proxy sends.
//! Every answer has eight fields and the number of the port that was asked, which tells services
//! apart. Requests have no body.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::Result;

/// Bytes of the bodies, by the name that a path ends with.
pub(super) const BODIES: [(&str, usize); 3] = [("1k", 1 << 10), ("10k", 10 << 10), ("1m", 1 << 20)];

/// Serves the ports given, until it is killed.
pub(super) fn serve(ports: &[String]) -> Result<()> {
    let mut server = Server::bind(ports).map_err(|error| format!("the backend: {error}"))?;
    server.run().map_err(|error| format!("the backend: {error}"))
}

struct Server {
    epoll: rustix::fd::OwnedFd,
    listeners: Vec<(TcpListener, Answers)>,
    /// By slot; the event's data is the slot behind the listeners.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
}

/// The prebuilt responses of one port, in the order of `BODIES`.
type Answers = [Vec<u8>; 3];

struct Connection {
    stream: TcpStream,
    listener: usize,
    received: Vec<u8>,
    waiting: Vec<Answer>,
    /// Bytes written of the first that waits.
    written: usize,
}

enum Answer {
    /// One of the prebuilt.
    Built(usize),
    Head(Vec<u8>),
}

impl Server {
    fn bind(ports: &[String]) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut listeners = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let number: u16 =
                port.parse().map_err(|_| io::Error::other(format!("port `{port}`")))?;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number))?;
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, &listener, EventData::new_u64(index as u64), EventFlags::IN)?;
            let answers = BODIES.map(|(_, bytes)| response(number, &vec![b'x'; bytes]));
            listeners.push((listener, answers));
        }
        Ok(Self { epoll, listeners, connections: Vec::new(), free: Vec::new() })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        let mut scratch = vec![0; 64 << 10];
        loop {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let index = event.data.u64() as usize;
                match index.checked_sub(self.listeners.len()) {
                    None => self.accept(index)?,
                    Some(slot) => self.turn(slot, &mut scratch),
                }
            }
        }
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let stream = match self.listeners[listener].0.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let data = EventData::new_u64((slot + self.listeners.len()) as u64);
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, stream.as_fd(), data, flags)?;
            self.connections[slot] = Some(Connection {
                stream,
                listener,
                received: Vec::new(),
                waiting: Vec::new(),
                written: 0,
            });
        }
    }

    fn turn(&mut self, slot: usize, scratch: &mut [u8]) {
        let Some(connection) = &mut self.connections[slot] else { return };
        let answers = &self.listeners[connection.listener].1;
        // Closing takes the socket out of epoll.
        if connection.turn(answers, scratch).is_err() {
            self.connections[slot] = None;
            self.free.push(slot);
        }
    }
}

impl Connection {
    /// Reads and writes until the socket has no more; an error ends the connection.
    fn turn(&mut self, answers: &Answers, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => {
                    self.receive(&scratch[..bytes]);
                    self.write(answers)?;
                    // A short read drained the socket; edges tell of more.
                    if bytes < scratch.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.write(answers);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        // One request that arrived whole, as nearly always, is not copied.
        if self.received.is_empty()
            && bytes.ends_with(b"\r\n\r\n")
            && head_end(bytes) == Some(bytes.len())
        {
            self.waiting.push(answer(bytes));
            return;
        }
        self.received.extend_from_slice(bytes);
        while let Some(end) = head_end(&self.received) {
            let head: Vec<u8> = self.received.drain(..end).collect();
            self.waiting.push(answer(&head));
        }
    }

    fn write(&mut self, answers: &Answers) -> io::Result<()> {
        while let Some(answer) = self.waiting.first() {
            let bytes = match answer {
                Answer::Built(index) => &answers[*index],
                Answer::Head(bytes) => bytes,
            };
            match self.stream.write(&bytes[self.written..]) {
                Ok(sent) => self.written += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.written == bytes.len() {
                self.waiting.remove(0);
                self.written = 0;
            }
        }
        Ok(())
    }
}

/// Bytes of the first head, its empty line included.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// What a request asks for.
fn answer(head: &[u8]) -> Answer {
    let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if last == b"head" {
        return Answer::Head(response(0, head));
    }
    let index = BODIES.iter().position(|(name, _)| name.as_bytes() == last);
    Answer::Built(index.unwrap_or(0))
}

fn response(port: u16, body: &[u8]) -> Vec<u8> {
    let mut response = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Last-Modified: Wed, 31 Dec 2025 00:00:00 GMT\r\nETag: \"6951c2a0-400\"\r\n\
         Cache-Control: private, max-age=0\r\nX-Port: {port}\r\n\r\n",
        body.len(),
    )
    .into_bytes();
    response.extend_from_slice(body);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_path_says_what_is_answered() {
        let asked = |text: &str| match answer(text.as_bytes()) {
            Answer::Built(index) => BODIES[index].0.to_owned(),
            Answer::Head(bytes) => String::from_utf8(bytes).unwrap(),
        };
        assert_eq!(asked("GET /api/10k HTTP/1.1\r\n\r\n"), "10k");
        assert_eq!(asked("GET /1m HTTP/1.1\r\n\r\n"), "1m");
        assert_eq!(asked("GET / HTTP/1.1\r\n\r\n"), "1k");
        assert!(
            asked("GET /head HTTP/1.1\r\nA: b\r\n\r\n")
                .ends_with("GET /head HTTP/1.1\r\nA: b\r\n\r\n")
        );
    }
}

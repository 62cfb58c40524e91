//! HTTP/1.0 and HTTP/1.1: one request after the other, bodies counted, answers in one write.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::answer::{Received, Switches, TRAILERS, filler};
use super::websocket;

/// Most bytes of a head or of a chunk line that are waited for.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// A connection and the bytes read ahead.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) buffer: Vec<u8>,
}

/// A parsed head.
struct Head {
    received: Received,
    keep_alive: bool,
    body: Body,
    expects_continue: bool,
    websocket_key: Option<String>,
}

enum Body {
    Length(u64),
    Chunked,
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Serves requests until the client or a request ends the connection.
pub(super) async fn serve(stream: TcpStream, name: &str) -> io::Result<()> {
    let mut connection = Connection { stream, buffer: Vec::new() };
    loop {
        let mut head = match connection.head(name).await {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let refusal =
                    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                return connection.stream.write_all(refusal).await;
            }
            Err(error) => return Err(error),
        };
        if let Some(key) = head.websocket_key.take() {
            return websocket::serve(connection, &key, &head.received).await;
        }
        if head.expects_continue {
            connection.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        connection.body(&mut head).await?;
        if !connection.answer(&head).await? {
            return Ok(());
        }
    }
}

impl Connection {
    /// More bytes; false at the end of the stream.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        self.buffer.reserve(16 * 1024);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next head, or `None` when the client has gone.
    async fn head(&mut self, name: &str) -> io::Result<Option<Head>> {
        loop {
            if let Some((mut head, bytes)) = parse(&self.buffer)? {
                self.buffer.drain(..bytes);
                name.clone_into(&mut head.received.name);
                head.received.peer = self.stream.peer_addr()?.to_string();
                return Ok(Some(head));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(bad("head too long"));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads the body and counts it.
    async fn body(&mut self, head: &mut Head) -> io::Result<()> {
        match head.body {
            Body::Length(length) => {
                self.skip(length).await?;
                head.received.body_bytes = length;
            }
            Body::Chunked => {
                loop {
                    let line = self.line().await?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(size, 16).map_err(|_| bad("chunk size"))?;
                    if size == 0 {
                        break;
                    }
                    self.skip(size).await?;
                    head.received.body_bytes += size;
                    if !self.line().await?.is_empty() {
                        return Err(bad("chunk end"));
                    }
                }
                loop {
                    let line = self.line().await?;
                    let Some((name, value)) = line.split_once(':') else { break };
                    head.received.trailers.push((name.to_owned(), value.trim().to_owned()));
                }
            }
        }
        Ok(())
    }

    async fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        loop {
            let here = bytes.min(self.buffer.len() as u64);
            // `here` is at most the buffer's length.
            self.buffer.drain(..here as usize);
            bytes -= here;
            if bytes == 0 {
                return Ok(());
            }
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > HEAD_BYTES_MAX || !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Writes the answer; false when the connection shall end.
    async fn answer(&mut self, head: &Head) -> io::Result<bool> {
        let received = &head.received;
        let switches = Switches::of(&received.path);
        tokio::time::sleep(switches.delay).await;
        let is_http10 = received.protocol == "HTTP/1.0";
        let chunked = (switches.chunked || switches.trailers) && !is_http10;
        let keep_alive = head.keep_alive && !switches.close;
        let body = if switches.bytes.is_none() { received.to_body() } else { Vec::new() };
        let length = switches.bytes.unwrap_or(body.len() as u64);

        let reason = reason(switches.status);
        let mut out = format!("HTTP/1.1 {} {reason}\r\n", switches.status);
        out.push_str("Content-Type: ");
        out.push_str(if switches.bytes.is_some() { "text/plain" } else { "application/json" });
        out.push_str("\r\nX-Echo-Name: ");
        out.push_str(&received.name);
        out.push_str("\r\n");
        if switches.may_have_body() {
            if chunked {
                out.push_str("Transfer-Encoding: chunked\r\n");
                if switches.trailers {
                    out.push_str("Trailer: echo-trailer, echo-last\r\n");
                }
            } else {
                // Writing to a String cannot fail.
                let _ = write!(out, "Content-Length: {length}\r\n");
            }
        }
        if !keep_alive {
            out.push_str("Connection: close\r\n");
        } else if is_http10 {
            out.push_str("Connection: keep-alive\r\n");
        }
        out.push_str("\r\n");
        let mut out = out.into_bytes();
        if switches.may_have_body() && received.method != "HEAD" {
            if switches.bytes.is_some() {
                for piece in filler(length) {
                    write_piece(&mut out, piece, chunked);
                    self.stream.write_all(&out).await?;
                    out.clear();
                }
            } else {
                write_piece(&mut out, &body, chunked);
            }
            if chunked {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in TRAILERS.iter().filter(|_| switches.trailers) {
                    out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        self.stream.write_all(&out).await?;
        if !keep_alive {
            self.stream.shutdown().await?;
        }
        Ok(keep_alive)
    }
}

fn write_piece(out: &mut Vec<u8>, piece: &[u8], chunked: bool) {
    if chunked {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
    }
    out.extend_from_slice(piece);
    if chunked {
        out.extend_from_slice(b"\r\n");
    }
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Echo")
}

/// A head and its length, `None` when more bytes are needed.
fn parse(buffer: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut fields);
    let bytes = match request.parse(buffer).map_err(|_| bad("request head"))? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Ok(None),
    };
    let is_http11 = request.version == Some(1);
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned()))
        .collect();
    let value = |name: &str| {
        headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    };
    let has_token = |name: &str, token: &str| {
        headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .any(|(_, value)| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    let body = if has_token("transfer-encoding", "chunked") {
        Body::Chunked
    } else {
        let length = value("content-length").map(str::parse).transpose();
        Body::Length(length.map_err(|_| bad("content length"))?.unwrap_or(0))
    };
    let keep_alive = if is_http11 {
        !has_token("connection", "close")
    } else {
        has_token("connection", "keep-alive")
    };
    let upgrades = has_token("connection", "upgrade") && has_token("upgrade", "websocket");
    let head = Head {
        received: Received {
            method: request.method.unwrap_or_default().to_owned(),
            path: request.path.unwrap_or_default().to_owned(),
            host: value("host").unwrap_or_default().to_owned(),
            protocol: if is_http11 { "HTTP/1.1" } else { "HTTP/1.0" }.to_owned(),
            ..Received::default()
        },
        keep_alive,
        body,
        expects_continue: has_token("expect", "100-continue"),
        websocket_key: if upgrades {
            value("sec-websocket-key").map(ToOwned::to_owned)
        } else {
            None
        },
    };
    Ok(Some((Head { received: Received { headers, ..head.received }, ..head }, bytes)))
}

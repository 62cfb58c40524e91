//! An endpoint that answers quickly: its name and the target it was asked for, and nothing kept.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::background;

/// The endpoint. Dropped, it stops accepting.
pub struct Fast {
    address: SocketAddr,
    task: AbortHandle,
}

impl Fast {
    /// Starts on a free loopback port. Each answer's body is `NAME TARGET`.
    pub fn start(name: &str) -> Self {
        let name = name.to_owned();
        let (address, task) = background::serve(move |stream| {
            let name = name.clone();
            async move {
                // A gateway that hangs up ends its own connection.
                let _ = serve(stream, &name).await;
            }
        });
        Self { address, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Fast {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, name: &str) -> io::Result<()> {
    let mut pending = Vec::with_capacity(16 * 1024);
    let mut answers = Vec::new();
    loop {
        let mut taken = 0;
        while let Some((target, length)) = next_request(&pending[taken..]) {
            taken += length;
            let body = format!("{name} {target}");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            answers.extend_from_slice(head.as_bytes());
            answers.extend_from_slice(body.as_bytes());
        }
        pending.drain(..taken);
        stream.write_all(&answers).await?;
        answers.clear();
        if stream.read_buf(&mut pending).await? == 0 {
            return Ok(());
        }
    }
}

/// The target of the first whole request, and how many bytes it has.
fn next_request(bytes: &[u8]) -> Option<(String, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else { return None };
    let target = request.path?.to_owned();
    let body = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| std::str::from_utf8(field.value).ok()?.parse::<usize>().ok())
        .unwrap_or(0);
    (bytes.len() >= head + body).then_some((target, head + body))
}

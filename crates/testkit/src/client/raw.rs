//! A client that sends exactly the bytes it is given, over TCP or TLS, and reads what comes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName};
use socket2::SockRef;

use crate::{Message, PATIENCE, read_message};

/// One connection.
pub struct RawClient {
    stream: Stream,
    pending: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl RawClient {
    /// Connects in cleartext.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect(address: SocketAddr) -> Self {
        Self { stream: Stream::Plain(tcp(address)), pending: Vec::new() }
    }

    /// Connects and does a TLS handshake with this server name.
    ///
    /// # Errors
    /// When the handshake fails, and how.
    ///
    /// # Panics
    /// When nobody listens there, or the name is not one.
    pub fn connect_tls(
        address: SocketAddr,
        server_name: &str,
        config: &Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let name = ServerName::try_from(server_name.to_owned()).expect("a server name");
        let connection =
            ClientConnection::new(Arc::clone(config), name).expect("a complete configuration");
        let mut stream = StreamOwned::new(connection, tcp(address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream: Stream::Tls(Box::new(stream)), pending: Vec::new() })
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the other side is gone; use [`Self::try_send`] where that may be.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the gateway takes what is sent");
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes.as_ref()),
            Stream::Tls(stream) => {
                stream.write_all(bytes.as_ref())?;
                stream.flush()
            }
        }
    }

    /// Sends bytes one at a time with a pause after each, until the other side hangs up.
    ///
    /// # Errors
    /// When the other side hung up.
    pub fn drip(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        for byte in bytes {
            self.try_send([*byte])?;
            std::thread::sleep(pause);
        }
        Ok(())
    }

    /// Reads one response to a request with this method, informational ones too.
    ///
    /// # Panics
    /// When none comes, with what came instead.
    pub fn read_response(&mut self, method: &str) -> Message {
        self.try_read_response(method).expect("a response comes")
    }

    /// Reads one response to a request with this method, informational ones too.
    ///
    /// # Errors
    /// When none comes.
    pub fn try_read_response(&mut self, method: &str) -> io::Result<Message> {
        read_message(&mut self.stream, &mut self.pending, Some(method))
    }

    /// Sends a request and reads its response, informational ones left out.
    ///
    /// # Panics
    /// When there is none.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Message {
        let request = request.as_ref();
        self.send(request);
        let method: String =
            request.iter().take_while(|byte| **byte != b' ').map(|byte| *byte as char).collect();
        loop {
            let response = self.read_response(&method);
            if response.status() >= 200 || response.status() == 101 {
                return response;
            }
        }
    }

    /// Reads everything until the other side closes.
    ///
    /// # Panics
    /// When it does not close in good order.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        self.try_read_to_end().expect("the connection ends in good order")
    }

    /// Reads everything until the other side closes.
    ///
    /// # Errors
    /// When it does not close in good order, or not in time.
    pub fn try_read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.pending);
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads at least one byte, and what comes with it; nothing at the end.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        if !self.pending.is_empty() {
            return Ok(std::mem::take(&mut self.pending));
        }
        let mut buffer = vec![0; 64 * 1024];
        let count = self.stream.read(&mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Reads exactly this many bytes.
    ///
    /// # Panics
    /// When the connection ends first.
    pub fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.pending.len() < count {
            let mut buffer = [0; 16 * 1024];
            let read = self.stream.read(&mut buffer).expect("the connection lives");
            assert!(read > 0, "the connection ended after {:?}", self.pending);
            self.pending.extend_from_slice(&buffer[..read]);
        }
        self.pending.drain(..count).collect()
    }

    /// Whether the other side has closed: an end, or a reset.
    ///
    /// # Panics
    /// When bytes come instead.
    pub fn is_closed(&mut self) -> bool {
        assert!(self.pending.is_empty(), "bytes were left: {:?}", self.pending);
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => panic!("bytes came instead of an end: {byte:?}"),
            Err(error) => !is_timeout(&error),
        }
    }

    /// Ends our direction; the other goes on.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn half_close(&mut self) {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown(Shutdown::Write).expect("it lives"),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().expect("it lives");
            }
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        let _ = SockRef::from(self.socket()).set_linger(Some(Duration::ZERO));
    }

    /// How long a read may take.
    ///
    /// # Panics
    /// When it is zero.
    pub fn patience(&mut self, patience: Duration) {
        self.socket().set_read_timeout(Some(patience)).expect("more than zero");
    }

    /// The certificate that the server showed.
    ///
    /// # Panics
    /// When the connection is not TLS.
    pub fn certificate(&self) -> CertificateDer<'static> {
        let Stream::Tls(stream) = &self.stream else { panic!("not TLS") };
        let chain = stream.conn.peer_certificates().expect("a server shows a certificate");
        chain[0].clone().into_owned()
    }

    /// Whether the handshake was whole or resumed a session.
    ///
    /// # Panics
    /// When the connection is not TLS.
    pub fn handshake_kind(&self) -> HandshakeKind {
        let Stream::Tls(stream) = &self.stream else { panic!("not TLS") };
        stream.conn.handshake_kind().expect("the handshake is over")
    }

    /// The protocol that ALPN chose.
    pub fn protocol(&self) -> Option<String> {
        let Stream::Tls(stream) = &self.stream else { return None };
        stream.conn.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// The address of our side.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn address(&self) -> SocketAddr {
        self.socket().local_addr().expect("it lives")
    }

    fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        }
    }
}

/// Whether a read ended because nothing came in time.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address)
        .unwrap_or_else(|error| panic!("{address} could not be connected to: {error}"));
    stream.set_nodelay(true).expect("a new socket takes options");
    stream.set_read_timeout(Some(PATIENCE)).expect("a new socket takes options");
    stream
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

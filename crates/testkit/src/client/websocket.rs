//! A WebSocket client (tungstenite), and an endpoint that echoes messages.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::background;

/// One WebSocket connection.
pub struct WebSocket {
    stream: WebSocketStream<TcpStream>,
}

impl WebSocket {
    /// Connects to `address` and asks for `url`, whose host is what the gateway routes by.
    ///
    /// # Errors
    /// When the upgrade is refused.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn connect(address: SocketAddr, url: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        let (stream, _) = client_async(url, stream).await?;
        Ok(Self { stream })
    }

    /// Sends a text message and waits for the next one.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn say(&mut self, text: &str) -> Result<String, Error> {
        self.stream.send(Message::text(text)).await?;
        self.hear().await
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn hear(&mut self) -> Result<String, Error> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(Message::Binary(bytes))) => {
                    return Ok(String::from_utf8_lossy(&bytes).into_owned());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Err(Error::ConnectionClosed),
            }
        }
    }

    /// The code of the Close that ends what is heard; `None` when it ends without one.
    pub async fn hear_close(&mut self) -> Option<u16> {
        loop {
            match self.stream.next().await? {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Closes in good order.
    ///
    /// # Errors
    /// When the connection ended before.
    pub async fn close(mut self) -> Result<(), Error> {
        self.stream.close(None).await?;
        while let Some(Ok(_)) = self.stream.next().await {}
        Ok(())
    }
}

/// An endpoint that upgrades every connection and sends every message back.
pub fn echo_endpoint() -> SocketAddr {
    background::serve(echo).0
}

async fn echo(stream: TcpStream) {
    let Ok(mut stream) = accept_async(stream).await else { return };
    while let Some(Ok(message)) = stream.next().await {
        if (message.is_text() || message.is_binary()) && stream.send(message).await.is_err() {
            return;
        }
    }
}

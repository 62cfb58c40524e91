//! WebSocket (RFC 6455): every message comes back, frame by frame.
//!
//! The first message a client gets is what it was seen to ask for, as JSON in a text frame.

use std::io;

use sha1::{Digest as _, Sha1};
use tokio::io::AsyncWriteExt as _;

use super::answer::Received;
use super::http1::Connection;

/// The constant that a server appends to a client's key (RFC 6455 section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Most bytes of one frame.
const FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// A frame as received, unmasked.
struct Frame {
    is_final: bool,
    opcode: u8,
    payload: Vec<u8>,
}

/// Accepts the upgrade and echoes until either side closes.
pub(super) async fn serve(
    mut connection: Connection,
    key: &str,
    received: &Received,
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nX-Echo-Name: {}\r\n\r\n",
        accept_key(key),
        received.name
    );
    let mut out = head.into_bytes();
    if received.path.split_once('?').is_some_and(|(_, query)| query.contains("hello=1")) {
        let hello = received.to_body();
        write_frame(&mut out, true, TEXT, &hello);
    }
    connection.stream.write_all(&out).await?;
    while let Some(frame) = read_frame(&mut connection).await? {
        out.clear();
        match frame.opcode {
            PING => write_frame(&mut out, true, PONG, &frame.payload),
            PONG => continue,
            opcode => write_frame(&mut out, frame.is_final, opcode, &frame.payload),
        }
        connection.stream.write_all(&out).await?;
        if frame.opcode == CLOSE {
            break;
        }
    }
    connection.stream.shutdown().await
}

/// The proof that a key was read as a WebSocket key.
pub(super) fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.trim().as_bytes());
    hash.update(ACCEPT_SUFFIX);
    base64(&hash.finalize())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .enumerate()
            .fold(0_u32, |bits, (i, b)| bits | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            if i <= group.len() {
                // Six bits index an alphabet of 64.
                text.push(char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// The next frame, or `None` when the client has gone.
async fn read_frame(connection: &mut Connection) -> io::Result<Option<Frame>> {
    loop {
        if let Some((frame, bytes)) = parse_frame(&connection.buffer)? {
            connection.buffer.drain(..bytes);
            return Ok(Some(frame));
        }
        if !connection.fill().await? {
            return Ok(None);
        }
    }
}

/// A frame and its length (RFC 6455 section 5.2), `None` when more bytes are needed.
fn parse_frame(buffer: &[u8]) -> io::Result<Option<(Frame, usize)>> {
    let &[first, second, ref rest @ ..] = buffer else { return Ok(None) };
    let (length, rest) = match second & 0x7f {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let is_masked = second & 0x80 != 0;
    let (mask, rest) = if is_masked {
        match rest.split_first_chunk::<4>() {
            Some((mask, rest)) => (*mask, rest),
            None => return Ok(None),
        }
    } else {
        ([0; 4], rest)
    };
    // At most FRAME_BYTES_MAX, so it fits in usize.
    let Some(payload) = rest.get(..length as usize) else { return Ok(None) };
    let bytes = buffer.len() - rest.len() + payload.len();
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Ok(Some((Frame { is_final: first & 0x80 != 0, opcode: first & 0x0f, payload }, bytes)))
}

fn write_frame(out: &mut Vec<u8>, is_final: bool, opcode: u8, payload: &[u8]) {
    out.push(u8::from(is_final) << 7 | opcode);
    match payload.len() {
        short @ 0..126 => out.push(short as u8),
        middle @ 126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn base64_pads() {
        assert_eq!([base64(b"f"), base64(b"fo"), base64(b"foo")], ["Zg==", "Zm8=", "Zm9v"]);
    }

    #[test]
    fn a_frame_survives_at_every_length_form() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![7; length];
            let mut bytes = Vec::new();
            write_frame(&mut bytes, true, 2, &payload);
            let (frame, used) = parse_frame(&bytes).unwrap().unwrap();
            assert_eq!((frame.payload, used, frame.opcode), (payload, bytes.len(), 2));
            assert!(parse_frame(&bytes[..bytes.len() - 1]).unwrap().is_none());
        }
    }
}

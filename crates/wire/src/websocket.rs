//! Where WebSocket frames begin and end (RFC 6455 section 5.2), by their headers alone.
//!
//! A tunnel passes frames without reading them. Whoever ends one must know whether it stands
//! between two frames: a Close put into the middle of another frame would be taken for its payload.

/// The longest header: two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

const OPCODE_CLOSE: u8 = 8;

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub struct WebSocketFrames {
    header: [u8; HEADER_BYTES_MAX],
    /// Bytes of the header that have passed.
    filled: usize,
    /// Bytes of the payload that have not.
    left: u64,
    closed: bool,
}

impl WebSocketFrames {
    /// These bytes pass. The work is by frames, not by bytes.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            // A header is never longer than the array: `length` says when it is whole.
            self.header[self.filled] = bytes[0];
            self.filled += 1;
            bytes = &bytes[1..];
            if self.filled >= 2 && self.filled == self.length() {
                self.closed |= self.header[0] & 0x0f == OPCODE_CLOSE;
                self.left = self.payload();
                self.filled = 0;
            }
        }
    }

    /// Whether a Close may follow: no frame is half said, and none was the last.
    #[must_use]
    pub fn may_close(&self) -> bool {
        self.filled == 0 && self.left == 0 && !self.closed
    }

    /// The length of the header, of which two bytes are known.
    fn length(&self) -> usize {
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        2 + extended + mask
    }

    fn payload(&self) -> u64 {
        match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.header[2..10]);
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        }
    }
}

/// A Close with its code, masked as clients must (RFC 6455 section 5.3) or not, as servers must.
#[must_use]
pub fn websocket_close(code: u16, mask: Option<[u8; 4]>) -> ([u8; 8], usize) {
    let [high, low] = code.to_be_bytes();
    match mask {
        None => ([0x88, 2, high, low, 0, 0, 0, 0], 4),
        Some([a, b, c, d]) => ([0x88, 0x82, a, b, c, d, high ^ a, low ^ b], 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of every form of length, masked and not, one after the other.
    fn frames() -> Vec<Vec<u8>> {
        let mut masked = vec![0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4];
        masked.extend([0xff; 256]);
        let mut long = vec![0x01, 127, 0, 0, 0, 0, 0, 1, 0, 0];
        long.resize(10 + 65_536, 0xff);
        vec![vec![0x81, 2, b'h', b'i'], vec![0x89, 0], masked, long, vec![0x8a, 0x80, 1, 2, 3, 4]]
    }

    #[test]
    fn the_end_of_each_frame_is_known_however_it_is_split() {
        for step in [1, 3, 7, 4096, 1 << 20] {
            let mut follower = WebSocketFrames::default();
            for frame in frames() {
                assert!(follower.may_close());
                let (last, before) = frame.split_last().unwrap();
                for part in before.chunks(step) {
                    follower.pass(part);
                    assert!(!follower.may_close());
                }
                follower.pass(&[*last]);
            }
            assert!(follower.may_close());
        }
        let mut follower = WebSocketFrames::default();
        follower.pass(&frames().concat());
        assert!(follower.may_close());
    }

    #[test]
    fn nothing_follows_a_close() {
        for mask in [None, Some([1, 2, 3, 4])] {
            let mut follower = WebSocketFrames::default();
            let (close, length) = websocket_close(1001, mask);
            follower.pass(&close[..length]);
            assert!(!follower.may_close());
        }
        assert_eq!(websocket_close(1001, None).0[..4], [0x88, 2, 0x03, 0xe9]);
        assert_eq!(
            websocket_close(1001, Some([1, 2, 3, 4])).0,
            [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]
        );
    }
}

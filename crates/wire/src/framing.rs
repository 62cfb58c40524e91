//! Where a body ends: content-length, chunked, until close (RFC 9112 sections 6 and 7).
//!
//! A [`BodyDecoder`] is told every byte that was read and says which of them are payload. Chunked
//! bodies are read by the grammar and nothing beside it: sizes of at most sixteen digits, CRLF and
//! never LF, extensions without control characters and dropped, trailers as strict as heads.
//! Framing is never copied onward; it is always written anew.

use crate::Refusal;
use crate::trailer::Trailers;

/// How many bytes all chunk extensions of one body may have.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4096;
/// How many digits a chunk size may have, leading zeros included.
const CHUNK_SIZE_DIGITS_MAX: u8 = 16;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    #[default]
    None,
    /// This many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection ends (responses only).
    UntilClose,
}

/// What one call of [`BodyDecoder::decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Payload bytes, now at `buf[..payload]`.
    pub payload: usize,
    /// Input bytes that belong to this body; `buf[consumed..]` is untouched.
    pub consumed: usize,
    /// The body is complete.
    pub ended: bool,
}

/// Finds a body's payload and end. Chunked payload is moved to the front of the given buffer, so
/// that each read gives one contiguous run whatever the chunking.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    extension_bytes: usize,
    trailers: Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes of a `Length` body still to come.
    Length(u64),
    UntilClose,
    /// Within a chunk size.
    Size {
        size: u64,
        digits: u8,
    },
    /// Blanks between a chunk size and the `;` that must follow them.
    Blank {
        size: u64,
    },
    /// Within chunk extensions.
    Extension {
        size: u64,
    },
    /// After the CR of a chunk size line.
    SizeEnd {
        size: u64,
    },
    /// Chunk data still to come.
    Data(u64),
    /// Before the CR after chunk data.
    DataEnd,
    /// Before the LF after chunk data.
    DataEndLf,
    /// Within the trailer section.
    Trailers,
    Ended,
    Refused(Refusal),
}

impl BodyDecoder {
    /// A decoder at the start of a body. Trailers over `trailer_bytes_max` are refused.
    #[must_use]
    pub fn new(length: BodyLength, trailer_bytes_max: usize) -> Self {
        let state = match length {
            BodyLength::None | BodyLength::Length(0) => State::Ended,
            BodyLength::Length(length) => State::Length(length),
            BodyLength::Chunked => State::Size { size: 0, digits: 0 },
            BodyLength::UntilClose => State::UntilClose,
        };
        Self { state, extension_bytes: 0, trailers: Trailers::new(trailer_bytes_max) }
    }

    /// Takes bytes that were read. With `Length` and `UntilClose` nothing moves.
    ///
    /// # Errors
    /// What is not the chunked grammar; the same refusal again for every later call.
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, Refusal> {
        let (payload, consumed) = match self.state {
            State::Ended => (0, 0),
            State::UntilClose => (buf.len(), buf.len()),
            State::Length(remaining) => {
                let taken = usize::try_from(remaining).unwrap_or(usize::MAX).min(buf.len());
                self.advance(taken as u64);
                (taken, taken)
            }
            State::Refused(refusal) => return Err(refusal),
            _ => self.decode_chunked(buf).inspect_err(|refusal| {
                self.state = State::Refused(*refusal);
            })?,
        };
        Ok(Decoded { payload, consumed, ended: self.ended() })
    }

    /// Whether the body is complete.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Bytes that are still to come, where known (`Length`, and 0 for a body that has ended).
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(remaining) => Some(remaining),
            State::Ended => Some(0),
            _ => None,
        }
    }

    /// Counts `n` payload bytes of a `Length` body that were moved without passing through here
    /// (splice). `n` is at most `remaining`.
    pub fn advance(&mut self, n: u64) {
        if let State::Length(remaining) = self.state {
            debug_assert!(n <= remaining, "more bytes moved than the body has");
            let left = remaining.saturating_sub(n);
            self.state = if left == 0 { State::Ended } else { State::Length(left) };
        }
    }

    /// The connection ended: completes `UntilClose`, refuses any other unfinished body.
    pub fn end_of_input(&mut self) -> Result<(), Refusal> {
        match self.state {
            State::Ended => Ok(()),
            State::UntilClose => {
                self.state = State::Ended;
                Ok(())
            }
            State::Refused(refusal) => Err(refusal),
            _ => {
                self.state = State::Refused(Refusal::BodyIncomplete);
                Err(Refusal::BodyIncomplete)
            }
        }
    }

    /// Trailer fields as `Name: value\r\n` lines, forbidden ones (RFC 9110 section 6.5.1: framing,
    /// routing, authentication, hop-by-hop, content) left out; empty without trailers. Complete
    /// once the body has ended.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        self.trailers.lines()
    }

    /// Returns how many payload bytes now lie in front, and how many input bytes were used.
    fn decode_chunked(&mut self, buf: &mut [u8]) -> Result<(usize, usize), Refusal> {
        let (mut payload, mut at) = (0, 0);
        while at < buf.len() && self.state != State::Ended {
            if let State::Data(remaining) = self.state {
                let taken = usize::try_from(remaining).unwrap_or(usize::MAX).min(buf.len() - at);
                if payload != at {
                    buf.copy_within(at..at + taken, payload);
                }
                payload += taken;
                at += taken;
                let left = remaining - taken as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                continue;
            }
            let byte = buf[at];
            at += 1;
            self.state = self.step(byte)?;
        }
        Ok((payload, at))
    }

    /// One byte of chunk framing.
    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        match self.state {
            State::Size { size, digits } => self.step_size(size, digits, byte),
            State::Blank { size } => match byte {
                b' ' => self.count_extension(State::Blank { size }),
                b';' => self.count_extension(State::Extension { size }),
                _ => Err(Refusal::ChunkSize),
            },
            State::Extension { size } => match byte {
                b'\r' => Ok(State::SizeEnd { size }),
                0..0x20 | 0x7f => Err(Refusal::ChunkExtension),
                _ => self.count_extension(State::Extension { size }),
            },
            State::SizeEnd { size } => match (byte, size) {
                (b'\n', 0) => Ok(State::Trailers),
                (b'\n', _) => Ok(State::Data(size)),
                _ => Err(Refusal::BareCarriageReturn),
            },
            State::DataEnd if byte == b'\r' => Ok(State::DataEndLf),
            State::DataEndLf if byte == b'\n' => Ok(State::Size { size: 0, digits: 0 }),
            State::DataEnd | State::DataEndLf => Err(Refusal::ChunkEnd),
            State::Trailers => {
                Ok(if self.trailers.push(byte)? { State::Ended } else { State::Trailers })
            }
            // These have no framing; `decode` never comes here with them.
            State::Length(_)
            | State::UntilClose
            | State::Data(_)
            | State::Ended
            | State::Refused(_) => Ok(self.state),
        }
    }

    fn step_size(&mut self, size: u64, digits: u8, byte: u8) -> Result<State, Refusal> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == CHUNK_SIZE_DIGITS_MAX {
                return Err(Refusal::ChunkSize);
            }
            // Sixteen digits fit 64 bits.
            let size = size << 4 | u64::from(digit);
            return Ok(State::Size { size, digits: digits + 1 });
        }
        if digits == 0 || i64::try_from(size).is_err() {
            return Err(Refusal::ChunkSize);
        }
        match byte {
            b'\r' => Ok(State::SizeEnd { size }),
            b'\n' => Err(Refusal::BareLineFeed),
            b' ' => self.count_extension(State::Blank { size }),
            b';' => self.count_extension(State::Extension { size }),
            _ => Err(Refusal::ChunkSize),
        }
    }

    fn count_extension(&mut self, next: State) -> Result<State, Refusal> {
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
            return Err(Refusal::ChunkExtensionsTooLarge);
        }
        Ok(next)
    }
}

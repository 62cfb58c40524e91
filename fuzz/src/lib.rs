//! What the fuzz targets share: limits, and ways to let the same bytes arrive differently.

use wire::{BodyDecoder, BodyLength, HeadLimits, Parse, Refusal};

/// Limits that inputs of a few hundred bytes can reach.
pub const LIMITS: HeadLimits = HeadLimits { bytes_max: 512, fields_max: 12, target_bytes_max: 128 };

/// The first byte of the input steers; the rest is the message.
pub fn steered(data: &[u8]) -> (u8, &[u8]) {
    match data {
        [steer, rest @ ..] => (*steer, rest),
        [] => (0, data),
    }
}

/// Parses a head that arrives in steps of `step` bytes.
pub fn in_steps(
    bytes: &[u8],
    step: usize,
    mut parse: impl FnMut(&[u8]) -> Result<Parse, Refusal>,
) -> Result<Parse, Refusal> {
    let mut end = 0;
    loop {
        end = (end + step.max(1)).min(bytes.len());
        let verdict = parse(&bytes[..end]);
        if end == bytes.len() || verdict != Ok(Parse::Partial) {
            return verdict;
        }
    }
}

/// What a body held: payload, bytes used, whether it ended, trailers.
pub type Body = (Vec<u8>, usize, bool, Vec<u8>);

/// Decodes a body that arrives in steps of `step` bytes.
pub fn body_in_steps(length: BodyLength, bytes: &[u8], step: usize) -> Result<Body, Refusal> {
    let mut decoder = BodyDecoder::new(length, 128);
    let (mut payload, mut consumed) = (Vec::new(), 0);
    for piece in bytes.chunks(step.max(1)) {
        let mut buf = piece.to_vec();
        let decoded = decoder.decode(&mut buf)?;
        assert!(decoded.payload <= decoded.consumed && decoded.consumed <= piece.len());
        assert_eq!(buf[decoded.consumed..], piece[decoded.consumed..]);
        payload.extend_from_slice(&buf[..decoded.payload]);
        consumed += decoded.consumed;
        if decoded.ended {
            break;
        }
        assert_eq!(decoded.consumed, piece.len());
    }
    Ok((payload, consumed, decoder.ended(), decoder.trailers().to_vec()))
}

/// What must hold for any path, whoever sent it.
pub fn check_path(path: &[u8]) {
    let canonical = wire::canonical(path);
    let decoded = wire::decoded(path);
    if let Ok(once) = &canonical {
        assert_eq!(wire::canonical(once.as_bytes()).as_deref(), Ok(&**once), "idempotent");
        assert!(once.starts_with('/') && once.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
    }
    if let Ok(decoded) = &decoded {
        assert!(canonical.is_ok(), "refused in one form is refused in both");
        assert!(decoded.starts_with(b"/") && !decoded.contains(&0) && !decoded.contains(&b'\\'));
        assert!(!decoded.windows(2).any(|pair| pair == b"//"));
        assert!(decoded.split(|b| *b == b'/').all(|segment| segment != b"." && segment != b".."));
        let mut encoded = Vec::new();
        wire::encode_path(decoded, &mut encoded);
        assert_eq!(wire::decoded(&encoded).as_deref(), Ok(&**decoded));
    }
}

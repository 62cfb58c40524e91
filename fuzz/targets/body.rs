//! Chunked bodies: the same however they arrive, and the same once written anew.
#![no_main]

use fuzz::{body_in_steps, steered};
use libfuzzer_sys::fuzz_target;
use wire::{BodyLength, write_chunk_size, write_last_chunk};

fuzz_target!(|data: &[u8]| {
    let (steer, bytes) = steered(data);
    let length = match steer >> 6 {
        0 | 1 => BodyLength::Chunked,
        2 => BodyLength::Length(u64::from(steer)),
        _ => BodyLength::UntilClose,
    };
    let whole = body_in_steps(length, bytes, bytes.len());
    assert_eq!(body_in_steps(length, bytes, usize::from(steer & 31)), whole);
    let Ok((payload, consumed, true, trailers)) = whole else { return };
    if length != BodyLength::Chunked {
        return;
    }
    // Nothing but the body decides: what follows it changes nothing.
    assert_eq!(
        body_in_steps(length, &bytes[..consumed], consumed),
        Ok((payload.clone(), consumed, true, trailers.clone()))
    );
    let mut out = Vec::new();
    if !payload.is_empty() {
        write_chunk_size(&mut out, payload.len());
        out.extend_from_slice(&payload);
        out.extend_from_slice(b"\r\n");
    }
    write_last_chunk(&mut out, &trailers);
    // A trailer line can grow by the blank after its colon, so the limit may be met here alone.
    if let Ok(again) = body_in_steps(length, &out, out.len()) {
        assert_eq!(again, (payload, out.len(), true, trailers));
    } else {
        assert!(trailers.len() > 100);
    }
});

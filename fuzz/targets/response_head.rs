//! Response heads: the same however they arrive, the same to httparse, the same once written
//! onward.
#![no_main]

use fuzz::{LIMITS, in_steps, steered};
use libfuzzer_sys::fuzz_target;
use wire::{
    BodyLength, KnownSet, Method, Parse, ResponseEdits, ResponseHead, Version, write_response,
};

fuzz_target!(|data: &[u8]| {
    let (steer, bytes) = steered(data);
    let method = if steer & 32 == 0 { Method::Get } else { Method::Head };
    let (mut head, mut stepped) = (ResponseHead::default(), ResponseHead::default());
    let verdict = head.parse(bytes, method, &LIMITS);
    let step = usize::from(steer & 31);
    assert_eq!(in_steps(bytes, step, |bytes| stepped.parse(bytes, method, &LIMITS)), verdict);
    let Ok(Parse::Complete(length)) = verdict else { return };
    assert_eq!(stepped, head);

    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut theirs = httparse::Response::new(&mut headers);
    assert_eq!(theirs.parse(bytes), Ok(httparse::Status::Complete(length)));
    assert_eq!(theirs.code, Some(head.status));
    assert_eq!(theirs.headers.len(), head.fields.len());

    let version = if steer & 64 == 0 { Version::Http11 } else { Version::Http10 };
    let edits = ResponseEdits {
        drop: KnownSet::EMPTY,
        add: b"",
        body: head.body,
        version,
        keep_alive: head.keep_alive,
        upgrade: head.status == 101,
    };
    let mut out = Vec::new();
    write_response(&mut out, bytes, &head, &edits);
    let wide = wire::HeadLimits { bytes_max: 2048, fields_max: 32, target_bytes_max: 256 };
    let mut again = ResponseHead::default();
    assert_eq!(again.parse(&out, method, &wide), Ok(Parse::Complete(out.len())));
    assert_eq!(again.status, head.status);
    assert_eq!(again.reason.of(&out), head.reason.of(bytes));
    let unframed = head.body == BodyLength::Chunked && version == Version::Http10;
    assert_eq!(again.body, if unframed { BodyLength::UntilClose } else { head.body });
});

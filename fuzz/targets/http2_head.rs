//! Requests that came by HTTP/2: the text that is built reads back as the head that was built.
#![no_main]

use fuzz::{LIMITS, steered};
use libfuzzer_sys::fuzz_target;
use wire::{BodyLength, Parse, RequestHead, build_request};

fuzz_target!(|data: &[u8]| {
    let (steer, bytes) = steered(data);
    // Parts are divided by 0xff: no part that matters can hold it.
    let mut parts = bytes.split(|byte| *byte == 0xff);
    let method = parts.next().unwrap_or_default();
    let path = parts.next().unwrap_or_default();
    let authority = parts.next().unwrap_or_default();
    let rest: Vec<&[u8]> = parts.collect();
    let fields = rest.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    let body = match steer & 3 {
        0 => BodyLength::None,
        1 => BodyLength::Chunked,
        2 => BodyLength::Length(3),
        _ => BodyLength::Length(0),
    };
    let authority = (steer & 4 == 0).then_some(authority);
    let (mut out, mut head) = (Vec::new(), RequestHead::default());
    if build_request(&mut out, &mut head, method, path, authority, fields, body, &LIMITS).is_err() {
        return;
    }
    let mut again = RequestHead::default();
    assert_eq!(again.parse(&out, &LIMITS), Ok(Parse::Complete(out.len())));
    assert_eq!(again, head);
    assert!(head.upgrade.is_none() && head.keep_alive);
    assert!(head.fields.len() <= rest.len() / 2 + 2, "no field came from nowhere");
});

//! Request heads: the same however they arrive, the same to httparse, the same once written onward.
#![no_main]

use fuzz::{LIMITS, check_path, in_steps, steered};
use libfuzzer_sys::fuzz_target;
use wire::{Authority, KnownSet, Parse, RequestEdits, RequestHead, Target, write_request};

fuzz_target!(|data: &[u8]| {
    let (steer, bytes) = steered(data);
    let (mut head, mut stepped) = (RequestHead::default(), RequestHead::default());
    let verdict = head.parse(bytes, &LIMITS);
    let step = usize::from(steer & 31);
    assert_eq!(in_steps(bytes, step, |bytes| stepped.parse(bytes, &LIMITS)), verdict);
    let Ok(Parse::Complete(length)) = verdict else { return };
    assert_eq!(stepped, head);

    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut theirs = httparse::Request::new(&mut headers);
    assert_eq!(theirs.parse(bytes), Ok(httparse::Status::Complete(length)));
    assert_eq!(theirs.headers.len(), head.fields.len());
    assert!(!bytes[..length].windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'));

    if head.target == Target::Origin && !head.path.is_empty() {
        check_path(head.path.of(bytes));
    }
    if let Some(authority) = head.authority {
        assert!(Authority::parse(authority.of(bytes)).is_ok());
    }

    let edits = RequestEdits {
        path_and_query: None,
        host: None,
        drop: KnownSet::EMPTY,
        drop_underscore: steer & 32 != 0,
        add: b"",
        body: head.body,
        upgrade: head.upgrade.is_some(),
        expect_continue: head.expect_continue,
    };
    let mut out = Vec::new();
    write_request(&mut out, bytes, &head, &edits);
    // What we add may be longer than what was sent, so the limits are wider here.
    let wide = wire::HeadLimits { bytes_max: 2048, fields_max: 32, target_bytes_max: 256 };
    let mut again = RequestHead::default();
    assert_eq!(again.parse(&out, &wide), Ok(Parse::Complete(out.len())));
    assert_eq!((again.method, again.target, again.body), (head.method, head.target, head.body));
    assert_eq!(again.method_text.of(&out), head.method_text.of(bytes));
    assert_eq!(again.query.of(&out), head.query.of(bytes));
    assert!(again.fields.iter().all(|field| !field.nominated && !field.shadows));
    let mut twice = Vec::new();
    write_request(&mut twice, &out, &again, &edits);
    assert_eq!(twice, out);
});

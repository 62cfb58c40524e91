//! ClientHellos: a verdict stands whatever follows, and does not depend on how records are cut.
#![no_main]

use fuzz::steered;
use libfuzzer_sys::fuzz_target;
use wire::{Peek, peek_client_hello};

/// The message as records of `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for fragment in message.chunks(size.max(1)) {
        out.extend_from_slice(&[22, 3, 1]);
        out.extend_from_slice(&(fragment.len() as u16).to_be_bytes());
        out.extend_from_slice(fragment);
    }
    out
}

fn check(bytes: &[u8]) -> Peek {
    let verdict = peek_client_hello(bytes);
    let step = bytes.len() / 16 + 1;
    for end in (0..bytes.len()).step_by(step) {
        let early = peek_client_hello(&bytes[..end]);
        assert!(early == Peek::Partial || early == verdict, "a verdict changed");
    }
    if let Peek::Hello(hello) = &verdict {
        if let Some(name) = &hello.server_name {
            assert!(!name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
        }
    }
    verdict
}

fuzz_target!(|data: &[u8]| {
    let (steer, bytes) = steered(data);
    check(bytes);
    // The same bytes as the body of a hello, in one record and in several.
    let length = (bytes.len() as u32).to_be_bytes();
    let message = [&[1][..], &length[1..], bytes].concat();
    if message.len() > 16_384 {
        return;
    }
    let whole = check(&records(&message, message.len()));
    let size = usize::from(steer) + message.len() / 100;
    assert_eq!(check(&records(&message, size.max(4))), whole);
});

//! Authorities: what passes holds no byte that ends a host elsewhere, and normalises once and for
//! all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::Authority;

fuzz_target!(|data: &[u8]| {
    let Ok(authority) = Authority::parse(data) else { return };
    assert!(data.is_empty() == authority.host.is_empty());
    assert!(!data.iter().any(|byte| b"/?#@\\ \t\r\n,%".contains(byte) || !byte.is_ascii()));
    let mut out = String::new();
    let once = authority.normalized(&mut out).to_owned();
    let again = Authority::parse(once.as_bytes()).expect("a normalised host is a host");
    assert_eq!(again.port, None);
    assert_eq!(again.normalized(&mut out), once);
    assert!(!once.bytes().any(|byte| byte.is_ascii_uppercase()) && !once.ends_with('.'));
});

//! `ClientHello`s in one piece, in many records, and in none.

use wire::{CLIENT_HELLO_BYTES_MAX, ClientHello, Peek, peek_client_hello};

/// A part preceded by its length in `width` bytes.
fn prefixed(width: usize, part: &[u8]) -> Vec<u8> {
    let length = part.len().to_be_bytes();
    [&length[length.len() - width..], part].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed(2, content)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &prefixed(2, &[&[0][..], &prefixed(2, name)].concat()))
}

fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|protocol| prefixed(1, protocol)).collect();
    extension(16, &prefixed(2, &list))
}

/// The handshake message.
fn hello(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend(prefixed(1, &[8; 32]));
    body.extend(prefixed(2, &[0x0a, 0x0a, 0x13, 0x01]));
    body.extend(prefixed(1, &[0]));
    if let Some(extensions) = extensions {
        body.extend(prefixed(2, extensions));
    }
    [&[1][..], &prefixed(3, &body)].concat()
}

/// The message cut into records of this many bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message
        .chunks(size)
        .flat_map(|fragment| [&[22, 3, 1][..], &prefixed(2, fragment)].concat())
        .collect()
}

/// What browsers send: GREASE, a name, ALPN, a post-quantum key share.
fn browser() -> Vec<u8> {
    let key_share = extension(51, &prefixed(2, &[0x5a; 1263]));
    let parts = [
        extension(0x1a1a, b""),
        server_name(b"WWW.Example.com"),
        key_share,
        alpn(&[b"\x0a\x0a", b"h2", b"http/1.1"]),
        extension(0x2a2a, b"\0"),
    ];
    hello(Some(&parts.concat()))
}

fn expected() -> Peek {
    Peek::Hello(ClientHello {
        server_name: Some("www.example.com".into()),
        alpn: vec![b"\x0a\x0a".to_vec(), b"h2".to_vec(), b"http/1.1".to_vec()],
    })
}

#[test]
fn a_hello_is_read_from_records_of_any_size() {
    let message = browser();
    assert!(message.len() > 1400, "as large as a post-quantum hello");
    for size in [12, 13, 50, 517, 1400, message.len() - 1, message.len()] {
        assert_eq!(peek_client_hello(&records(&message, size)), expected(), "{size}");
    }
}

#[test]
fn a_hello_is_partial_until_its_last_byte() {
    for size in [40, 2000] {
        let bytes = records(&browser(), size);
        for end in 0..bytes.len() {
            assert_eq!(peek_client_hello(&bytes[..end]), Peek::Partial, "{end}");
        }
        assert_eq!(peek_client_hello(&bytes), expected());
        let more = [&bytes[..], b"\x14\x03\x03\x00\x01\x01"].concat();
        assert_eq!(peek_client_hello(&more), expected());
    }
}

#[test]
fn a_hello_may_say_nothing() {
    for message in [hello(None), hello(Some(b"")), hello(Some(&extension(10, b"\0\0")))] {
        assert_eq!(
            peek_client_hello(&records(&message, 9000)),
            Peek::Hello(ClientHello::default())
        );
    }
}

#[test]
fn names_are_normalised_and_addresses_ignored() {
    for (name, expected) in [
        ("Foo.EXAMPLE.", Some("foo.example")),
        ("a_b", Some("a_b")),
        ("127.0.0.1", None),
        ("::1", None),
    ] {
        let message = hello(Some(&server_name(name.as_bytes())));
        let Peek::Hello(found) = peek_client_hello(&records(&message, 9000)) else {
            panic!("{name} refused")
        };
        assert_eq!(found.server_name.as_deref(), expected);
    }
}

#[test]
fn malformed_hellos_are_not_tls() {
    let broken: &[Vec<u8>] = &[
        server_name(b""),
        server_name(b"a b"),
        server_name(b"a\0b"),
        server_name(b"*.example.com"),
        server_name("é".as_bytes()),
        server_name(&[b'a'; 64]),
        server_name(b"\xff"),
        [server_name(b"a"), server_name(b"a")].concat(),
        [alpn(&[b"a"]), alpn(&[b"a"])].concat(),
        alpn(&[]),
        alpn(&[b""]),
        extension(0, b""),
        extension(0, &prefixed(2, &[&[1][..], &prefixed(2, b"a")].concat())),
        extension(0, &[&prefixed(2, &[&[0][..], &prefixed(2, b"a")].concat())[..], b"x"].concat()),
        extension(16, b"\0\x05\x02h2"),
        vec![0, 0, 0],
        vec![0, 0, 0, 9, 1],
    ];
    for extensions in broken {
        let bytes = records(&hello(Some(extensions)), 9000);
        assert_eq!(peek_client_hello(&bytes), Peek::NotTls, "{extensions:?}");
    }
    let mut trailing = hello(Some(b""));
    trailing.push(0);
    trailing[3] += 1;
    assert_eq!(peek_client_hello(&records(&trailing, 9000)), Peek::NotTls);
}

#[test]
fn what_is_not_a_hello_is_told_at_its_first_wrong_byte() {
    for bytes in [
        b"\x00".as_slice(),
        b"\x80\x2e\x01",
        b"\x15",
        b"\x16\x02",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\x00\x01\x02",
        b"\x16\x03\x01\x00\x04\x01\x01\x00\x01",
        b"\x16\x03\x01\x00\x01\x01\x17",
        b"\r\n",
        b" ",
    ] {
        assert_eq!(peek_client_hello(bytes), Peek::NotTls, "{bytes:?}");
    }
    assert_eq!(peek_client_hello(b""), Peek::Partial);
    assert_eq!(peek_client_hello(b"\x16\x03\x01"), Peek::Partial);
}

#[test]
fn cleartext_is_told_by_its_first_byte() {
    for bytes in [b"G".as_slice(), b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n", b"get"] {
        assert_eq!(peek_client_hello(bytes), Peek::Cleartext);
    }
}

#[test]
fn no_more_is_asked_for_than_the_limit() {
    let large = hello(Some(&extension(21, &vec![0; 65_000])));
    let bytes = records(&large, 16_384);
    assert!(matches!(peek_client_hello(&bytes), Peek::Hello(_)));
    let mut endless = records(&[&[1, 0, 0xff, 0xff][..], &vec![0; 65_000]].concat(), 16_000);
    endless.truncate(CLIENT_HELLO_BYTES_MAX - 1);
    assert_eq!(peek_client_hello(&endless), Peek::Partial);
    endless.extend_from_slice(&[0; 2]);
    assert_eq!(peek_client_hello(&endless), Peek::NotTls);
    let confetti = records(&browser(), 1);
    assert_eq!(peek_client_hello(&confetti), Peek::NotTls);
}

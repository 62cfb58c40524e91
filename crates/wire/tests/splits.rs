//! However the bytes arrive, the message is the same: all at once, in two pieces cut anywhere, or
//! byte by byte.

mod common;

use common::{LIMITS, body, body_in_pieces};
use wire::{BodyLength, Method, Parse, Refusal, RequestHead, ResponseHead};

const REQUESTS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nGET /a?b HTTP/1.1\r\nHost: a\r\nX-A: b \r\nConnection: x-a, close\r\n\r\nGET /next",
    b"GET / HTTP/1.0\r\n\r\n",
    b"OPTIONS http://a HTTP/1.1\r\nHost: a:80\r\n\r\n",
    b"PUT /%2e HTTP/1.1\r\nhost:a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n3\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x00\xff",
    // Refused, each at another place.
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n",
    b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nB : c\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
];

const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200\r\n\r\nabc",
    b"HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nKeep-Alive: timeout=3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"HTTP/1.1 20",
    b"HTTP/3",
];

const BODIES: &[&[u8]] = &[
    b"0\r\n\r\nrest",
    b"3\r\nabc\r\n0\r\n\r\nHTTP/1.1",
    b"3;a=b\r\nabc\r\n0010\r\n0123456789abcdef\r\n0;last\r\nX-A:  b \r\nHost: no\r\nY:\r\n\r\n\r\n",
    b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n",
    b"3\r\nabc\r\n",
    b"3\r\nabcd\r\n",
    b"1\r\na\r\n0\r\nX : y\r\n\r\n",
    b"g\r\n",
];

/// Feeds a head that arrives up to each of these ends; the verdict with how much was there.
fn feed<Head>(
    bytes: &[u8],
    ends: impl IntoIterator<Item = usize>,
    head: &mut Head,
    parse: impl Fn(&mut Head, &[u8]) -> Result<Parse, Refusal>,
) -> Result<Parse, Refusal> {
    for end in ends {
        let verdict = parse(head, &bytes[..end]);
        if verdict != Ok(Parse::Partial) {
            return verdict;
        }
    }
    Ok(Parse::Partial)
}

fn same_in_all_splits<Head: Default + PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    parse: impl Fn(&mut Head, &[u8]) -> Result<Parse, Refusal> + Copy,
) {
    let mut whole = Head::default();
    let verdict = parse(&mut whole, bytes);
    let check = |ends: Vec<usize>, how: String| {
        let mut head = Head::default();
        let found = feed(bytes, ends, &mut head, parse);
        assert_eq!(found, verdict, "{how} of {}", common::shown(bytes));
        if matches!(verdict, Ok(Parse::Complete(_))) {
            assert_eq!(head, whole, "{how} of {}", common::shown(bytes));
        }
    };
    for cut in 0..=bytes.len() {
        check(vec![cut, bytes.len()], format!("cut at {cut}"));
    }
    check((0..=bytes.len()).collect(), "each byte".into());
}

#[test]
fn request_heads_do_not_depend_on_how_they_arrive() {
    for bytes in REQUESTS {
        same_in_all_splits(bytes, |head: &mut RequestHead, bytes| head.parse(bytes, &LIMITS));
    }
}

#[test]
fn limits_do_not_depend_on_how_bytes_arrive() {
    let limits = wire::HeadLimits { bytes_max: 40, fields_max: 2, target_bytes_max: 10 };
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n".as_slice(),
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nC:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: bbbbbbbbbbbbbbbb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: bbbbbbbbbbbbbbbbbbb\n\n",
        b"GET /aaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /aa aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nHost: a\r\n\r\n",
        b"\r\nGETTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTTT /",
    ] {
        same_in_all_splits(bytes, |head: &mut RequestHead, bytes| head.parse(bytes, &limits));
    }
}

#[test]
fn response_heads_do_not_depend_on_how_they_arrive() {
    for bytes in RESPONSES {
        for method in [Method::Get, Method::Head] {
            same_in_all_splits(bytes, |head: &mut ResponseHead, bytes| {
                head.parse(bytes, method, &LIMITS)
            });
        }
    }
}

#[test]
fn bodies_do_not_depend_on_how_they_arrive() {
    let lengths =
        [BodyLength::Chunked, BodyLength::Length(5), BodyLength::None, BodyLength::UntilClose];
    for bytes in BODIES {
        for length in lengths {
            let whole = body(length, bytes);
            for cut in 0..=bytes.len() {
                let (first, second) = bytes.split_at(cut);
                assert_eq!(body_in_pieces(length, [first, second]), whole, "cut at {cut}");
            }
            assert_eq!(body_in_pieces(length, bytes.chunks(1)), whole, "each byte");
        }
    }
}

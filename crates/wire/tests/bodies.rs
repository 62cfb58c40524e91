//! What accepted bodies hold.

mod common;

use common::{Body, body, chunked};
use wire::{BodyDecoder, BodyLength, trailer_is_allowed, write_chunk_size, write_last_chunk};

fn complete(payload: &[u8], consumed: usize, trailers: &[u8]) -> Body {
    Body { payload: payload.to_vec(), consumed, ended: true, trailers: trailers.to_vec() }
}

#[test]
fn chunks_become_one_run_of_payload() {
    for (bytes, payload) in [
        (b"0\r\n\r\n".as_slice(), b"".as_slice()),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3\r\nabc\r\n2\r\nde\r\n00\r\n\r\n", b"abcde"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"a\r\n01234\r\n\r\n8\r\n0\r\n\r\n", b"01234\r\n\r\n8"),
        (b"0000000000000003\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3;a\r\nabc\r\n0;b=\"c;d\"\r\n\r\n", b"abc"),
        (b"3 ;a=b ; c\r\nabc\r\n0  ;\r\n\r\n", b"abc"),
        (b"3;\xc3\xa9\r\nabc\r\n0\r\n\r\n", b"abc"),
    ] {
        assert_eq!(chunked(bytes), Ok(complete(payload, bytes.len(), b"")));
    }
}

#[test]
fn bytes_after_the_body_are_left() {
    let bytes = b"3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
    assert_eq!(chunked(bytes), Ok(complete(b"abc", 13, b"")));
    let mut buf = bytes.to_vec();
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, 0);
    let decoded = decoder.decode(&mut buf).unwrap();
    assert_eq!(&buf[decoded.consumed..], b"GET / HTTP/1.1\r\n");
    let again = decoder.decode(&mut buf).unwrap();
    assert_eq!((again.payload, again.consumed, again.ended), (0, 0, true));
}

#[test]
fn lengths_are_counted_and_nothing_moves() {
    assert_eq!(body(BodyLength::None, b"abc"), Ok(complete(b"", 0, b"")));
    assert_eq!(body(BodyLength::Length(0), b"abc"), Ok(complete(b"", 0, b"")));
    assert_eq!(body(BodyLength::Length(2), b"abc"), Ok(complete(b"ab", 2, b"")));
    let part = body(BodyLength::Length(9), b"abc").unwrap();
    assert_eq!((part.consumed, part.ended), (3, false));
    let part = body(BodyLength::UntilClose, b"abc").unwrap();
    assert_eq!((part.consumed, part.ended), (3, false));
}

#[test]
fn spliced_bytes_count_too() {
    let mut decoder = BodyDecoder::new(BodyLength::Length(10), 0);
    assert_eq!(decoder.remaining(), Some(10));
    decoder.advance(4);
    assert_eq!(decoder.remaining(), Some(6));
    assert!(!decoder.decode(&mut b"abc".to_vec()).unwrap().ended);
    decoder.advance(3);
    assert!(decoder.ended());
    assert_eq!(decoder.remaining(), Some(0));
    assert_eq!(decoder.end_of_input(), Ok(()));
    assert_eq!(BodyDecoder::new(BodyLength::Chunked, 0).remaining(), None);
}

#[test]
fn trailers_are_normalised_and_forbidden_ones_left_out() {
    let bytes =
        b"0\r\ngrpc-status:0\r\nHost: evil\r\nContent-Length: 3\r\nX-A: \t b c \r\nX-Empty: \t\r\n\
        Transfer-Encoding: chunked\r\nX_Forwarded_For: 1\r\nAuthorization: x\r\nSet-Cookie: a\r\n\
        If-Match: x\r\nX-Sum:9\r\n\r\n";
    let body = chunked(bytes).unwrap();
    assert_eq!(
        body.trailers.escape_ascii().to_string(),
        "grpc-status: 0\\r\\nX-A: b c\\r\\nX-Empty: \\r\\nX-Sum: 9\\r\\n"
    );
    assert_eq!(body.consumed, bytes.len());
}

#[test]
fn trailer_names_are_judged_alone_too() {
    for name in ["grpc-status", "grpc-message", "Server-Timing", "Digest"] {
        assert!(trailer_is_allowed(name.as_bytes()), "{name}");
    }
    for name in [
        "host",
        "Content-Length",
        "transfer-encoding",
        "TE",
        "Trailer",
        "authorization",
        "cookie",
        "Content-Type",
        "content-encoding",
        "content-range",
        "cache-control",
        "expect",
        "range",
        "Location",
        "vary",
        "age",
        "expires",
        "date",
        "retry-after",
        "warning",
        "www-authenticate",
        "max-forwards",
        "x-forwarded-for",
        "x_real_ip",
        "connection",
        "",
        "a b",
        ":status",
    ] {
        assert!(!trailer_is_allowed(name.as_bytes()), "{name}");
    }
}

#[test]
fn written_chunks_read_back() {
    let mut out = Vec::new();
    for length in [0, 1, 15, 16, 255, 4096, 65_535, usize::MAX] {
        out.clear();
        write_chunk_size(&mut out, length);
        assert_eq!(out, format!("{length:x}\r\n").as_bytes());
    }
    out.clear();
    write_chunk_size(&mut out, 3);
    out.extend_from_slice(b"abc\r\n");
    write_last_chunk(&mut out, b"X: y\r\n");
    assert_eq!(out, b"3\r\nabc\r\n0\r\nX: y\r\n\r\n");
    assert_eq!(chunked(&out), Ok(complete(b"abc", out.len(), b"X: y\r\n")));
}

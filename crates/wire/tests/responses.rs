//! What accepted responses say.

mod common;

use common::response;
use wire::{BodyLength, Known, Method, Version};

#[test]
fn status_reason_and_version_are_read() {
    for (line, status, reason) in [
        ("HTTP/1.1 200 OK", 200, b"OK".as_slice()),
        ("HTTP/1.1 200 ", 200, b""),
        ("HTTP/1.1 200", 200, b""),
        ("HTTP/1.1 404 Not  Found\t!", 404, b"Not  Found\t!"),
        ("HTTP/1.0 599 x", 599, b"x"),
        ("HTTP/1.1 100 Continue", 100, b"Continue"),
        ("HTTP/1.1 299 \u{e9}", 299, "é".as_bytes()),
    ] {
        let bytes = format!("{line}\r\nA: b\r\n\r\n");
        let head = response(bytes.as_bytes(), Method::Get).unwrap();
        assert_eq!((head.status, head.reason.of(bytes.as_bytes())), (status, reason), "{line}");
        assert_eq!(head.version == Version::Http10, line.contains("1.0"));
        assert_eq!(head.bytes, bytes.len());
        assert_eq!(head.fields.len(), 1);
    }
}

#[test]
fn bodies_end_by_status_method_and_framing() {
    const LENGTH: &str = "Content-Length: 5\r\n";
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    for (status, method, fields, body, keep_alive) in [
        (200, Method::Get, LENGTH, BodyLength::Length(5), true),
        (200, Method::Get, CHUNKED, BodyLength::Chunked, true),
        (200, Method::Get, "", BodyLength::UntilClose, false),
        (200, Method::Head, LENGTH, BodyLength::None, true),
        (200, Method::Head, CHUNKED, BodyLength::None, true),
        (200, Method::Head, "", BodyLength::None, true),
        (200, Method::Connect, "", BodyLength::None, true),
        (404, Method::Connect, LENGTH, BodyLength::Length(5), true),
        (304, Method::Get, LENGTH, BodyLength::None, true),
        (204, Method::Get, "", BodyLength::None, true),
        (204, Method::Get, "Content-Length: 0\r\n", BodyLength::None, true),
        (204, Method::Get, LENGTH, BodyLength::None, false),
        (204, Method::Get, CHUNKED, BodyLength::None, false),
        (100, Method::Post, "", BodyLength::None, true),
        (101, Method::Get, "", BodyLength::None, true),
        (103, Method::Get, LENGTH, BodyLength::None, false),
        (205, Method::Get, "Content-Length: 0\r\n", BodyLength::Length(0), true),
        (205, Method::Get, CHUNKED, BodyLength::Chunked, true),
        (205, Method::Get, "", BodyLength::UntilClose, false),
    ] {
        let bytes = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
        let head = response(bytes.as_bytes(), method).unwrap();
        assert_eq!(
            (head.body, head.keep_alive),
            (body, keep_alive),
            "{status} {method:?} {fields}"
        );
    }
}

#[test]
fn connections_live_by_version_option_and_body() {
    for (line, fields, keep_alive, timeout) in [
        ("HTTP/1.1 200 X", "Connection: close\r\n", false, None),
        ("HTTP/1.1 200 X", "Keep-Alive: timeout=5, max=100\r\n", true, Some(5)),
        ("HTTP/1.1 200 X", "Keep-Alive: max=1, TIMEOUT = 7\r\n", true, Some(7)),
        ("HTTP/1.1 200 X", "Keep-Alive: timeout=-1\r\n", true, None),
        ("HTTP/1.1 200 X", "Keep-Alive: timeout\r\n", true, None),
        ("HTTP/1.0 200 X", "", false, None),
        ("HTTP/1.0 200 X", "Connection: keep-alive\r\n", true, None),
    ] {
        let bytes = format!("{line}\r\nContent-Length: 0\r\n{fields}\r\n");
        let head = response(bytes.as_bytes(), Method::Get).unwrap();
        assert_eq!((head.keep_alive, head.keep_alive_timeout), (keep_alive, timeout), "{fields}");
    }
}

#[test]
fn plain_responses_may_be_forwarded_as_they_are() {
    for (head, needs_rewrite) in [
        ("HTTP/1.1 200 X\r\nContent-Length: 5\r\nA: b\r\n\r\n", false),
        ("HTTP/1.1 304 X\r\nETag: a\r\n\r\n", false),
        ("HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", false),
        ("HTTP/1.1 204 X\r\n\r\n", false),
        ("HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.0 200 X\r\nContent-Length: 5\r\n\r\n", true),
        ("HTTP/1.1 200 X\r\nContent-Length: 05\r\n\r\n", true),
        ("HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 X\r\n\r\n", true),
        ("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", true),
        ("HTTP/1.1 200 X\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", true),
        ("HTTP/1.1 200 X\r\nContent-Length: 5\r\nKeep-Alive: timeout=5\r\n\r\n", true),
        ("HTTP/1.1 200 X\r\nContent-Length: 5\r\nUpgrade: h2c\r\n\r\n", true),
        ("HTTP/1.1 200 X\r\nContent-Length: 5\r\nTrailer: a\r\n\r\n", true),
        ("HTTP/1.1 200 X\r\nContent-Length: 5\r\nProxy-Connection: a\r\n\r\n", true),
    ] {
        let head_read = response(head.as_bytes(), Method::Get).unwrap();
        assert_eq!(head_read.needs_rewrite, needs_rewrite, "{head:?}");
    }
}

#[test]
fn a_response_cannot_nominate_its_cookies() {
    let bytes = b"HTTP/1.1 200 X\r\nContent-Length: 0\r\nSet-Cookie: a\r\nX-A: b\r\n\
                  Connection: set-cookie, x-a, content-length\r\n\r\n";
    let head = response(bytes, Method::Get).unwrap();
    assert!(!head.field(Known::SetCookie).unwrap().nominated);
    assert_eq!(head.fields.iter().filter(|field| field.nominated).count(), 1);
}

#[test]
fn a_cleared_head_is_like_new() {
    let mut head =
        response(b"HTTP/1.0 200 X\r\nKeep-Alive: timeout=1\r\n\r\n", Method::Get).unwrap();
    head.clear();
    assert_eq!(head, wire::ResponseHead::default());
}

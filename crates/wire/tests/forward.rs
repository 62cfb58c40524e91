//! Heads written onward, byte for byte.

mod common;

use common::{request, response};
use wire::{
    BodyLength, Known, KnownSet, Method, RequestEdits, ResponseEdits, Version, write_request,
    write_request_with, write_response, write_response_with,
};

fn request_edits() -> RequestEdits<'static> {
    RequestEdits {
        path_and_query: None,
        host: None,
        drop: KnownSet::EMPTY,
        drop_underscore: false,
        add: b"",
        body: BodyLength::None,
        upgrade: false,
        expect_continue: false,
    }
}

fn response_edits(body: BodyLength) -> ResponseEdits<'static> {
    ResponseEdits {
        drop: KnownSet::EMPTY,
        add: b"",
        body,
        version: Version::Http11,
        keep_alive: true,
        upgrade: false,
    }
}

fn forwarded(bytes: &str, edits: &RequestEdits<'_>) -> String {
    let head = request(bytes.as_bytes()).expect("a sound request");
    let mut out = Vec::new();
    write_request(&mut out, bytes.as_bytes(), &head, edits);
    String::from_utf8(out).expect("text")
}

fn answered(bytes: &str, method: Method, edits: &ResponseEdits<'_>) -> String {
    let head = response(bytes.as_bytes(), method).expect("a sound response");
    let mut out = Vec::new();
    write_response(&mut out, bytes.as_bytes(), &head, edits);
    String::from_utf8(out).expect("text")
}

#[test]
fn kept_lines_are_copied_verbatim_in_order() {
    let sent = "get /a?b HTTP/1.1\r\nX-B:1\r\nhost:  h:80 \r\nx-a: \t2 \r\nX-B:\r\n\r\n";
    assert_eq!(
        forwarded(sent, &request_edits()),
        "get /a?b HTTP/1.1\r\nHost: h:80\r\nX-B:1\r\nx-a: \t2 \r\nX-B:\r\n\r\n"
    );
}

#[test]
fn what_belongs_to_the_connection_stays_behind() {
    let sent = "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nConnection: x-gone, keep-alive\r\nX-Gone: 1\r\n\
        Keep-Alive: 5\r\nProxy-Connection: a\r\nProxy-Authorization: a\r\nProxy-Authenticate: a\r\n\
        Proxy: evil\r\nTE: gzip\r\nTrailer: a\r\nUpgrade: x\r\nHTTP2-Settings: a\r\n\
        Expect: 100-continue\r\nB: 2\r\n\r\n";
    assert_eq!(
        forwarded(sent, &request_edits()),
        "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\n\r\n"
    );
}

#[test]
fn edits_replace_drop_and_add() {
    let sent = "PUT /a?b HTTP/1.1\r\nHost: h\r\nCookie: c\r\nX_Y: 1\r\nX_Real_IP: 1\r\nX-Real-IP: 2\r\n\
        A: 1\r\nContent-Length: 003\r\n\r\n";
    let edits = RequestEdits {
        path_and_query: Some(b"/new?q"),
        host: Some(b"other"),
        drop: KnownSet::of(&[Known::XRealIp, Known::Cookie]),
        add: b"X-Real-IP: 9\r\n",
        body: BodyLength::Length(3),
        ..request_edits()
    };
    assert_eq!(
        forwarded(sent, &edits),
        "PUT /new?q HTTP/1.1\r\nHost: other\r\nX_Y: 1\r\nA: 1\r\nContent-Length: 3\r\nX-Real-IP: 9\r\n\r\n"
    );
    let edits = RequestEdits { drop_underscore: true, ..edits };
    assert!(!forwarded(sent, &edits).contains("X_Y"));
}

#[test]
fn shadows_are_dropped_even_if_names_with_underscores_are_kept() {
    let sent =
        "GET / HTTP/1.1\r\nHost: h\r\nX_FORWARDED-for: 1\r\nContent_length: 1\r\nX_Y: 1\r\n\r\n";
    assert_eq!(forwarded(sent, &request_edits()), "GET / HTTP/1.1\r\nHost: h\r\nX_Y: 1\r\n\r\n");
}

#[test]
fn configured_names_can_be_dropped_too() {
    let sent = b"GET / HTTP/1.1\r\nHost: h\r\nX_Auth: 1\r\nA: 1\r\nx-auth: 2\r\nB: 2\r\n\r\n";
    let head = request(sent).unwrap();
    let mut out = b"before ".to_vec();
    write_request_with(&mut out, sent, &head, &request_edits(), |field| {
        !wire::same_folded_name(field.name.of(sent), b"x-auth")
    });
    assert_eq!(out, b"before GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\n\r\n");
}

#[test]
fn targets_without_path_are_completed() {
    for (line, expected) in [
        ("GET http://h", "GET / HTTP/1.1"),
        ("GET http://h?a", "GET /?a HTTP/1.1"),
        ("GET http://h/b?a", "GET /b?a HTTP/1.1"),
        ("OPTIONS http://h", "OPTIONS * HTTP/1.1"),
        ("OPTIONS *", "OPTIONS * HTTP/1.1"),
    ] {
        let written = forwarded(&format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n"), &request_edits());
        assert_eq!(written.lines().next(), Some(expected));
    }
}

#[test]
fn http_1_0_becomes_http_1_1_with_a_host() {
    assert_eq!(
        forwarded("GET / HTTP/1.0\r\n\r\n", &request_edits()),
        "GET / HTTP/1.1\r\nHost: \r\n\r\n"
    );
    assert_eq!(
        forwarded("GET http://a/ HTTP/1.0\r\n\r\n", &request_edits()),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    );
}

#[test]
fn request_framing_is_written_anew() {
    let sent = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nTrailer: x\r\nTE: trailers\r\n\r\n";
    let chunked = RequestEdits { body: BodyLength::Chunked, ..request_edits() };
    assert_eq!(
        forwarded(sent, &chunked),
        "PUT / HTTP/1.1\r\nHost: h\r\nTrailer: x\r\nTransfer-Encoding: chunked\r\n\
         TE: trailers\r\nConnection: TE\r\n\r\n"
    );
    let length = RequestEdits { body: BodyLength::Length(0), ..request_edits() };
    assert!(
        forwarded(sent, &length).contains("\r\nHost: h\r\nContent-Length: 0\r\nTE: trailers\r\n")
    );
    let dropped = RequestEdits { drop: KnownSet::of(&[Known::Trailer]), ..chunked };
    assert!(!forwarded(sent, &dropped).contains("Trailer: x"));
}

#[test]
fn upgrades_and_expectations_are_written_on_demand() {
    let sent = "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: k\r\nTE: trailers\r\n\r\n";
    let edits = RequestEdits { upgrade: true, expect_continue: true, ..request_edits() };
    assert_eq!(
        forwarded(sent, &edits),
        "GET / HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: k\r\nConnection: upgrade\r\n\
         Upgrade: websocket\r\nExpect: 100-continue\r\n\r\n"
    );
    assert!(!forwarded(sent, &request_edits()).contains("pgrade"));
    let plain = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert!(!forwarded(plain, &edits).contains("pgrade"));
}

#[test]
fn responses_keep_reason_and_lines() {
    let sent = "HTTP/1.1 200 Fine!\r\nServer: s\r\nX-A:  1 \r\nConnection: x-b\r\nX-B: 2\r\n\
        Keep-Alive: timeout=1\r\nContent-Length: 05\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    assert_eq!(
        answered(sent, Method::Get, &response_edits(BodyLength::Length(5))),
        "HTTP/1.1 200 Fine!\r\nServer: s\r\nX-A:  1 \r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
         Content-Length: 5\r\n\r\n"
    );
    let edits = ResponseEdits {
        drop: KnownSet::of(&[Known::Server]),
        add: b"Date: now\r\n",
        keep_alive: false,
        ..response_edits(BodyLength::Length(5))
    };
    assert_eq!(
        answered(sent, Method::Get, &edits),
        "HTTP/1.1 200 Fine!\r\nX-A:  1 \r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
         Content-Length: 5\r\nConnection: close\r\nDate: now\r\n\r\n"
    );
}

#[test]
fn chunked_is_only_for_http_1_1() {
    let sent = "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n";
    let edits = response_edits(BodyLength::Chunked);
    assert_eq!(
        answered(sent, Method::Get, &edits),
        "HTTP/1.1 200 X\r\nTrailer: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let edits = ResponseEdits { version: Version::Http10, ..edits };
    assert_eq!(answered(sent, Method::Get, &edits), "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n");
}

#[test]
fn the_connection_field_speaks_the_clients_version() {
    let sent = "HTTP/1.0 200 X\r\nContent-Length: 1\r\n\r\n";
    for (version, keep_alive, expected) in [
        (Version::Http11, true, ""),
        (Version::Http11, false, "Connection: close\r\n"),
        (Version::Http10, true, "Connection: keep-alive\r\n"),
        (Version::Http10, false, "Connection: close\r\n"),
    ] {
        let edits = ResponseEdits { version, keep_alive, ..response_edits(BodyLength::Length(1)) };
        let expected = format!("HTTP/1.1 200 X\r\nContent-Length: 1\r\n{expected}\r\n");
        assert_eq!(answered(sent, Method::Get, &edits), expected);
    }
    assert_eq!(
        answered("HTTP/1.1 200 X\r\n\r\n", Method::Get, &response_edits(BodyLength::UntilClose)),
        "HTTP/1.1 200 X\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn bodiless_responses_tell_no_length_but_head_and_304_do() {
    let none = response_edits(BodyLength::None);
    for (sent, method, expected) in [
        (
            "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n",
            Method::Head,
            "HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            "HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n",
            Method::Get,
            "HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            "HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Get,
            "HTTP/1.1 304 X\r\n\r\n",
        ),
        ("HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n", Method::Get, "HTTP/1.1 204 X\r\n\r\n"),
        ("HTTP/1.1 103 X\r\nLink: a\r\n\r\n", Method::Get, "HTTP/1.1 103 X\r\nLink: a\r\n\r\n"),
    ] {
        assert_eq!(answered(sent, method, &none), expected);
    }
    let closing = ResponseEdits { keep_alive: false, ..none };
    assert_eq!(
        answered("HTTP/1.1 100 Continue\r\n\r\n", Method::Get, &closing),
        "HTTP/1.1 100 Continue\r\n\r\n"
    );
}

#[test]
fn protocol_switches_keep_the_upgrade() {
    let sent = "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n";
    let edits = ResponseEdits { upgrade: true, ..response_edits(BodyLength::None) };
    assert_eq!(
        answered(sent, Method::Get, &edits),
        "HTTP/1.1 101 X\r\nSec-WebSocket-Accept: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    let sent = "HTTP/1.1 426 X\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        answered(sent, Method::Get, &response_edits(BodyLength::Length(0))),
        "HTTP/1.1 426 X\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
}

#[test]
fn configured_response_names_can_be_dropped_too() {
    let sent = b"HTTP/1.1 200 X\r\nContent-Length: 0\r\nX-Hide: a\r\nA: b\r\n\r\n";
    let head = response(sent, Method::Get).unwrap();
    let mut out = Vec::new();
    write_response_with(&mut out, sent, &head, &response_edits(BodyLength::Length(0)), |field| {
        field.name.of(sent) != b"X-Hide"
    });
    assert_eq!(out, b"HTTP/1.1 200 X\r\nA: b\r\nContent-Length: 0\r\n\r\n");
}

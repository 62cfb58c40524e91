//! What accepted requests say.

mod common;

use common::{LIMITS, request, shown};
use wire::{BodyLength, Known, Method, Parse, Refusal, RequestHead, Target, Version};

/// The head's parts as text: method, path, query, authority.
fn parts(bytes: &[u8]) -> [String; 4] {
    let head = request(bytes).unwrap_or_else(|refusal| panic!("{}: {refusal}", shown(bytes)));
    assert_eq!(head.bytes, bytes.len());
    let text = |span: wire::Span| String::from_utf8(span.of(bytes).to_vec()).expect("text");
    assert_eq!(text(head.path_and_query), text(head.path) + &text(head.query));
    let authority = head.authority.map_or("none".into(), text);
    [text(head.method_text), text(head.path), text(head.query), authority]
}

#[test]
fn targets_are_reduced_to_path_and_query() {
    for (line, expected) in [
        ("GET /a?b=c", ["GET", "/a", "?b=c", "h"]),
        ("GET /", ["GET", "/", "", "h"]),
        ("GET /a?", ["GET", "/a", "?", "h"]),
        ("GET /a?b?c", ["GET", "/a", "?b?c", "h"]),
        ("GET //a/../;x=1", ["GET", "//a/../;x=1", "", "h"]),
        ("GET /?{\"a\":[1|2]}^`\\<>", ["GET", "/", "?{\"a\":[1|2]}^`\\<>", "h"]),
        ("OPTIONS *", ["OPTIONS", "*", "", "h"]),
        ("get /", ["get", "/", "", "h"]),
        ("M-SEARCH /", ["M-SEARCH", "/", "", "h"]),
        ("GET http://h/a?b", ["GET", "/a", "?b", "h"]),
        ("GET HTTP://H:80", ["GET", "", "", "h"]),
        ("GET https://h:443?x", ["GET", "", "?x", "h"]),
        ("OPTIONS http://h", ["OPTIONS", "", "", "h"]),
    ] {
        assert_eq!(
            parts(format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()),
            expected,
            "{line}"
        );
    }
}

#[test]
fn the_asterisk_is_for_options() {
    let head = request(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!((head.method, head.target), (Method::Options, Target::Asterisk));
    let head = request(b"OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(head.target, Target::Asterisk);
    let head = request(b"OPTIONS http://h/ HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(head.target, Target::Origin);
    let head = request(b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!(head.target, Target::Origin);
}

#[test]
fn methods_are_case_sensitive() {
    for (text, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("PATCH", Method::Patch),
        ("TRACE", Method::Trace),
        ("connect", Method::Other),
        ("get", Method::Other),
        ("PURGE", Method::Other),
    ] {
        let head = request(format!("{text} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(head.method, method);
    }
}

#[test]
fn http_1_0_needs_no_host() {
    assert_eq!(parts(b"GET / HTTP/1.0\r\n\r\n"), ["GET", "/", "", "none"]);
    assert_eq!(parts(b"GET http://a:80/ HTTP/1.0\r\n\r\n"), ["GET", "/", "", "a:80"]);
    assert_eq!(parts(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"), ["GET", "/", "", "a"]);
}

#[test]
fn an_empty_host_is_an_empty_authority() {
    assert_eq!(parts(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"), ["GET", "/", "", ""]);
    assert_eq!(parts(b"GET / HTTP/1.1\r\nHost: \t \r\n\r\n"), ["GET", "/", "", ""]);
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    let bytes = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
    let mut head = RequestHead::default();
    assert_eq!(head.parse(bytes, &LIMITS), Ok(Parse::Complete(bytes.len() - 3)));
    assert_eq!(head.method_text.of(bytes), b"GET");
}

#[test]
fn pipelined_requests_are_read_one_by_one() {
    let bytes = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\nX: y\r\n\r\n";
    let mut head = RequestHead::default();
    let Ok(Parse::Complete(first)) = head.parse(bytes, &LIMITS) else { panic!("incomplete") };
    assert_eq!(head.path.of(bytes), b"/a");
    head.clear();
    let rest = &bytes[first..];
    assert_eq!(head.parse(rest, &LIMITS), Ok(Parse::Complete(rest.len())));
    assert_eq!((head.path.of(rest), head.fields.len()), (b"/b".as_slice(), 2));
}

#[test]
fn a_cleared_head_is_like_new_and_keeps_its_allocation() {
    let mut head = request(
        b"PUT http://a/b?c HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\
          TE: trailers\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
    )
    .unwrap();
    let capacity = head.fields.capacity();
    head.clear();
    assert_eq!(head, RequestHead::default());
    assert_eq!(head.fields.capacity(), capacity);
}

#[test]
fn fields_keep_order_case_and_lines() {
    let bytes =
        b"GET / HTTP/1.1\r\nHost: a\r\nX-B:1\r\nx-a: \t2 \t\r\nX-B:\r\nY: \xff\x80 \"\r\n\r\n";
    let head = request(bytes).unwrap();
    let fields: Vec<_> = head
        .fields
        .iter()
        .map(|field| [field.name, field.value].map(|span| span.of(bytes)))
        .collect();
    assert_eq!(
        fields,
        [
            [b"Host".as_slice(), b"a"],
            [b"X-B", b"1"],
            [b"x-a", b"2"],
            [b"X-B", b""],
            [b"Y", b"\xff\x80 \""],
        ]
    );
    let lines: Vec<_> = head.fields.iter().map(|field| field.line.of(bytes)).collect();
    assert_eq!(lines[2], b"x-a: \t2 \t\r\n");
    assert_eq!(lines.concat(), bytes[16..bytes.len() - 2]);
    assert_eq!(head.field(Known::Host).map(|field| field.value.of(bytes)), Some(b"a".as_slice()));
    assert!(head.field(Known::Cookie).is_none());
}

#[test]
fn bodies_are_delimited_by_length_or_chunks() {
    for (fields, body) in [
        ("", BodyLength::None),
        ("Content-Length: 0\r\n", BodyLength::Length(0)),
        ("content-length: \t12 \r\n", BodyLength::Length(12)),
        ("Content-Length: 003\r\n", BodyLength::Length(3)),
        ("Content-Length: 00000000000000000003\r\n", BodyLength::Length(3)),
        ("Content-Length: 9223372036854775807\r\n", BodyLength::Length(i64::MAX as u64)),
        ("Transfer-Encoding: chunked\r\n", BodyLength::Chunked),
        ("transfer-encoding:CHUNKED\r\n", BodyLength::Chunked),
    ] {
        let head =
            request(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).unwrap();
        assert_eq!(head.body, body, "{fields:?}");
    }
}

#[test]
fn connections_live_by_version_and_option() {
    for (version, connection, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Keep-Alive, CLOSE\r\n", false),
        ("1.1", "Connection: x\r\nConnection: , close ,\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head =
            request(format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n").as_bytes())
                .unwrap();
        assert_eq!(head.keep_alive, keep_alive, "{version} {connection:?}");
        assert_eq!(head.version == Version::Http11, version == "1.1");
    }
}

#[test]
fn nomination_reaches_no_essential_field() {
    let essential = "host, content-length, cookie, authorization, x-forwarded-for, x-real-ip, \
                     x-request-id, content-type, forwarded, traceparent";
    let bytes = format!(
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nCookie: a\r\nAuthorization: a\r\n\
         X-Forwarded-For: a\r\nX-Real-IP: a\r\nX-Request-ID: a\r\n\
         Content-Type: a\r\nForwarded: a\r\n\
         Traceparent: a\r\nX-Mine: a\r\nX-Other: a\r\n\
         Connection: {essential}, x-MINE, absent\r\n\r\n"
    );
    let head = request(bytes.as_bytes()).unwrap();
    let nominated: Vec<_> = head
        .fields
        .iter()
        .filter(|field| field.nominated)
        .map(|field| field.name.of(bytes.as_bytes()))
        .collect();
    assert_eq!(nominated, [b"X-Mine"]);
}

#[test]
fn names_with_underscores_are_marked_and_shadows_told_apart() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\nx-forwarded_proto: 1\r\n\
                  X_Mine: 1\r\nContent_Length: 1\r\nTransfer_Encoding: chunked\r\n\
                  X-Forwarded-For: 1\r\n\r\n";
    let head = request(bytes).unwrap();
    let marks: Vec<_> = head.fields.iter().map(|field| (field.underscore, field.shadows)).collect();
    assert_eq!(
        marks,
        [
            (false, false),
            (true, true),
            (true, true),
            (true, false),
            (true, true),
            (true, true),
            (false, false),
        ]
    );
    assert_eq!(head.body, BodyLength::None);
}

#[test]
fn upgrades_need_both_fields_and_hide_no_http() {
    for (fields, upgrade) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", Some("websocket")),
        ("Connection: keep-alive, upgrade\r\nUpgrade: SPDY/3.1\r\n", Some("SPDY/3.1")),
        ("Upgrade: websocket\r\n", None),
        ("Connection: upgrade\r\n", None),
        ("Connection: upgrade\r\nUpgrade:\r\n", None),
        ("Connection: upgrade\r\nUpgrade: ,\r\n", None),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n", None),
        ("Connection: upgrade\r\nUpgrade: websocket, H2C\r\n", None),
        ("Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n", None),
        ("Connection: upgrade\r\nUpgrade: TLS/1.2\r\n", None),
        ("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", None),
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let head = request(bytes.as_bytes()).unwrap();
        let found = head.upgrade.map(|span| span.of(bytes.as_bytes()));
        assert_eq!(found, upgrade.map(str::as_bytes), "{fields:?}");
    }
    let old = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(request(old).unwrap().upgrade, None);
}

#[test]
fn an_expectation_needs_http_1_1_and_a_body() {
    for (head, expected) in [
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n", true),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
            true,
        ),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", false),
        ("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", false),
        ("PUT / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", false),
        ("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", false),
    ] {
        assert_eq!(request(head.as_bytes()).unwrap().expect_continue, expected, "{head:?}");
    }
}

#[test]
fn te_trailers_is_found_in_lists() {
    for (te, expected) in [
        ("TE: trailers\r\n", true),
        ("TE: gzip;q=0.5, Trailers\r\n", true),
        ("TE: gzip\r\nTE: trailers\r\n", true),
        ("TE: gzip\r\n", false),
        ("", false),
    ] {
        let head = request(format!("GET / HTTP/1.1\r\nHost: a\r\n{te}\r\n").as_bytes()).unwrap();
        assert_eq!(head.te_trailers, expected);
    }
}

#[test]
fn what_is_not_http_is_refused_before_its_head_ends() {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(b"\x16", &LIMITS), Err(Refusal::MethodInvalid));
    head.clear();
    assert_eq!(head.parse(b"GET /\r\n", &LIMITS), Err(Refusal::VersionInvalid));
    head.clear();
    assert_eq!(head.parse(b"GET / HTTP/1.1", &LIMITS), Ok(Parse::Partial));
}

//! Messages that came by HTTP/2, as heads.

mod common;

use common::LIMITS;
use wire::{
    BodyLength, HeadLimits, Known, Method, Parse, Refusal, RequestHead, ResponseHead, Target,
    build_request, build_response, build_upgrade_request,
};

type Fields<'a> = &'a [(&'a str, &'a str)];

fn bytes(fields: Fields<'_>) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

fn built(
    method: &str,
    path: &str,
    authority: Option<&str>,
    fields: Fields<'_>,
    body: BodyLength,
) -> Result<(String, RequestHead), Refusal> {
    let (mut out, mut head) = (b"old".to_vec(), RequestHead::default());
    build_request(
        &mut out,
        &mut head,
        method.as_bytes(),
        path.as_bytes(),
        authority.map(str::as_bytes),
        bytes(fields),
        body,
        &LIMITS,
    )?;
    Ok((String::from_utf8(out).expect("text"), head))
}

fn refused(authority: Option<&str>, fields: Fields<'_>, body: BodyLength) -> Option<Refusal> {
    built("POST", "/", authority, fields, body).err()
}

#[test]
fn a_request_becomes_text_that_reads_back_as_its_head() {
    let fields: Fields<'_> = &[
        ("user-agent", "x"),
        ("cookie", "a=1"),
        ("te", "trailers"),
        ("x-a", " \tb "),
        ("cookie", "b=2"),
        ("content-length", "007"),
        ("expect", "100-continue"),
    ];
    let (text, head) =
        built("POST", "/a?b", Some("h.example:443"), fields, BodyLength::Chunked).unwrap();
    assert_eq!(
        text,
        "POST /a?b HTTP/1.1\r\nhost: h.example:443\r\nuser-agent: x\r\nte: trailers\r\nx-a: b\r\n\
         expect: 100-continue\r\ncookie: a=1; b=2\r\ncontent-length: 7\r\n\r\n"
    );
    assert_eq!(head.method, Method::Post);
    assert_eq!(head.path.of(text.as_bytes()), b"/a");
    assert_eq!(head.query.of(text.as_bytes()), b"?b");
    assert_eq!(head.authority.unwrap().of(text.as_bytes()), b"h.example:443");
    assert_eq!(head.body, BodyLength::Length(7));
    assert!(head.te_trailers && head.keep_alive && head.expect_continue);
    let mut again = RequestHead::default();
    assert_eq!(again.parse(text.as_bytes(), &LIMITS), Ok(Parse::Complete(text.len())));
    assert_eq!(again, head);
}

#[test]
fn bodies_are_what_the_stream_says() {
    for (fields, said, body, text) in [
        (&[][..], BodyLength::None, BodyLength::None, ""),
        (&[], BodyLength::Chunked, BodyLength::Chunked, "transfer-encoding: chunked\r\n"),
        (&[], BodyLength::Length(3), BodyLength::Length(3), "content-length: 3\r\n"),
        (
            &[("content-length", "3")],
            BodyLength::Length(3),
            BodyLength::Length(3),
            "content-length: 3\r\n",
        ),
        (
            &[("content-length", "0")],
            BodyLength::None,
            BodyLength::Length(0),
            "content-length: 0\r\n",
        ),
    ] {
        let (written, head) = built("POST", "/", Some("h"), fields, said).unwrap();
        assert_eq!(written, format!("POST / HTTP/1.1\r\nhost: h\r\n{text}\r\n"));
        assert_eq!(head.body, body);
    }
    let length: Fields<'_> = &[("content-length", "3")];
    assert_eq!(refused(Some("h"), length, BodyLength::None), Some(Refusal::LengthMismatch));
    assert_eq!(refused(Some("h"), length, BodyLength::Length(4)), Some(Refusal::LengthMismatch));
}

#[test]
fn host_may_repeat_the_authority_but_not_differ() {
    let (text, _) = built("GET", "/", Some("h:443"), &[("host", "H")], BodyLength::None).unwrap();
    assert_eq!(text, "GET / HTTP/1.1\r\nhost: h:443\r\n\r\n");
    let (text, _) = built("GET", "/", None, &[("host", "H")], BodyLength::None).unwrap();
    assert_eq!(text, "GET / HTTP/1.1\r\nhost: H\r\n\r\n");
    for (authority, fields, refusal) in [
        (Some("a"), &[("host", "b")][..], Refusal::HostMismatch),
        (Some("a:8443"), &[("host", "a")], Refusal::HostMismatch),
        (Some("a"), &[("host", "a"), ("host", "a")], Refusal::HostRepeated),
        (None, &[("host", "a"), ("host", "a")], Refusal::HostRepeated),
        (None, &[], Refusal::HostMissing),
        (Some("u@a"), &[], Refusal::HostInvalid),
        (Some("a b"), &[], Refusal::HostInvalid),
        (Some("a\r\nx: y"), &[], Refusal::HostInvalid),
        (None, &[("host", "a/b")], Refusal::HostInvalid),
    ] {
        assert_eq!(refused(authority, fields, BodyLength::None), Some(refusal), "{authority:?}");
    }
}

#[test]
fn targets_are_as_strict_as_in_http_1() {
    for (method, path, refusal) in [
        ("GET", "*", Refusal::TargetForm),
        ("GET", "", Refusal::TargetForm),
        ("GET", "a", Refusal::TargetForm),
        ("GET", "http://h/", Refusal::TargetForm),
        ("GET", "/a b", Refusal::TargetControl),
        ("GET", "/ HTTP/1.1\r\nx: y\r\n\r\nGET /", Refusal::TargetControl),
        ("GET", "/\n", Refusal::TargetControl),
        ("GET", "/a#b", Refusal::TargetFragment),
        ("GET", "/é", Refusal::TargetNonAscii),
        ("GET", "/|", Refusal::TargetCharacter),
        ("GET", "/\\", Refusal::PathBackslash),
        ("G T", "/", Refusal::MethodInvalid),
        ("GET / HTTP/1.1\r\n", "/", Refusal::MethodInvalid),
        ("", "/", Refusal::MethodInvalid),
        ("CONNECT", "/", Refusal::MethodConnect),
    ] {
        let found = built(method, path, Some("h"), &[], BodyLength::None).err();
        assert_eq!(found, Some(refusal), "{method:?} {path:?}");
    }
    let (_, head) = built("OPTIONS", "*", Some("h"), &[], BodyLength::None).unwrap();
    assert_eq!(head.target, Target::Asterisk);
}

#[test]
fn fields_cannot_end_a_line_or_speak_of_connections() {
    for (name, value, refusal) in [
        ("connection", "close", Refusal::FieldConnectionSpecific),
        ("keep-alive", "5", Refusal::FieldConnectionSpecific),
        ("proxy-connection", "a", Refusal::FieldConnectionSpecific),
        ("transfer-encoding", "chunked", Refusal::FieldConnectionSpecific),
        ("upgrade", "websocket", Refusal::FieldConnectionSpecific),
        ("http2-settings", "a", Refusal::FieldConnectionSpecific),
        ("te", "gzip", Refusal::FieldConnectionSpecific),
        ("x", "a\r\ny: b", Refusal::BareCarriageReturn),
        ("x", "a\ny: b", Refusal::FieldValue),
        ("x", "a\0", Refusal::FieldValue),
        ("x y", "a", Refusal::FieldName),
        ("x: a\r\ny", "a", Refusal::FieldName),
        (":path", "/", Refusal::FieldName),
        ("", "a", Refusal::FieldName),
        ("content-length", "+1", Refusal::LengthInvalid),
        ("expect", "x", Refusal::ExpectationFailed),
    ] {
        assert_eq!(
            refused(Some("h"), &[(name, value)], BodyLength::None),
            Some(refusal),
            "{name:?}"
        );
    }
    let twice: Fields<'_> = &[("content-length", "1"), ("content-length", "1")];
    assert_eq!(refused(Some("h"), twice, BodyLength::Chunked), Some(Refusal::LengthRepeated));
}

#[test]
fn limits_hold_for_the_text() {
    let long = "a".repeat(5000);
    assert_eq!(refused(Some("h"), &[("x", &long)], BodyLength::None), Some(Refusal::HeadTooLarge));
    assert_eq!(
        refused(Some("h"), &[("cookie", &long)], BodyLength::None),
        Some(Refusal::HeadTooLarge)
    );
    let found = built("GET", &format!("/{long}"), Some("h"), &[], BodyLength::None).err();
    assert_eq!(found, Some(Refusal::TargetTooLong));
    let many = [("x", "y"); 20];
    assert_eq!(refused(Some("h"), &many, BodyLength::None), Some(Refusal::TooManyFields));
    let endless = std::iter::repeat((b"cookie".as_slice(), b"".as_slice()));
    let found = build_request(
        &mut Vec::new(),
        &mut RequestHead::default(),
        b"GET",
        b"/",
        Some(b"h"),
        endless,
        BodyLength::None,
        &HeadLimits::default(),
    );
    assert_eq!(found, Err(Refusal::HeadTooLarge));
}

#[test]
fn an_extended_connect_becomes_an_upgrade() {
    let (mut out, mut head) = (Vec::new(), RequestHead::default());
    let fields: Fields<'_> = &[("sec-websocket-version", "13")];
    let done = build_upgrade_request(
        &mut out,
        &mut head,
        b"/chat",
        Some(b"h"),
        bytes(fields),
        b"websocket",
        &LIMITS,
    );
    assert_eq!(done, Ok(()));
    assert_eq!(
        String::from_utf8_lossy(&out),
        "GET /chat HTTP/1.1\r\nhost: h\r\nsec-websocket-version: 13\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\n\r\n"
    );
    assert_eq!(head.upgrade.unwrap().of(&out), b"websocket");
    for protocol in [b"".as_slice(), b"a b", b"a\r\nb: c", b"/"] {
        let found = build_upgrade_request(
            &mut out,
            &mut head,
            b"/",
            Some(b"h"),
            bytes(&[]),
            protocol,
            &LIMITS,
        );
        assert_eq!(found, Err(Refusal::FieldValue));
    }
}

fn answer(
    status: u16,
    fields: Fields<'_>,
    body: BodyLength,
) -> Result<(String, ResponseHead), Refusal> {
    let (mut out, mut head) = (b"old".to_vec(), ResponseHead::default());
    build_response(&mut out, &mut head, status, bytes(fields), body, &LIMITS)?;
    Ok((String::from_utf8(out).expect("text"), head))
}

#[test]
fn a_response_becomes_text_and_head() {
    let fields: Fields<'_> = &[("content-length", "5"), ("set-cookie", "a"), ("set-cookie", "b")];
    let (text, head) = answer(200, fields, BodyLength::Chunked).unwrap();
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 5\r\n\r\n"
    );
    assert_eq!((head.status, head.body), (200, BodyLength::Length(5)));
    assert!(!head.needs_rewrite && head.keep_alive);
    let (text, head) = answer(299, &[], BodyLength::Chunked).unwrap();
    assert_eq!(text, "HTTP/1.1 299 \r\ntransfer-encoding: chunked\r\n\r\n");
    assert!(head.needs_rewrite && head.body == BodyLength::Chunked);
}

#[test]
fn a_response_without_a_body_may_tell_a_length() {
    let (text, head) = answer(200, &[("content-length", "5")], BodyLength::None).unwrap();
    assert_eq!(text, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(head.body, BodyLength::None);
    assert!(head.field(Known::ContentLength).is_some());
    let (text, head) = answer(204, &[], BodyLength::None).unwrap();
    assert_eq!((text.as_str(), head.body), ("HTTP/1.1 204 No Content\r\n\r\n", BodyLength::None));
}

#[test]
fn responses_are_as_strict() {
    for (status, fields, refusal) in [
        (200, &[("connection", "close")][..], Refusal::FieldConnectionSpecific),
        (200, &[("x", "a\r\nb")], Refusal::BareCarriageReturn),
        (200, &[("content-length", "1"), ("content-length", "1")], Refusal::LengthRepeated),
        (600, &[], Refusal::StatusInvalid),
        (99, &[], Refusal::StatusLine),
    ] {
        assert_eq!(answer(status, fields, BodyLength::Chunked).err(), Some(refusal));
    }
    let found = answer(200, &[("content-length", "1")], BodyLength::Length(2)).err();
    assert_eq!(found, Some(Refusal::LengthMismatch));
}

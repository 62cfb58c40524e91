//! Every refusal as raw bytes over the socket: the status, the reason, the closed connection, and
//! an endpoint that heard nothing of it.

use std::collections::BTreeSet;

use testkit::{Endpoint, in_words, wait_until};
use wire::Refusal;

use crate::{GET, OK, in_front_of};

/// Bytes of a request, and why they are refused. Every reason that HTTP/1 requests can meet.
#[rustfmt::skip]
const REFUSED: &[(&[u8], Refusal)] = &[
    (b"GET / HTTP/1.1\nHost: app.test\n\n", Refusal::BareLineFeed),
    (b"GET / HTTP/1.1\r\nHost: app.test\r\nA: b\rc\r\n\r\n", Refusal::BareCarriageReturn),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::EmptyLines),
    (b"GET /  HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::RequestLine),
    (b"G(T / HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::MethodInvalid),
    (b"CONNECT app.test:443 HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::MethodConnect),
    (b"GET / HTTP/0.9\r\nHost: app.test\r\n\r\n", Refusal::VersionInvalid),
    (b"GET / HTTP/1.2\r\nHost: app.test\r\n\r\n", Refusal::VersionUnsupported),
    (b"GET * HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::TargetForm),
    (b"GET /a|b HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::TargetCharacter),
    (b"GET /a\x7fb HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::TargetControl),
    (b"GET /a#b HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::TargetFragment),
    (b"GET /\xe9 HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::TargetNonAscii),
    (b"GET /a%zz HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::PathPercent),
    (b"GET /a%00 HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::PathNul),
    (b"GET /a\\b HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::PathBackslash),
    (b"GET /a%5cb HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::PathBackslash),
    (b"GET /../a HTTP/1.1\r\nHost: app.test\r\n\r\n", Refusal::PathClimbs),
    (b"GET / HTTP/1.1\r\n\r\n", Refusal::HostMissing),
    (b"GET / HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\n\r\n", Refusal::HostRepeated),
    (b"GET / HTTP/1.1\r\nHost: u@app.test\r\n\r\n", Refusal::HostInvalid),
    (b"GET http://app.test/ HTTP/1.1\r\nHost: b\r\n\r\n", Refusal::HostMismatch),
    (b"GET / HTTP/1.1\r\nHost: app.test\r\nA\r\n\r\n", Refusal::FieldName),
    (b"GET / HTTP/1.1\r\nHost: app.test\r\nA: b\x00\r\n\r\n", Refusal::FieldValue),
    (b"GET / HTTP/1.1\r\nHost: app.test\r\nA: b\r\n c\r\n\r\n", Refusal::FieldFolded),
    (b"GET / HTTP/1.1\r\nHost: app.test\r\nA : b\r\n\r\n", Refusal::FieldSpaceBeforeColon),
    (b"PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1\r\nExpect: x\r\n\r\n", Refusal::ExpectationFailed),
    (b"PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: +3\r\n\r\nabc", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", Refusal::LengthRepeated),
    (b"PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 9223372036854775808\r\n\r\n", Refusal::LengthTooLarge),
    (b"PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refusal::LengthAndCoding),
    (b"PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refusal::CodingRepeated),
    (b"PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: identity\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refusal::CodingUnsupported),
    (b"PUT / HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refusal::CodingVersion),
];

/// Bodies in chunks, and why they are refused.
#[rustfmt::skip]
const REFUSED_BODIES: &[(&[u8], Refusal)] = &[
    (b"0x3\r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b"3;a\x00\r\nabc\r\n0\r\n\r\n", Refusal::ChunkExtension),
    (b"3\r\nabcd\r\n0\r\n\r\n", Refusal::ChunkEnd),
    (b"3\r\nabc\n0\r\n\r\n", Refusal::ChunkEnd),
    (b"3\nabc\r\n0\r\n\r\n", Refusal::BareLineFeed),
    (b"0\r\nA : b\r\n\r\n", Refusal::FieldSpaceBeforeColon),
];

#[test]
fn malformed_heads_are_answered_with_their_reason_and_reach_nobody() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    for (bytes, refusal) in REFUSED {
        let mut client = gateway.connect();
        client.send(bytes);
        let response = client.read_response("GET");
        assert_eq!(response.status(), refusal.status(), "{}", in_words(bytes));
        assert!(
            response.text().contains(refusal.reason()),
            "{}: {}",
            in_words(bytes),
            response.text()
        );
        assert!(client.is_closed(), "{}", in_words(bytes));
    }
    assert_eq!(endpoint.text(), "");
}

#[test]
fn heads_above_the_limits_are_answered_with_their_reason() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: app.test\r\n\r\n", "a".repeat(20_000));
    let long_head =
        format!("GET / HTTP/1.1\r\nHost: app.test\r\nA: {}\r\n\r\n", "a".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\nHost: app.test\r\n{}\r\n", "A: b\r\n".repeat(101));
    let options = (0..200).map(|n| format!("x{n}")).collect::<Vec<_>>().join(", ");
    let options = format!("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: {options}\r\n\r\n");
    for (bytes, refusal) in [
        (long_target, Refusal::TargetTooLong),
        (long_head, Refusal::HeadTooLarge),
        (many, Refusal::TooManyFields),
        (options, Refusal::ConnectionOptions),
    ] {
        let mut client = gateway.connect();
        client.send(&bytes);
        let response = client.read_response("GET");
        assert_eq!(response.status(), refusal.status(), "{refusal:?}");
        assert!(response.text().contains(refusal.reason()), "{}", response.text());
        assert!(client.is_closed(), "{refusal:?}");
    }
    assert_eq!(endpoint.text(), "");
}

#[test]
fn malformed_bodies_end_both_connections_and_are_never_passed_for_whole() {
    for (bytes, refusal) in REFUSED_BODIES {
        let endpoint = Endpoint::start(|conversation| {
            conversation.read_request()?;
            conversation.write(OK)?;
            conversation.stall();
            Ok(())
        });
        let gateway = in_front_of(&endpoint);
        let mut client = gateway.connect();
        client.send("PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(bytes);
        let response = client.read_response("PUT");
        assert_eq!(response.status(), refusal.status(), "{}", in_words(bytes));
        assert!(client.is_closed(), "{}", in_words(bytes));
        wait_until("the endpoint's connection is closed", || endpoint.open() == 0);
        let text = endpoint.text();
        assert!(!text.ends_with("0\r\n\r\n"), "{}: {text:?}", in_words(bytes));
    }
}

#[test]
fn what_follows_a_refused_request_is_not_read() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send([b"GET / HTTP/1.1\r\nHost: app.test\r\nA : b\r\n\r\n", GET.as_bytes()].concat());
    assert_eq!(client.read_response("GET").status(), 400);
    assert!(client.is_closed());
    assert_eq!(endpoint.text(), "");
}

#[test]
fn each_of_two_readings_of_a_smuggled_request_is_impossible() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    for bytes in [
        // What one server ends after its length and another after its chunks.
        &b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: app.test\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n",
    ] {
        let mut client = gateway.connect();
        client.send(bytes);
        assert_eq!(client.read_response("POST").status(), 400, "{}", in_words(bytes));
        assert!(client.is_closed());
    }
    assert!(!endpoint.text().contains("smuggled"), "{}", endpoint.text());
}

#[test]
fn every_reason_that_requests_can_meet_stands_in_the_tables() {
    let told: BTreeSet<&str> = REFUSED
        .iter()
        .chain(REFUSED_BODIES)
        .map(|(_, refusal)| refusal.reason())
        .chain([
            // Told by the test of limits.
            Refusal::TargetTooLong.reason(),
            Refusal::HeadTooLarge.reason(),
            Refusal::TooManyFields.reason(),
            Refusal::ConnectionOptions.reason(),
            // Only HTTP/2 can say it.
            Refusal::FieldConnectionSpecific.reason(),
            Refusal::LengthMismatch.reason(),
            // A target that does not begin with a slash is no target before it is a path.
            Refusal::PathRelative.reason(),
            // Told after the answer has begun, or when nobody listens any more.
            Refusal::BodyIncomplete.reason(),
            // Bounds of what is inside a body; the unit tests of `wire` reach them with less.
            Refusal::ChunkExtensionsTooLarge.reason(),
            Refusal::TrailersTooLarge.reason(),
        ])
        .collect();
    let missing: Vec<&str> = Refusal::ALL
        .iter()
        .filter(|refusal| refusal.status() < 502)
        .map(|refusal| refusal.reason())
        .filter(|reason| !told.contains(reason))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn a_trusted_looking_start_of_tls_on_a_cleartext_port_is_refused() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    let bytes = client.try_read_to_end().unwrap_or_default();
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 400 "), "{}", in_words(&bytes));
    assert_eq!(endpoint.text(), "");
}

#[test]
fn cleartext_on_a_tls_port_is_told_so() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let mut client = testkit::client::raw::RawClient::connect(gateway.https());
    client.send(GET);
    assert_eq!(client.read_response("GET").status(), 400);
    assert!(client.is_closed());
    assert_eq!(endpoint.text(), "");
}

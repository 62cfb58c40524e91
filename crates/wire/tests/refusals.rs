//! Everything that is refused, as the bytes that are refused, with the row of the table that says
//! so.

mod common;

use std::collections::HashSet;

use common::{LIMITS, body, chunked, request, response, shown};
use wire::{BodyDecoder, BodyLength, Method, Refusal, RequestHead, ResponseHead};

/// Whole request heads; `\r\n\r\n` included, so that each can be judged.
#[rustfmt::skip]
const REQUESTS: &[(&[u8], Refusal)] = &[
    // Line ends.
    (b"GET / HTTP/1.1\nHost: a\n\n", Refusal::BareLineFeed),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Refusal::BareLineFeed),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Refusal::BareLineFeed),
    (b"GET / HTTP/1.1\r\n\nHost: a\r\n\r\n", Refusal::BareLineFeed),
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::BareLineFeed),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nTransfer-Encoding: chunked\r\n\r\n", Refusal::BareLineFeed),
    (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BareLineFeed),
    (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BareLineFeed),
    (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BareCarriageReturn),
    (b"\r\n\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BareCarriageReturn),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", Refusal::BareCarriageReturn),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\r\n\r\n", Refusal::BareCarriageReturn),
    (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::EmptyLines),
    // Request line.
    (b"GET\r\n\r\n", Refusal::RequestLine),
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
    (b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
    (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
    (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Refusal::RequestLine),
    (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodInvalid),
    (b"\x16\x03\x01\x02\x00\x01\x00", Refusal::MethodInvalid),
    (b"G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodInvalid),
    (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodInvalid),
    (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodInvalid),
    (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodConnect),
    (b"CONNECT /foo HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodConnect),
    (b"GET /\r\n\r\n", Refusal::VersionInvalid),
    (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", Refusal::VersionInvalid),
    (b"GET / http/1.1\r\nHost: a\r\n\r\n", Refusal::VersionInvalid),
    (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", Refusal::VersionInvalid),
    (b"GET / HTTP/1\r\nHost: a\r\n\r\n", Refusal::VersionInvalid),
    (b"GET / HTTP/1.\xff\r\nHost: a\r\n\r\n", Refusal::VersionInvalid),
    (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", Refusal::VersionInvalid),
    (b"GET / HTTP/1.1\t\r\nHost: a\r\n\r\n", Refusal::VersionInvalid),
    (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refusal::VersionUnsupported),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refusal::VersionUnsupported),
    (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", Refusal::VersionUnsupported),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refusal::VersionUnsupported),
    // Target.
    (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
    (b"OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
    (b"GET foo HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
    (b"GET a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
    (b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
    (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
    (b"GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetFragment),
    (b"GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetFragment),
    (b"GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetFragment),
    (b"GET /a<b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetCharacter),
    (b"GET /a>b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetCharacter),
    (b"GET /a\"b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetCharacter),
    (b"GET /a{b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetCharacter),
    (b"GET /a}b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetCharacter),
    (b"GET /a|b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetCharacter),
    (b"GET /a^b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetCharacter),
    (b"GET /a`b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetCharacter),
    (b"GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::PathBackslash),
    (b"GET /a\x00b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetControl),
    (b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetControl),
    (b"GET /a\x7fb HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetControl),
    (b"GET /a?b\x01 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetControl),
    (b"GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetControl),
    (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetNonAscii),
    (b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetNonAscii),
    (b"GET /?\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetNonAscii),
    // Host.
    (b"GET / HTTP/1.1\r\n\r\n", Refusal::HostMissing),
    (b"GET http://a/ HTTP/1.1\r\n\r\n", Refusal::HostMissing),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refusal::HostRepeated),
    (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Refusal::HostRepeated),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::HostRepeated),
    (b"GET / HTTP/1.1\r\nHost: a b@c/d\r\n\r\n", Refusal::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Refusal::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Refusal::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", Refusal::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Refusal::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", Refusal::HostInvalid),
    (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", Refusal::HostInvalid),
    (b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", Refusal::HostInvalid),
    (b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostInvalid),
    (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostInvalid),
    (b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", Refusal::HostMismatch),
    (b"GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", Refusal::HostMismatch),
    (b"GET http://a/ HTTP/1.0\r\nHost: b\r\n\r\n", Refusal::HostMismatch),
    (b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
    (b"GET http://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n", Refusal::HostMismatch),
    (b"GET https://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
    // Fields.
    (b"GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n", Refusal::FieldName),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", Refusal::FieldName),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA B: c\r\n\r\n", Refusal::FieldName),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA\x00: c\r\n\r\n", Refusal::FieldName),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA\xe9: c\r\n\r\n", Refusal::FieldName),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA\r: c\r\n\r\n", Refusal::FieldName),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Refusal::FieldSpaceBeforeColon),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 1\r\n\r\n", Refusal::FieldSpaceBeforeColon),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", Refusal::FieldFolded),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\tc: d\r\n\r\n", Refusal::FieldFolded),
    (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refusal::FieldFolded),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n \r\n\r\n", Refusal::FieldFolded),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00\r\n\r\n", Refusal::FieldValue),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: \x01\r\n\r\n", Refusal::FieldValue),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x7f\r\n\r\n", Refusal::FieldValue),
    (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x0bc\r\n\r\n", Refusal::FieldValue),
    // Expect.
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\n", Refusal::ExpectationFailed),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\n\r\n", Refusal::ExpectationFailed),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n", Refusal::ExpectationFailed),
    // Content-Length.
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3,\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: \xc2\xb3\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 000000000000000000003\r\n\r\n", Refusal::LengthInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", Refusal::LengthRepeated),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: 4\r\n\r\n", Refusal::LengthRepeated),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551614\r\n\r\n", Refusal::LengthTooLarge),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", Refusal::LengthTooLarge),
    // Transfer-Encoding.
    (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::LengthAndCoding),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", Refusal::LengthAndCoding),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\n", Refusal::LengthAndCoding),
    (b"PUT / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", Refusal::LengthAndCoding),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::CodingRepeated),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::CodingRepeated),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\xc2\xa0\r\n\r\n", Refusal::CodingInvalid),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Refusal::CodingUnsupported),
    (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity,chunked\r\n\r\n", Refusal::CodingUnsupported),
    (b"PUT / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::CodingVersion),
];

/// Whole response heads, as answers to GET.
#[rustfmt::skip]
const RESPONSES: &[(&[u8], Refusal)] = &[
    (b"HTTP/1.1 200 OK\n\n", Refusal::BareLineFeed),
    (b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", Refusal::BareLineFeed),
    (b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", Refusal::BareCarriageReturn),
    (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/2.0 200 OK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.2 200 OK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/0.9 200 OK\r\n\r\n", Refusal::StatusLine),
    (b"ICY 200 OK\r\n\r\n", Refusal::StatusLine),
    (b"http/1.1 200 OK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1  200 OK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1 20 OK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1 2000 OK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1 +20 OK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1 200OK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1 200\tOK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1 200 O\x00K\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1 200 O\rK\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1\r\n\r\n", Refusal::StatusLine),
    (b"HTTP/1.1 099 No\r\n\r\n", Refusal::StatusInvalid),
    (b"HTTP/1.1 600 No\r\n\r\n", Refusal::StatusInvalid),
    (b"HTTP/1.1 000 No\r\n\r\n", Refusal::StatusInvalid),
    (b"HTTP/1.1 999 No\r\n\r\n", Refusal::StatusInvalid),
    (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Refusal::FieldFolded),
    (b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n", Refusal::FieldSpaceBeforeColon),
    (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", Refusal::FieldName),
    (b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", Refusal::FieldValue),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::LengthAndCoding),
    (b"HTTP/1.1 204 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::LengthAndCoding),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Refusal::LengthRepeated),
    (b"HTTP/1.1 304 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Refusal::LengthRepeated),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", Refusal::LengthInvalid),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Refusal::LengthInvalid),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n", Refusal::LengthTooLarge),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::CodingRepeated),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Refusal::CodingInvalid),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Refusal::CodingUnsupported),
    (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::CodingVersion),
];

/// Chunked bodies.
#[rustfmt::skip]
const BODIES: &[(&[u8], Refusal)] = &[
    (b"\r\n", Refusal::ChunkSize),
    (b"x\r\n", Refusal::ChunkSize),
    (b"0x3\r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b"+3\r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b"-3\r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b" 3\r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b"3 \r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b"3\t\r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b"3\x00\r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b"3 4\r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b";a\r\n", Refusal::ChunkSize),
    (b"00000000000000003\r\nabc\r\n0\r\n\r\n", Refusal::ChunkSize),
    (b"10000000000000000\r\n", Refusal::ChunkSize),
    (b"ffffffffffffffff\r\n", Refusal::ChunkSize),
    (b"8000000000000000\r\n", Refusal::ChunkSize),
    (b"3\nabc\r\n0\r\n\r\n", Refusal::BareLineFeed),
    (b"3\rabc\r\n0\r\n\r\n", Refusal::BareCarriageReturn),
    (b"0\rx\r\n\r\n", Refusal::BareCarriageReturn),
    (b"3;a\rb\r\nabc\r\n0\r\n\r\n", Refusal::BareCarriageReturn),
    (b"3;a\nabc\r\n0\r\n\r\n", Refusal::ChunkExtension),
    (b"3;a=\"\n\"\r\nabc\r\n0\r\n\r\n", Refusal::ChunkExtension),
    (b"3;a\x00\r\nabc\r\n0\r\n\r\n", Refusal::ChunkExtension),
    (b"3;a\x7f\r\nabc\r\n0\r\n\r\n", Refusal::ChunkExtension),
    (b"3;\ta\r\nabc\r\n0\r\n\r\n", Refusal::ChunkExtension),
    (b"3\r\nabcd\r\n0\r\n\r\n", Refusal::ChunkEnd),
    (b"3\r\nab\r\n0\r\n\r\n", Refusal::ChunkEnd),
    (b"3\r\nabc\n0\r\n\r\n", Refusal::ChunkEnd),
    (b"3\r\nabc\rx0\r\n\r\n", Refusal::ChunkEnd),
    (b"3\r\nabc0\r\n\r\n", Refusal::ChunkEnd),
    (b"0\n\r\n", Refusal::BareLineFeed),
    (b"0\r\n\n", Refusal::BareLineFeed),
    (b"0\r\nA: b\n\r\n", Refusal::BareLineFeed),
    (b"0\r\nA: b\rc\r\n\r\n", Refusal::BareCarriageReturn),
    (b"0\r\n\rA: b\r\n\r\n", Refusal::BareCarriageReturn),
    (b"0\r\nA : b\r\n\r\n", Refusal::FieldSpaceBeforeColon),
    (b"0\r\n A: b\r\n\r\n", Refusal::FieldFolded),
    (b"0\r\nA: b\r\n c\r\n\r\n", Refusal::FieldFolded),
    (b"0\r\nA\r\n\r\n", Refusal::FieldName),
    (b"0\r\n: b\r\n\r\n", Refusal::FieldName),
    (b"0\r\nA: \x00\r\n\r\n", Refusal::FieldValue),
    (b"3\r\nabc", Refusal::BodyIncomplete),
    (b"0\r\n", Refusal::BodyIncomplete),
    (b"", Refusal::BodyIncomplete),
];

#[test]
fn every_malformed_request_is_refused_for_its_reason() {
    for (bytes, refusal) in REQUESTS {
        assert_eq!(request(bytes).err(), Some(*refusal), "{}", shown(bytes));
    }
}

#[test]
fn every_malformed_response_is_refused_for_its_reason() {
    for (bytes, refusal) in RESPONSES {
        assert_eq!(response(bytes, Method::Get).err(), Some(*refusal), "{}", shown(bytes));
    }
}

#[test]
fn every_malformed_chunked_body_is_refused_for_its_reason() {
    for (bytes, refusal) in BODIES {
        assert_eq!(chunked(bytes).err(), Some(*refusal), "{}", shown(bytes));
    }
}

#[test]
fn the_same_refusals_come_when_bytes_drip() {
    for (bytes, refusal) in REQUESTS {
        let mut head = RequestHead::default();
        let verdict = (1..=bytes.len()).find_map(|end| head.parse(&bytes[..end], &LIMITS).err());
        assert_eq!(verdict, Some(*refusal), "{}", shown(bytes));
    }
    for (bytes, refusal) in RESPONSES {
        let mut head = ResponseHead::default();
        let verdict =
            (1..=bytes.len()).find_map(|end| head.parse(&bytes[..end], Method::Get, &LIMITS).err());
        assert_eq!(verdict, Some(*refusal), "{}", shown(bytes));
    }
    for (bytes, refusal) in BODIES {
        let body = common::body_in_pieces(BodyLength::Chunked, bytes.chunks(1));
        match body {
            Ok(body) => assert!(*refusal == Refusal::BodyIncomplete && !body.ended),
            Err(found) => assert_eq!(found, *refusal, "{}", shown(bytes)),
        }
    }
}

#[test]
fn heads_above_the_limits_are_refused() {
    let target = [b"GET /".as_slice(), &[b'a'; 1024], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(request(&target).err(), Some(Refusal::TargetTooLong));
    let endless = [b"GET /".as_slice(), &[b'a'; 5000]].concat();
    assert_eq!(request(&endless).err(), Some(Refusal::TargetTooLong));
    let method = [b'A'; 5000];
    assert_eq!(request(&method).err(), Some(Refusal::HeadTooLarge));
    let value = [b"GET / HTTP/1.1\r\nHost: a\r\nA: ".as_slice(), &[b'a'; 5000]].concat();
    assert_eq!(request(&value).err(), Some(Refusal::HeadTooLarge));
    let mut fields = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    fields.extend_from_slice(&b"A: b\r\n".repeat(16));
    fields.extend_from_slice(b"\r\n");
    assert_eq!(request(&fields).err(), Some(Refusal::TooManyFields));
    let mut fields = b"HTTP/1.1 200 OK\r\n".to_vec();
    fields.extend_from_slice(&b"A: b\r\n".repeat(17));
    fields.extend_from_slice(b"\r\n");
    assert_eq!(response(&fields, Method::Get).err(), Some(Refusal::TooManyFields));
    let reason = [b"HTTP/1.1 200 ".as_slice(), &[b'a'; 5000]].concat();
    assert_eq!(response(&reason, Method::Get).err(), Some(Refusal::HeadTooLarge));
}

#[test]
fn heads_exactly_at_the_limits_pass() {
    let target = [b"GET /".as_slice(), &[b'a'; 1023], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(request(&target).unwrap().path.len(), 1024);
    let start = b"GET / HTTP/1.1\r\nHost: a\r\nA: ".as_slice();
    for (length, verdict) in [(4096, None), (4097, Some(Refusal::HeadTooLarge))] {
        let filling = vec![b'a'; length - start.len() - 4];
        let head = [start, &filling, b"\r\n\r\n"].concat();
        assert_eq!(head.len(), length);
        assert_eq!(request(&head).err(), verdict);
    }
    let mut fields = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    fields.extend_from_slice(&b"A: b\r\n".repeat(15));
    fields.extend_from_slice(b"\r\n");
    assert_eq!(request(&fields).unwrap().fields.len(), 16);
}

#[test]
fn more_connection_options_than_64_are_refused() {
    for (count, verdict) in [(64, None), (65, Some(Refusal::ConnectionOptions))] {
        let options = b"x,".repeat(count);
        let head = [b"GET / HTTP/1.1\r\nHost: a\r\nConnection: ".as_slice(), &options, b"\r\n\r\n"]
            .concat();
        assert_eq!(request(&head).err(), verdict);
    }
}

#[test]
fn chunk_extensions_and_trailers_above_the_limits_are_refused() {
    let extension = [b"0;".as_slice(), &[b'a'; 4095], b"\r\n\r\n"].concat();
    assert!(chunked(&extension).is_ok());
    let extension = [b"0;".as_slice(), &[b'a'; 4096], b"\r\n\r\n"].concat();
    assert_eq!(chunked(&extension).err(), Some(Refusal::ChunkExtensionsTooLarge));
    let many = b"1;a\r\nx\r\n".repeat(2049);
    assert_eq!(body(BodyLength::Chunked, &many).err(), Some(Refusal::ChunkExtensionsTooLarge));
    let trailer = [b"0\r\nA: ".as_slice(), &[b'a'; 251], b"\r\n\r\n"].concat();
    assert!(chunked(&trailer).is_ok());
    let trailer = [b"0\r\nA: ".as_slice(), &[b'a'; 252], b"\r\n\r\n"].concat();
    assert_eq!(chunked(&trailer).err(), Some(Refusal::TrailersTooLarge));
    let dropped = [b"0\r\n".as_slice(), &b"Host: a\r\n".repeat(29)].concat();
    assert_eq!(chunked(&dropped).err(), Some(Refusal::TrailersTooLarge));
}

#[test]
fn a_refused_body_stays_refused() {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, 0);
    assert_eq!(decoder.decode(&mut b"x".to_vec()), Err(Refusal::ChunkSize));
    assert_eq!(decoder.decode(&mut b"0\r\n\r\n".to_vec()), Err(Refusal::ChunkSize));
    assert_eq!(decoder.end_of_input(), Err(Refusal::ChunkSize));
    assert!(!decoder.ended());
}

#[test]
fn an_unfinished_body_at_the_end_of_input_is_refused() {
    for length in [BodyLength::Length(1), BodyLength::Chunked] {
        let mut decoder = BodyDecoder::new(length, 0);
        assert_eq!(decoder.end_of_input(), Err(Refusal::BodyIncomplete));
        assert_eq!(decoder.decode(&mut b"a".to_vec()), Err(Refusal::BodyIncomplete));
    }
    let mut decoder = BodyDecoder::new(BodyLength::UntilClose, 0);
    assert_eq!(decoder.end_of_input(), Ok(()));
    assert!(decoder.ended());
}

/// Refusals that need more than a row of bytes, each shown by a test of its own: limits above,
/// paths
/// and HTTP/2 in their own files.
const ELSEWHERE: &[Refusal] = &[
    Refusal::HeadTooLarge,
    Refusal::TargetTooLong,
    Refusal::TooManyFields,
    Refusal::ConnectionOptions,
    Refusal::ChunkExtensionsTooLarge,
    Refusal::TrailersTooLarge,
    // src/path.rs
    Refusal::PathRelative,
    Refusal::PathPercent,
    Refusal::PathNul,
    Refusal::PathClimbs,
    // tests/http2.rs
    Refusal::FieldConnectionSpecific,
    Refusal::LengthMismatch,
];

#[test]
fn every_row_of_the_table_has_a_test() {
    let shown: HashSet<Refusal> = [REQUESTS, RESPONSES, BODIES]
        .into_iter()
        .flatten()
        .map(|(_, refusal)| *refusal)
        .chain(ELSEWHERE.iter().copied())
        .collect();
    let missing: Vec<_> = Refusal::ALL.iter().filter(|refusal| !shown.contains(refusal)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn statuses_tell_the_client_what_was_wrong() {
    for (refusal, status) in [
        (Refusal::BareLineFeed, 400),
        (Refusal::MethodConnect, 405),
        (Refusal::LengthTooLarge, 413),
        (Refusal::TargetTooLong, 414),
        (Refusal::ExpectationFailed, 417),
        (Refusal::HeadTooLarge, 431),
        (Refusal::TooManyFields, 431),
        (Refusal::CodingUnsupported, 501),
        (Refusal::StatusLine, 502),
        (Refusal::VersionUnsupported, 505),
    ] {
        assert_eq!(refusal.status(), status);
    }
}

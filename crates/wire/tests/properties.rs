//! What holds for every message, judged by a second, simple reading.

mod common;

use common::{LIMITS, body_in_pieces, chunked, request, response};
use proptest::prelude::*;
use proptest::sample::select;
use wire::{
    BodyLength, KnownSet, Method, Refusal, RequestEdits, RequestHead, ResponseEdits, canonical,
    decoded, encode_path, percent_decode, write_request, write_response,
};

/// Field lines that matter to framing, good and bad, and some that do not.
const FRAMING_LINES: &[&str] = &[
    "Content-Length: 3",
    "content-length:0",
    "CONTENT-LENGTH: \t 12 \t",
    "Content-Length: 003",
    "Content-Length: +3",
    "Content-Length: 3, 3",
    "Content-Length:",
    "Content-Length: 0x3",
    "Content-Length: 99999999999999999999",
    "Content-Length: 9223372036854775808",
    "Transfer-Encoding: chunked",
    "transfer-encoding:Chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: ",
    "Content_Length: 7",
    "X-Content-Length: 7",
    "Content-Lengt: 7",
    "Transfer-Encoding-X: chunked",
    "X: Content-Length: 9",
    "Connection: content-length, transfer-encoding",
];

/// The second reading of framing: `None` where two readers could differ.
fn simple_framing(version: &str, lines: &[&str]) -> Option<BodyLength> {
    let values = |wanted: &str| -> Vec<String> {
        let pairs = lines.iter().filter_map(|line| line.split_once(':'));
        pairs
            .filter(|(name, _)| name.to_lowercase() == wanted)
            .map(|(_, value)| value.trim_matches([' ', '\t']).to_string())
            .collect()
    };
    match (&values("content-length")[..], &values("transfer-encoding")[..]) {
        ([], []) => Some(BodyLength::None),
        ([length], []) => {
            let is_plain = length.len() <= 20 && length.chars().all(|c| c.is_ascii_digit());
            let length = length.parse::<i64>().ok().filter(|_| is_plain)?;
            Some(BodyLength::Length(u64::try_from(length).ok()?))
        }
        ([], [coding]) if version == "1.1" && coding.to_lowercase() == "chunked" => {
            Some(BodyLength::Chunked)
        }
        _ => None,
    }
}

/// The second reading of chunked bodies: payload and length of the body, by whole strings.
fn simple_chunked(mut text: &str) -> Option<(String, usize)> {
    let whole = text.len();
    let mut payload = String::new();
    loop {
        let (line, rest) = text.split_once("\r\n")?;
        let size = line.split(';').next()?;
        let size = if line.contains(';') { size.trim_end_matches(' ') } else { size };
        if size.is_empty() || size.len() > 16 || !size.chars().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        if line.chars().any(|c| c.is_ascii_control()) {
            return None;
        }
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            text = rest;
            break;
        }
        payload += rest.get(..size)?;
        text = rest.get(size..)?.strip_prefix("\r\n")?;
    }
    loop {
        let (line, rest) = text.split_once("\r\n")?;
        text = rest;
        if line.is_empty() {
            return Some((payload, whole - text.len()));
        }
        let (name, value) = line.split_once(':')?;
        let is_name =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !is_name || value.chars().any(|c| c.is_ascii_control() && c != '\t') {
            return None;
        }
    }
}

fn lines() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(FRAMING_LINES), 0..4)
}

/// Chunked bodies, mostly sound, with a defect now and then.
fn chunked_text() -> impl Strategy<Value = String> {
    let piece = select(
        &[
            "3\r\nabc\r\n",
            "3\r\nabc\r\n",
            "1\r\n\n\r\n",
            "a;x=y\r\n0123456789\r\n",
            "0002 ;\r\nhi\r\n",
            "0\r\n",
            "X: y\r\n",
            "grpc-status:0\r\n",
            "\r\n",
            "3\r\nab\r\n",
            "3\nabc\r\n",
            "4\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "00000000000000003\r\nabc\r\n",
            "f\r\n",
            "X : y\r\n",
            " fold\r\n",
            "\r",
            "\n",
            ";\r\n",
        ][..],
    );
    (prop::collection::vec(piece, 0..5), any::<bool>())
        .prop_map(|(pieces, sound)| pieces.concat() + if sound { "0\r\n\r\n" } else { "" })
}

fn path_text() -> impl Strategy<Value = String> {
    let piece = select(
        &[
            "/", "/", "/", "a", ".", "..", "%2e", "%2E", "%2f", "%2F", "%41", "%7e", "%25",
            "%c3%a9", "%20", "%3F", "b.c", "~", ";x=1", "+", "%5c", "%00", "%", "%zz", "\\", " ",
            "é", "#", "?",
        ][..],
    );
    prop::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// Heads that are accepted more often than not.
fn head_text() -> impl Strategy<Value = String> {
    let start = select(
        &[
            "GET / HTTP/1.1",
            "POST /a?b=c HTTP/1.1",
            "GET http://a/x HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "PUT /a HTTP/1.0",
            "get //b/%41?{} HTTP/1.1",
            "OPTIONS http://a HTTP/1.1",
            "GET http://a?q HTTP/1.1",
        ][..],
    );
    let line = select(
        &[
            "A: b",
            "a:",
            "Connection: a, close",
            "Connection: upgrade",
            "Upgrade: websocket",
            "X_Real-IP: 1",
            "TE: trailers",
            "Cookie: a=b; c",
            "Expect: 100-continue",
            "Keep-Alive: 3",
            "Trailer: x",
            "Content-Length: 3",
            "Transfer-Encoding: chunked",
            "Proxy: x",
            "X_y: \u{ff}",
            "B:  c  ",
            "Content-Length: 3",
            "Proxy-Connection: x",
            "X-Forwarded-For: 1",
            "A: b",
            "c: d",
        ][..],
    );
    (start, any::<prop::sample::Index>(), prop::collection::vec(line, 0..8)).prop_map(
        |(start, at, mut lines)| {
            lines.insert(at.index(lines.len() + 1), "Host: a");
            format!("{start}\r\n{}\r\n\r\n", lines.join("\r\n"))
        },
    )
}

/// The fields of a head that go onward: name in lower case and value, in order.
fn onward(bytes: &[u8], head: &RequestHead) -> Vec<(String, Vec<u8>)> {
    let dropped = [
        "host",
        "connection",
        "keep-alive",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "proxy",
        "proxy-connection",
        "content-length",
        "transfer-encoding",
    ];
    head.fields
        .iter()
        .filter(|field| !field.nominated && !field.shadows)
        .map(|field| {
            let name = String::from_utf8_lossy(field.name.of(bytes)).to_lowercase();
            (name, field.value.of(bytes).to_vec())
        })
        .filter(|(name, _)| !dropped.contains(&name.as_str()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn request_framing_equals_the_simple_reading(version in select(&["1.0", "1.1"][..]), lines in lines()) {
        let fields: String = lines.iter().flat_map(|line| [*line, "\r\n"]).collect();
        let text = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let found = request(text.as_bytes()).ok().map(|head| head.body);
        prop_assert_eq!(found, simple_framing(version, &lines));
    }

    #[test]
    fn response_framing_equals_the_simple_reading(version in select(&["1.0", "1.1"][..]), lines in lines()) {
        let fields: String = lines.iter().flat_map(|line| [*line, "\r\n"]).collect();
        let text = format!("HTTP/{version} 200 X\r\n{fields}\r\n");
        let found = response(text.as_bytes(), Method::Get).ok().map(|head| head.body);
        let expected = simple_framing(version, &lines).map(|body| match body {
            BodyLength::None => BodyLength::UntilClose,
            body => body,
        });
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn chunked_bodies_equal_the_simple_reading(text in chunked_text(), cut in any::<prop::sample::Index>()) {
        let found = chunked(text.as_bytes());
        let expected = simple_chunked(&text);
        match (&found, &expected) {
            (Ok(body), Some((payload, consumed))) => {
                prop_assert_eq!(&body.payload, payload.as_bytes());
                prop_assert_eq!(body.consumed, *consumed);
            }
            (Err(_), None) => {}
            _ => prop_assert!(false, "{:?} but {:?}", found, expected),
        }
        let (first, second) = text.as_bytes().split_at(cut.index(text.len() + 1));
        let pieces = body_in_pieces(BodyLength::Chunked, [first, second]);
        prop_assert_eq!(pieces.and_then(|body| if body.ended { Ok(body) } else { Err(Refusal::BodyIncomplete) }), found);
    }

    #[test]
    fn what_is_forwarded_reads_back_as_the_same_message(text in head_text()) {
        let Ok(head) = request(text.as_bytes()) else { return Ok(()) };
        let edits = RequestEdits {
            path_and_query: None,
            host: None,
            drop: KnownSet::EMPTY,
            drop_underscore: false,
            add: b"",
            body: head.body,
            upgrade: head.upgrade.is_some(),
            expect_continue: head.expect_continue,
        };
        let mut out = Vec::new();
        write_request(&mut out, text.as_bytes(), &head, &edits);
        let again = request(&out).map_err(|refusal| TestCaseError::fail(format!("{refusal}: {text:?}")))?;
        prop_assert_eq!(again.bytes, out.len());
        prop_assert_eq!(again.method, head.method);
        prop_assert_eq!(again.target, head.target);
        prop_assert_eq!(again.query.of(&out), head.query.of(text.as_bytes()));
        let path = match head.path.of(text.as_bytes()) {
            b"" if head.target == wire::Target::Asterisk => b"*",
            b"" => b"/".as_slice(),
            path => path,
        };
        prop_assert_eq!(again.path.of(&out), path);
        prop_assert_eq!(again.body, head.body);
        prop_assert_eq!(again.expect_continue, head.expect_continue);
        prop_assert_eq!(again.upgrade.map(|span| span.of(&out)), head.upgrade.map(|span| span.of(text.as_bytes())));
        prop_assert_eq!(again.authority.map(|span| span.of(&out)), head.authority.map(|span| span.of(text.as_bytes())));
        prop_assert_eq!(onward(&out, &again), onward(text.as_bytes(), &head));
        // Written once, it is as it will be written ever after, but for what `Connection` said.
        let mut twice = Vec::new();
        write_request(&mut twice, &out, &again, &edits);
        prop_assert_eq!(twice, out);
    }

    #[test]
    fn responses_that_need_no_rewrite_are_equal_when_rewritten(
        lines in prop::collection::vec(select(&["A: b", "Content-Length: 3", "Set-Cookie: x", "Connection: a", "Server:x"][..]), 0..5)
    ) {
        let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", lines.iter().flat_map(|line| [*line, "\r\n"]).collect::<String>());
        let Ok(head) = response(text.as_bytes(), Method::Get) else { return Ok(()) };
        let edits = ResponseEdits {
            drop: KnownSet::EMPTY, add: b"", body: head.body, version: wire::Version::Http11,
            keep_alive: head.keep_alive, upgrade: false,
        };
        let mut out = Vec::new();
        write_response(&mut out, text.as_bytes(), &head, &edits);
        let again = response(&out, Method::Get).unwrap();
        prop_assert_eq!((again.status, again.body, again.keep_alive), (head.status, head.body, head.keep_alive));
        if !head.needs_rewrite {
            let sorted = |bytes: &[u8]| { let mut lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(String::from).collect(); lines.sort(); lines };
            prop_assert_eq!(sorted(&out), sorted(text.as_bytes()));
        }
    }

    #[test]
    fn httparse_reads_the_same_where_we_accept(text in head_text(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut head = RequestHead::default();
        let Ok(wire::Parse::Complete(length)) = head.parse(&bytes, &LIMITS) else { return Ok(()) };
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut theirs = httparse::Request::new(&mut headers);
        prop_assert_eq!(theirs.parse(&bytes), Ok(httparse::Status::Complete(length)));
        prop_assert_eq!(theirs.method.unwrap().as_bytes(), head.method_text.of(&bytes));
        let target = theirs.path.unwrap().as_bytes();
        prop_assert!(target.ends_with(head.path_and_query.of(&bytes)));
        prop_assert_eq!(theirs.headers.len(), head.fields.len());
        for (theirs, ours) in theirs.headers.iter().zip(&head.fields) {
            prop_assert_eq!(theirs.name.as_bytes(), ours.name.of(&bytes));
            prop_assert_eq!(theirs.value.trim_ascii(), ours.value.of(&bytes).trim_ascii());
        }
    }

    #[test]
    fn canonical_is_idempotent_and_never_climbs(path in path_text()) {
        let Ok(once) = canonical(path.as_bytes()) else { return Ok(()) };
        let twice = canonical(once.as_bytes());
        prop_assert_eq!(twice.as_deref(), Ok(&*once));
        prop_assert!(once.starts_with('/') && once.is_ascii());
        prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."), "{}", once);
        // Nothing but dot segments and the writing of octets changes.
        if !path.to_lowercase().replace("%2e", ".").split('/').any(|segment| segment == "." || segment == "..") {
            prop_assert_eq!(percent_decode(once.as_bytes()), percent_decode(path.as_bytes()));
        }
    }

    #[test]
    fn the_decoded_form_follows_from_the_canonical(path in path_text()) {
        let (canonical, decoded) = (canonical(path.as_bytes()), decoded(path.as_bytes()));
        let Ok(decoded) = decoded else { return Ok(()) };
        prop_assert!(canonical.is_ok(), "{}", path);
        prop_assert!(decoded.starts_with(b"/"));
        prop_assert!(!decoded.windows(2).any(|pair| pair == b"//"));
        prop_assert!(decoded.split(|byte| *byte == b'/').all(|segment| segment != b"." && segment != b".."));
        // Sent on encoded, it is a sound path that decodes to itself.
        let mut encoded = Vec::new();
        encode_path(&decoded, &mut encoded);
        let again = wire::decoded(&encoded);
        prop_assert_eq!(again.as_deref(), Ok(&*decoded));
    }

    #[test]
    fn random_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = RequestHead::default().parse(&bytes, &LIMITS);
        let _ = wire::ResponseHead::default().parse(&bytes, Method::Get, &LIMITS);
        let _ = chunked(&bytes);
        let _ = canonical(&bytes);
        let _ = decoded(&bytes);
        let _ = wire::Authority::parse(&bytes);
        let _ = wire::peek_client_hello(&bytes);
        let _ = wire::peek_client_hello(&[b"\x16\x03\x01\x00\xc8\x01\x00\x00\xa0\x03\x03".as_slice(), &bytes].concat());
    }
}

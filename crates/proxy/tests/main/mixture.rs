//! Messages of every kind and size one after the other, cut up at random: nothing is lost, sent
//! twice or given to somebody else.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;

use model::UpstreamProtocol;

use crate::client::{Client, connect};
use crate::endpoint::Endpoint;
use crate::tls;
use crate::world::{Plan, wait_until};

/// A body that differs from every other of another size.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n.wrapping_mul(31) ^ (n >> 8) ^ size) as u8).collect()
}

fn chunked(body: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in body.chunks(piece.max(1)) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Answers `/kind/size/piece` so, and says how long the request's body was.
fn endpoint() -> Endpoint {
    Endpoint::new(|conversation| {
        while let Some((head, body)) = conversation.request() {
            let length = body.len();
            let whole = body == pattern(length);
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut words = path[1..].split('/');
            let kind = words.next().unwrap_or_default();
            let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            let (size, piece): (usize, usize) = (number(), number());
            let body = pattern(size);
            let mut answer = format!("HTTP/1.1 200 OK\r\nX-Got: {length} {whole}\r\n").into_bytes();
            match kind {
                "chunked" => {
                    answer.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    answer.extend(chunked(&body, piece));
                }
                "close" => {
                    answer.extend_from_slice(b"Connection: close\r\n\r\n");
                    answer.extend(body);
                }
                _ => {
                    answer.extend_from_slice(format!("Content-Length: {size}\r\n\r\n").as_bytes());
                    answer.extend(body);
                }
            }
            // In pieces, so that the proxy reads them apart.
            for part in answer.chunks(piece.max(200)) {
                if !conversation.say(part) {
                    return;
                }
            }
            if kind == "close" {
                return;
            }
        }
    })
}

fn size(rng: &mut fastrand::Rng) -> usize {
    match rng.u32(..6) {
        0 => 0,
        1 => rng.usize(1..10),
        2 => rng.usize(1..5_000),
        3 => rng.usize(16_000..17_000),
        4 => rng.usize(60_000..70_000),
        _ => rng.usize(100_000..400_000),
    }
}

/// One request as bytes, the length of its body, and the size of the answer's.
fn request(rng: &mut fastrand::Rng) -> (Vec<u8>, usize, usize) {
    let (sent, wanted) = (size(rng), size(rng));
    let kind = ["length", "chunked", "close"][rng.usize(..3)];
    let mut head = format!("POST /{kind}/{wanted}/{} HTTP/1.1\r\n", rng.usize(1..70_000));
    head.push_str("Host: a.test\r\n");
    let body = pattern(sent);
    let bytes = if rng.bool() {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        [head.into_bytes(), chunked(&body, rng.usize(1..70_000))].concat()
    } else {
        let _ = write!(head, "Content-Length: {sent}\r\n\r\n");
        [head.into_bytes(), body].concat()
    };
    (bytes, sent, wanted)
}

fn check<S: Read + Write>(client: &mut Client<S>, sent: usize, wanted: usize, seed: u64) {
    let response = client.response("POST").unwrap_or_else(|error| panic!("{error}, seed {seed}"));
    assert!(response.has(&format!("x-got: {sent} true")), "seed {seed}: {}", response.head);
    assert!(response.body == pattern(wanted), "seed {seed}: {wanted} {}", response.body.len());
}

#[test]
fn pipelined_messages_of_all_kinds_arrive_whole_and_in_order() {
    let endpoint = endpoint();
    let world = Plan::to(endpoint.address).start();
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let requests: Vec<_> = (0..12).map(|_| request(&mut rng)).collect();
        let mut client = connect(world.http);
        let mut writer: TcpStream = client.stream.try_clone().unwrap();
        let bytes: Vec<u8> = requests.iter().flat_map(|(bytes, _, _)| bytes.clone()).collect();
        let sender = std::thread::spawn(move || {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let piece = rng.usize(1..100_000).min(rest.len());
                writer.write_all(&rest[..piece]).unwrap();
                rest = &rest[piece..];
            }
        });
        for (_, sent, wanted) in requests {
            check(&mut client, sent, wanted, seed);
        }
        sender.join().unwrap();
    }
}

#[test]
fn messages_of_all_kinds_arrive_whole_over_tls() {
    let endpoint = endpoint();
    let world = Plan::to(endpoint.address).start();
    for seed in 10..14 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut client = tls::connect_tls(world.https);
        for _ in 0..12 {
            let (bytes, sent, wanted) = request(&mut rng);
            client.send(bytes);
            check(&mut client, sent, wanted, seed);
        }
    }
}

#[test]
fn messages_of_all_kinds_arrive_whole_through_two_gateways_that_speak_http_2_between_them() {
    let endpoint = endpoint();
    let inner = Plan::to(endpoint.address).start();
    let outer = Plan::to(inner.http).protocol(UpstreamProtocol::H2c).start();
    for seed in 20..24 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut client = connect(outer.http);
        for _ in 0..12 {
            let (bytes, sent, wanted) = request(&mut rng);
            client.send(bytes);
            check(&mut client, sent, wanted, seed);
        }
    }
    for world in [inner, outer] {
        let held = || world.metric("portcullis_http2_held_bytes");
        wait_until("nothing to be held", || held() == 0);
    }
}

#[test]
fn a_tunnel_carries_much_both_ways_at_once() {
    const LENGTH: usize = 3_000_000;
    let endpoint = Endpoint::new(|conversation| {
        conversation.head();
        conversation.say(b"HTTP/1.1 101 Y\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        let mut writer = conversation.stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || writer.write_all(&pattern(LENGTH)).unwrap());
        assert!(conversation.take(LENGTH).is_some_and(|bytes| bytes == pattern(LENGTH)));
        sender.join().unwrap();
        conversation.say(b"heard");
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.response("GET").unwrap().status, 101);
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(&pattern(LENGTH)).unwrap());
    assert!(client.take(LENGTH).unwrap() == pattern(LENGTH));
    assert_eq!(client.take(5).unwrap(), b"heard");
    sender.join().unwrap();
}

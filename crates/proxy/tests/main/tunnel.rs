//! Upgrades: bytes both ways after a 101, and only then.

use std::time::Duration;

use crate::client::connect;
use crate::endpoint::Endpoint;
use crate::world::Plan;

const ASK: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
const YES: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

#[test]
fn bytes_sent_with_the_handshake_on_either_side_are_not_lost() {
    let endpoint = Endpoint::new(|conversation| {
        let head = conversation.head().unwrap().to_ascii_lowercase();
        assert!(head.contains("\r\nupgrade: echo\r\n"), "{head}");
        let mut answer = YES.to_vec();
        answer.extend_from_slice(b"hello");
        conversation.say(&answer);
        let early = conversation.take(5).unwrap();
        conversation.say(&early);
        conversation.wait_for_end();
        conversation.say(b"bye");
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send(format!("{ASK}early"));
    assert_eq!(client.response("GET").unwrap().status, 101);
    assert_eq!(client.take(10).unwrap(), b"helloearly");
    // The client ends first; the endpoint still has something to say.
    client.half_close();
    assert_eq!(client.rest().unwrap(), b"bye");
}

#[test]
fn an_endpoint_that_ends_first_is_followed_and_can_still_be_told() {
    let (told, heard) = std::sync::mpsc::channel();
    let endpoint = Endpoint::new(move |conversation| {
        conversation.head();
        conversation.say(YES);
        conversation.stream.shutdown(std::net::Shutdown::Write).unwrap();
        told.send(conversation.take(4)).unwrap();
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send(ASK);
    assert_eq!(client.response("GET").unwrap().status, 101);
    assert!(client.is_ended());
    client.send("last");
    let last = heard.recv_timeout(Duration::from_secs(5)).unwrap();
    assert_eq!(last.as_deref(), Some(&b"last"[..]));
}

#[test]
fn a_tunnel_lives_while_one_direction_does_and_ends_when_both_are_silent() {
    let endpoint = Endpoint::new(|conversation| {
        conversation.head();
        conversation.say(YES);
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(200));
            conversation.say(b"x");
        }
        conversation.wait_for_end();
    });
    let world = Plan::to(endpoint.address)
        .limits(|limits| limits.tunnel_idle_timeout = Duration::from_millis(600))
        .start();
    let mut client = connect(world.http);
    client.send(ASK);
    assert_eq!(client.response("GET").unwrap().status, 101);
    assert_eq!(client.take(6).unwrap(), b"xxxxxx");
    let end = client.rest();
    let silent = matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!silent, "a silent tunnel ends");
}

#[test]
fn an_endpoint_that_declines_is_an_ordinary_answer() {
    let endpoint = Endpoint::saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno");
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    for _ in 0..2 {
        client.send(ASK);
        let response = client.response("GET").unwrap();
        assert_eq!((response.status, &*response.body), (400, &b"no"[..]));
    }
}

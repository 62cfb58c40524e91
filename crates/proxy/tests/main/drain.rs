//! Leaving, and changes of configuration: nothing in flight is touched.

use std::sync::mpsc;
use std::time::Duration;

use crate::client::connect;
use crate::endpoint::Endpoint;
use crate::world::{PATIENCE, Plan, wait_until};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn draining_ends_idle_connections_at_once_and_busy_ones_politely() {
    let (asked, was_asked) = mpsc::channel();
    let endpoint = Endpoint::new(move |conversation| {
        while let Some((head, _)) = conversation.request() {
            if head.starts_with("GET /slow") {
                asked.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(500));
            }
            conversation.say(OK);
        }
    });
    let world = Plan::to(endpoint.address).start();
    let mut idle = connect(world.http);
    idle.get("/");
    let mut busy = connect(world.http);
    busy.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
    was_asked.recv_timeout(PATIENCE).unwrap();
    world.proxy.drain();
    assert!(idle.is_ended());
    let response = busy.response("GET").unwrap();
    assert_eq!(response.status, 200);
    assert!(response.has("connection: close"), "{}", response.head);
    assert!(busy.is_ended());
    assert_eq!(world.proxy.wait_drained(PATIENCE), 0);
}

#[test]
fn long_responses_and_tunnels_live_through_changes_and_hold_no_snapshot() {
    let (more, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let endpoint = Endpoint::new(move |conversation| {
        let (head, _) = conversation.request().unwrap();
        if head.contains("/tunnel") {
            conversation.say(b"HTTP/1.1 101 Y\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
            while let Some(byte) = conversation.take(1) {
                conversation.say(&byte);
            }
            return;
        }
        conversation.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        conversation.say(b"1\r\nb\r\n0\r\n\r\n");
    });
    let world = Plan::to(endpoint.address).start();
    let mut long = connect(world.http);
    long.send("GET /long HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert!(long.head().unwrap().starts_with("HTTP/1.1 200"));
    let mut tunnel = connect(world.http);
    tunnel.send(
        "GET /tunnel HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
    );
    assert_eq!(tunnel.response("GET").unwrap().status, 101);
    // Not even the endpoint is left in the new configuration.
    let other = Endpoint::saying(OK);
    for _ in 0..20 {
        world.publish_again(&[other.address]);
    }
    assert_eq!(connect(world.http).get("/").status, 200);
    wait_until("old snapshots to be let go", || world.proxy.retire() == 0);
    tunnel.send("z");
    assert_eq!(tunnel.take(1).unwrap(), b"z");
    more.send(()).unwrap();
    let rest = long.take(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n".len()).unwrap();
    assert_eq!(rest, b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
}

#[test]
fn endpoints_that_leave_finish_what_they_were_asked() {
    let (asked, was_asked) = mpsc::channel();
    let endpoint = Endpoint::new(move |conversation| {
        conversation.request();
        asked.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        conversation.say(OK);
        conversation.wait_for_end();
        asked.send(()).unwrap();
    });
    let world = Plan::to(endpoint.address).start();
    let mut client = connect(world.http);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    was_asked.recv_timeout(PATIENCE).unwrap();
    world.move_to(&[]);
    assert_eq!(client.response("GET").unwrap().status, 200);
    was_asked.recv_timeout(PATIENCE).expect("its connection is not kept");
    assert_eq!(client.get("/").status, 503);
}

#[test]
fn nothing_is_left_of_exchanges_that_ended_in_any_way() {
    let endpoint = Endpoint::new(|conversation| {
        while let Some((head, _)) = conversation.request() {
            match head.split(' ').nth(1) {
                Some("/cut") => {
                    conversation.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
                    return;
                }
                Some("/wait") => return conversation.wait_for_end(),
                Some("/tunnel") => {
                    conversation
                        .say(b"HTTP/1.1 101 Y\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                    return conversation.wait_for_end();
                }
                _ => drop(conversation.say(OK)),
            }
        }
    });
    let world = Plan::to(endpoint.address).start();
    let upgrade = "Connection: upgrade\r\nUpgrade: echo\r\n";
    for _ in 0..10 {
        for (path, fields) in [("/", ""), ("/cut", ""), ("/wait", ""), ("/tunnel", upgrade)] {
            let mut client = connect(world.http);
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
            if path == "/wait" {
                std::thread::sleep(Duration::from_millis(20));
                client.reset();
            } else {
                let _ = client.response("GET");
            }
        }
    }
    wait_until("connections to end", || world.proxy.connections() == 0);
    let open = |world: &crate::world::World| {
        let page = world.metrics();
        let gauges = ["portcullis_requests_in_flight", "portcullis_upgrades_open"];
        page.lines()
            .filter(|line| gauges.iter().any(|gauge| line.starts_with(gauge)))
            .filter(|line| !line.ends_with(" 0"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(world.metrics().contains("portcullis_requests_in_flight"));
    wait_until("gauges to fall", || open(&world).is_empty());
}

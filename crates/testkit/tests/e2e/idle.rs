//! Idle connections to endpoints end before their endpoint ends them, so that no request meets the
//! end: not even one that could not be sent again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use testkit::client::raw::RawClient;
use testkit::{Conversation, Endpoint, Gateway, wait_until};

use crate::in_front_with;

const POST: &str = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 2\r\n\r\nhi";

/// Answers each request with `head`, and ends a connection that was idle for so long. Counts the
/// connections that it ended itself.
fn closing_after(idle: Duration, head: &'static str) -> (Endpoint, Arc<AtomicUsize>) {
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&closed);
    let endpoint = Endpoint::start(move |conversation| {
        let ended = serve(conversation, idle, head)?;
        counter.fetch_add(usize::from(ended), Ordering::SeqCst);
        Ok(())
    });
    (endpoint, closed)
}

fn serve(conversation: &mut Conversation, idle: Duration, head: &str) -> io::Result<bool> {
    loop {
        conversation.patience(idle);
        match conversation.read_request() {
            Ok(_) => conversation.write(format!("{head}Content-Length: 2\r\n\r\nok"))?,
            Err(error) if testkit::client::raw::is_timeout(&error) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

fn post(client: &mut RawClient) {
    let response = client.exchange(POST);
    assert_eq!((response.status(), response.text().as_str()), (200, "ok"), "{}", response.head);
    // What the endpoint says about its connection is not for the client.
    assert_eq!(response.field("keep-alive"), None, "{}", response.head);
}

fn gateway(endpoint: &Endpoint) -> Gateway {
    in_front_with(endpoint, "--workers 1 --retry-reused=false")
}

#[test]
fn an_endpoint_that_tells_its_idle_time_never_ends_a_connection_that_is_used() {
    let head = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\n";
    let (endpoint, closed) = closing_after(Duration::from_secs(1), head);
    let gateway = gateway(&endpoint);
    let mut client = gateway.connect();
    post(&mut client);
    // Just as the endpoint would end it.
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(1));
        post(&mut client);
    }
    assert_eq!(endpoint.connections(), 5, "one for each request");
    assert_eq!(closed.load(Ordering::SeqCst), 0, "the gateway was first each time");
    // Without a pause they share one.
    for _ in 0..5 {
        post(&mut client);
    }
    assert_eq!(endpoint.connections(), 5);
}

#[test]
fn an_endpoint_that_does_not_tell_is_found_out() {
    // Several gateways at once, since each looks at its idle connections at its own moments.
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(find_out);
        }
    });
}

fn find_out() {
    let (endpoint, closed) = closing_after(Duration::from_secs(1), "HTTP/1.1 200 OK\r\n");
    let gateway = gateway(&endpoint);
    let mut client = gateway.connect();
    // Twice it ends an idle connection: that is its habit.
    for round in 1..=2 {
        post(&mut client);
        wait_until("the endpoint ends it", || closed.load(Ordering::SeqCst) == round);
        let idle = || gateway.metric("portcullis_upstream_connections_idle", &[]);
        wait_until("the gateway has seen it", || idle() < 1.0);
    }
    // From now on none is used that the endpoint is about to end.
    for requests in 3..=5 {
        post(&mut client);
        assert_eq!(endpoint.connections(), requests, "one for each request");
        std::thread::sleep(Duration::from_millis(950));
    }
}

#[test]
fn a_told_idle_time_of_zero_or_without_sense_keeps_nothing_and_loses_nothing() {
    for head in [
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\n",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=soon, max\r\n",
        "HTTP/1.1 200 OK\r\nKeep-Alive: max=5, timeout=99999999999999999999\r\n",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=\r\nKeep-Alive: timeout=1\r\n",
    ] {
        let (endpoint, _) = closing_after(Duration::from_secs(20), head);
        let gateway = gateway(&endpoint);
        let mut client = gateway.connect();
        for _ in 0..5 {
            post(&mut client);
        }
    }
}

//! SIGTERM: readiness fails, what is in flight ends, nothing new begins, the process ends well.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::client::websocket::{self, WebSocket};
use testkit::{Endpoint, Gateway, block_on, gateway, manifests, wait_until};

use crate::{GET, OK, in_front_with};

/// Answers after the endpoint is told to.
fn slow() -> Endpoint {
    Endpoint::start(|conversation| {
        loop {
            conversation.read_request()?;
            std::thread::sleep(Duration::from_millis(700));
            conversation.write(OK)?;
        }
    })
}

#[test]
fn an_exchange_in_flight_ends_and_its_connection_closes() {
    let endpoint = slow();
    // A connection that was accepted is owed one request, for as long as a head may take.
    let flags = "--drain-timeout 10s --request-head-timeout 1s";
    let gateway = in_front_with(&endpoint, flags);
    let mut busy = gateway.connect();
    busy.send(GET);
    let mut idle = gateway.connect();
    wait_until("the endpoint is asked", || endpoint.connections() == 1);
    gateway.terminate();
    let response = busy.read_response("GET");
    assert_eq!(response.text(), "ok");
    assert!(response.field("connection").is_some_and(|c| c.eq_ignore_ascii_case("close")));
    assert!(busy.is_closed());
    assert!(idle.is_closed());
    let status = gateway.wait();
    assert!(status.success(), "{status}");
}

#[test]
fn during_the_delay_everything_is_accepted_and_readiness_fails() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--drain-delay 2s --health-path /health");
    assert_eq!(gateway.get("any", "/health").status(), 200);
    gateway.terminate();
    wait_until("readiness fails", || !gateway.is_ready());
    assert_eq!(gateway.get("any", "/health").status(), 503);
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
    assert_eq!(gateway.ask("/healthz").status(), 200);
    assert!(gateway.wait().success());
}

#[test]
fn what_does_not_end_is_cut_at_the_timeout() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_with(&endpoint, "--drain-timeout 1s");
    let mut client = gateway.connect();
    client.send(GET);
    wait_until("the endpoint is asked", || endpoint.connections() == 1);
    gateway.terminate();
    // Nothing was sent yet, so there is room for an answer that says so.
    if let Ok(response) = client.try_read_response("GET") {
        assert_eq!(response.status(), 503, "{}", response.head);
    }
    gateway.wait();
}

#[test]
fn a_second_signal_ends_at_once() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_with(&endpoint, "--drain-timeout 10m");
    let mut client = gateway.connect();
    client.send(GET);
    wait_until("the endpoint is asked", || endpoint.connections() == 1);
    gateway.terminate();
    wait_until("it drains", || TcpStream::connect(gateway.http()).is_err());
    gateway.terminate();
    gateway.wait();
}

#[test]
fn a_websocket_lives_until_the_timeout() {
    let gateway = testkit::GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[websocket::echo_endpoint()]),
                manifests::ingress("app", "app.test", "app"),
            ]),
        )
        .flags("--drain-timeout 2s")
        .start();
    block_on(async {
        let mut socket = WebSocket::connect(gateway.http(), "ws://app.test/").await.unwrap();
        assert_eq!(socket.say("one").await.unwrap(), "one");
        gateway.terminate();
        wait_until("it drains", || TcpStream::connect(gateway.http()).is_err());
        assert_eq!(socket.say("two").await.unwrap(), "two");
        assert_eq!(socket.hear_close().await, Some(1001));
    });
    let _: std::process::ExitStatus = Gateway::wait(gateway);
}

#[test]
fn an_interrupt_from_the_keyboard_drains_too() {
    let endpoint = slow();
    let gateway = in_front_with(&endpoint, "--drain-timeout 10s");
    let mut busy = gateway.connect();
    busy.send(GET);
    wait_until("the endpoint is asked", || endpoint.connections() == 1);
    gateway.interrupt();
    assert_eq!(busy.read_response("GET").text(), "ok");
    assert!(gateway.wait().success());
}

#[test]
fn one_that_still_waits_for_its_manifests_ends_when_it_is_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let admin = gateway::free_address();
        let mut child = Command::new(gateway::program())
            .args(["run", "--manifests", "-", "--http", &gateway::free_address().to_string()])
            .args(["--https", "off", "--admin", &admin.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("it has begun", || TcpStream::connect(admin).is_ok());
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut status = None;
        let started = Instant::now();
        while status.is_none() && started.elapsed() < testkit::PATIENCE {
            status = child.try_wait().unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        child.wait().unwrap();
        assert!(status.is_some_and(|status| status.success()), "{signal:?}: {status:?}");
    }
}

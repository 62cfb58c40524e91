//! Access logs as files and as text: nothing is lost when they are rotated, and nobody who sends
//! requests writes lines of their own.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testkit::client::http2::Http2;
use testkit::client::raw::RawClient;
use testkit::gateway::{free_address, program};
use testkit::{Authority, Endpoint, Gateway, manifests, wait_until};

use crate::{OK, in_front_with};

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(ToOwned::to_owned).collect()
}

/// Sends SIGUSR1: open the log anew.
fn reopen(gateway: &Gateway) {
    let pid = Pid::from_raw(i32::try_from(gateway.id()).unwrap()).unwrap();
    kill_process(pid, Signal::USR1).unwrap();
}

#[test]
fn a_log_is_rotated_without_a_record_lost() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let endpoint = Endpoint::answering(OK);
    let flags = format!("--access-log json --access-log-file {}", log.display());
    let gateway = in_front_with(&endpoint, &flags);
    let mut client = gateway.connect();
    let mut sent = 0;
    let mut files = vec![log.clone()];
    for rotation in 0..4 {
        for _ in 0..50 {
            let request = format!("GET /{sent} HTTP/1.1\r\nHost: app.test\r\n\r\n");
            assert_eq!(client.exchange(request).status(), 200);
            sent += 1;
        }
        let old = directory.path().join(format!("access.log.{rotation}"));
        wait_until("there is a log", || log.exists());
        fs::rename(&log, &old).unwrap();
        files.push(old);
        reopen(&gateway);
        wait_until("the log is opened anew", || log.exists());
    }
    let paths = || {
        let mut paths: Vec<String> = files
            .iter()
            .flat_map(|file| lines(file))
            .map(|line| {
                let record: serde_json::Value = serde_json::from_str(&line).unwrap();
                record["path"].as_str().unwrap().to_owned()
            })
            .collect();
        paths.sort();
        paths
    };
    let mut expected: Vec<String> = (0..sent).map(|n| format!("/{n}")).collect();
    expected.sort();
    wait_until("every record is written", || paths().len() >= expected.len());
    assert_eq!(paths(), expected);
}

#[test]
fn what_a_client_sends_stays_on_its_line_whatever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::answering(OK);
    for form in ["text", "json"] {
        let log = directory.path().join(form);
        let flags = format!("--access-log {form} --access-log-file {}", log.display());
        let gateway = in_front_with(&endpoint, &flags);
        let hostile: [&[u8]; 5] = [
            b"GET /a%0Ab?c=%0d%0a HTTP/1.1\r\nHost: app.test\r\n\r\n",
            b"GET /b HTTP/1.1\r\nHost: app.test\r\nUser-Agent: \xff\xfe \x80\" \\ \"status\":1\r\n\r\n",
            b"GET /c HTTP/1.1\r\nHost: app.test\r\nReferer: \xc2\x85\xe2\x80\xa8\xe2\x80\xae\xc2\x9b31m\r\n\r\n",
            b"GET /d HTTP/1.1\r\nHost: app.test\r\nUser-Agent: a\tb\r\n\r\n",
            b"GET /\x1b[31m HTTP/1.1\r\nHost: app.test\r\n\r\n",
        ];
        for bytes in hostile {
            gateway.connect().exchange(bytes);
        }
        wait_until("every record is written", || lines(&log).len() >= hostile.len());
        let bytes = fs::read(&log).unwrap();
        let text = String::from_utf8(bytes).expect("the log is UTF-8");
        assert_eq!(text.lines().count(), hostile.len(), "{text}");
        let is_odd = |c: char| {
            c != '\n' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202e}'))
        };
        assert!(!text.contains(is_odd), "{text:?}");
        if form == "json" {
            for line in text.lines() {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(record["status"].as_u64().unwrap() >= 200, "{line}");
            }
        }
    }
}

#[test]
fn the_process_log_is_json_where_it_is_wanted() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--log-format json --log-level debug");
    assert_eq!(gateway.get("none.test", "/\u{7f}").status(), 400);
    assert_eq!(gateway.get("none.test", "/").status(), 404);
    gateway.wait_for_log("no route (404)");
    for line in gateway.log().lines() {
        let record: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(record.is_object(), "{line}");
    }
}

#[test]
fn the_log_names_the_request_as_its_endpoint_saw_it() {
    let echo = testkit::Echo::start("app");
    let gateway = testkit::GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[echo.address()]),
                manifests::ingress("app", "app.test", "app"),
            ]),
        )
        .flags("--access-log json --workers 1")
        .start();
    for own in ["", "X-Request-ID: mine-1\r\n", "X-Request-ID: not \tplain\r\n"] {
        let request = format!("GET / HTTP/1.1\r\nHost: app.test\r\n{own}\r\n");
        let answer = gateway.connect().exchange(request).json();
        let headers = answer["headers"].as_array().unwrap();
        let ids: Vec<&str> = headers
            .iter()
            .filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case("x-request-id"))
            .map(|field| field[1].as_str().unwrap())
            .collect();
        let [id] = ids[..] else { panic!("one identity: {answer}") };
        assert!(!id.contains(' '), "{id}");
        gateway.wait_for_log(&format!("\"{id}\""));
    }
    let log = gateway.log();
    let record = log.lines().find(|line| line.contains("mine-1")).unwrap();
    let record: serde_json::Value = serde_json::from_str(record).unwrap();
    assert_eq!(record["request_id"], "mine-1", "{record}");
    assert_eq!(record["upstream"], echo.address().to_string(), "{record}");
    assert_eq!(record["upstream_status"], 200, "{record}");
    assert_eq!(record["generation"], gateway.generation(), "{record}");
}

#[test]
fn a_log_that_nobody_takes_holds_up_no_request_and_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    // Somebody has it open, and reads nothing.
    let _reader = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let endpoint = Endpoint::answering(OK);
    let flags = format!("--access-log json --access-log-file {}", fifo.display());
    let gateway = in_front_with(&endpoint, &flags);
    let mut clients: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
    let batch = crate::GET.repeat(50);
    wait_until("records are dropped", || {
        for client in &mut clients {
            client.send(&batch);
        }
        for client in &mut clients {
            for _ in 0..50 {
                let response = client.read_response("GET");
                assert_eq!(response.text(), "ok");
            }
        }
        gateway.metric("portcullis_access_log_dropped_total", &[]) > 0.0
    });
    drop(clients);
    gateway.terminate();
    assert!(gateway.wait().success());
}

#[test]
fn a_full_disk_costs_records_and_nothing_else() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "--access-log json --access-log-file /dev/full");
    for _ in 0..20 {
        assert_eq!(gateway.get("app.test", "/").text(), "ok");
    }
    gateway.wait_for_log("No space left");
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
    gateway.terminate();
    assert!(gateway.wait().success());
}

#[test]
fn every_way_in_which_an_exchange_ends_has_its_record() {
    let authority = Authority::new();
    let endpoint = Endpoint::start(|conversation| {
        let request = conversation.read_request()?;
        match request.target() {
            "/stall" => conversation.stall(),
            "/cut" => conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?,
            "/upgrade" => {
                conversation.write(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                     Upgrade: raw\r\n\r\nhello",
                )?;
                conversation.read_to_end()?;
            }
            _ => conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?,
        }
        Ok(())
    });
    let ingress = manifests::ingress_with("app", "app.test", "app", &[("ssl-redirect", "false")]);
    let gateway = testkit::GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[endpoint.address()]),
                ingress + &manifests::tls("app.test", "app"),
                authority.leaf(&["app.test"]).secret("default", "app"),
            ]),
        )
        .flags("--access-log json --workers 1")
        .start();
    let record = |path: &str| -> serde_json::Value {
        let find = || {
            let log = gateway.log();
            let records = log.lines().filter_map(|line| serde_json::from_str(line).ok());
            records.into_iter().find(|record: &serde_json::Value| record["path"] == path)
        };
        wait_until(&format!("{path} is logged"), || find().is_some());
        find().unwrap()
    };
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n");

    let mut leaving = gateway.connect();
    leaving.send(request("/stall"));
    wait_until("the endpoint is asked", || endpoint.open() == 1);
    leaving.reset();
    let gone = record("/stall");
    assert_eq!((&gone["status"], &gone["reason"]), (&499.into(), &"client-reset".into()), "{gone}");
    assert!(gone.get("upstream").is_some() && gone.get("upstream_status").is_none(), "{gone}");

    let mut cut = gateway.connect();
    cut.send(request("/cut"));
    assert!(cut.try_read_response("GET").is_err());
    let cut = record("/cut");
    assert_eq!(cut["status"], 200, "{cut}");
    assert!(cut["reason"].as_str().unwrap().starts_with("upstream-"), "{cut}");

    let mut tunnel = gateway.connect();
    tunnel.send(
        "GET /upgrade HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n",
    );
    assert_eq!(tunnel.read_response("GET").status(), 101);
    tunnel.send("from the client");
    assert_eq!(tunnel.read_bytes(5), b"hello");
    drop(tunnel);
    let tunnel = record("/upgrade");
    assert_eq!(tunnel["status"], 101, "{tunnel}");
    assert!(tunnel["bytes_in"].as_u64().unwrap() > 15, "{tunnel}");

    let config = testkit::tls::client(authority.roots(), &["h2"]);
    testkit::block_on(async {
        let client = Http2::connect_tls(gateway.https(), "app.test", &config).await;
        assert_eq!(client.get("https://app.test/h2").await.unwrap().status, 200);
    });
    let h2 = record("/h2");
    assert_eq!(h2["protocol"], "HTTP/2", "{h2}");
    assert_eq!(h2["scheme"], "https", "{h2}");
    assert_eq!(h2["sni"], "app.test", "{h2}");
    assert_eq!(h2["tls"], "1.3", "{h2}");
    assert_eq!(h2["status"], 200, "{h2}");
    assert!(h2.get("reason").is_none(), "{h2}");
}

#[test]
fn logs_whose_reader_is_gone_stop_nothing() {
    let endpoint = Endpoint::answering(OK);
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("app.yaml", &crate::app(&[&endpoint]));
    let (http, admin) = (free_address(), free_address());
    let mut child = Command::new(program())
        .args(["run", "--workers", "2", "--access-log", "json", "--https", "off", "--manifests"])
        .arg(directory.path())
        .args(["--http", &http.to_string(), "--admin", &admin.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it serves", || TcpStream::connect(http).is_ok());
    // Such as a `tee` that was killed.
    drop((child.stdout.take(), child.stderr.take()));
    let get = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        RawClient::connect(http).exchange(request).status()
    };
    for round in 0..3 {
        // Workers, the reader of files and the compiler all have something to say.
        assert_eq!(get("none.test"), 404);
        write("broken.yaml", "kind: [");
        write("bad.yaml", &manifests::ingress("bad", "bad.test", &format!("nobody-{round}")));
        let host = format!("h{round}.test");
        write("more.yaml", &manifests::ingress("more", &host, "app"));
        wait_until("the change is served", || get(&host) == 200);
        // Both workers live.
        for _ in 0..20 {
            assert_eq!(get("app.test"), 200);
        }
    }
    assert_eq!(child.try_wait().unwrap(), None);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

//! Complete messages: framing, informational answers, upgrades, trailers, early answers.

use std::fmt::Write as _;
use std::time::Duration;

use testkit::client::raw::RawClient;
use testkit::{Endpoint, wait_until};

use crate::{GET, OK, in_front_of};

#[test]
fn a_connection_is_used_again_on_both_sides() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    for _ in 0..50 {
        assert_eq!(client.exchange(GET).text(), "ok");
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let endpoint = Endpoint::start(|conversation| {
        loop {
            let target = conversation.read_request()?.target().to_owned();
            let length = target.len();
            conversation
                .write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{target}"))?;
        }
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    let requests: String = (0..100)
        .map(|n| match n % 3 {
            0 => format!("GET /{n} HTTP/1.1\r\nHost: app.test\r\n\r\n"),
            1 => format!("POST /{n} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 3\r\n\r\nabc"),
            _ => format!(
                "PUT /{n} HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nab\r\n0\r\n\r\n"
            ),
        })
        .collect();
    client.send(requests);
    for n in 0..100 {
        assert_eq!(client.read_response("GET").text(), format!("/{n}"));
    }
}

#[test]
fn bodies_arrive_as_they_were_framed_and_whole() {
    let endpoint = Endpoint::start(|conversation| {
        loop {
            let request = conversation.read_request()?;
            let coding = request.field("transfer-encoding").unwrap_or("length").to_owned();
            let sum: usize = request.body.iter().map(|byte| usize::from(*byte)).sum();
            let text = format!("{coding} {} {sum}", request.body.len());
            conversation.write(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            ))?;
        }
    });
    let gateway = in_front_of(&endpoint);
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sum: usize = body.iter().map(|byte| usize::from(*byte)).sum();

    let mut client = gateway.connect();
    let head =
        format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len());
    let response = client.exchange([head.as_bytes(), &body].concat());
    assert_eq!(response.text(), format!("length 1000000 {sum}"));

    let mut chunked =
        b"POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for (index, chunk) in body.chunks(7_001).enumerate() {
        let extension = if index % 2 == 0 { ";a=b" } else { "" };
        chunked.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(client.exchange(chunked).text(), format!("chunked 1000000 {sum}"));
}

#[test]
fn responses_of_every_framing_arrive_whole() {
    let body = "x".repeat(300_000);
    let mut chunked = String::new();
    for chunk in body.as_bytes().chunks(1_234) {
        let text = String::from_utf8_lossy(chunk);
        let _ = write!(chunked, "{:x}\r\n{text}\r\n", chunk.len());
    }
    let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n");
    let until_close = format!("HTTP/1.0 200 OK\r\n\r\n{body}");
    let endpoint = Endpoint::start(move |conversation| {
        loop {
            let request = conversation.read_request()?;
            match request.target() {
                "/length" => conversation.write(&length)?,
                "/chunked" => conversation.write(&chunked)?,
                _ => return conversation.write(&until_close),
            }
        }
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    for target in ["/length", "/chunked", "/close", "/length"] {
        let response = client.exchange(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
        assert_eq!(response.body.len(), body.len(), "{target}");
    }
    // HTTP/1.0 knows no chunks: its body ends with the connection.
    let mut old = gateway.connect();
    let response = old.exchange("GET /chunked HTTP/1.0\r\nHost: app.test\r\n\r\n");
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(response.body.len(), body.len());
}

#[test]
fn trailers_pass_both_ways() {
    let endpoint = Endpoint::start(|conversation| {
        let request = conversation.read_request()?;
        let seen = format!("{:?}", request.trailers);
        conversation.write(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-After\r\n\r\n\
             {:x}\r\n{seen}\r\n0\r\nX-After: yes\r\nContent-Length: 3\r\n\r\n",
            seen.len()
        ))
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    let response = client.exchange(
        "POST / HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 294\r\nHost: evil.test\r\n\r\n",
    );
    assert_eq!(response.text(), r#"[("X-Sum", "294")]"#);
    assert_eq!(response.trailers, [("X-After".to_owned(), "yes".to_owned())]);
}

#[test]
fn a_client_that_expects_100_continue_gets_it_before_its_body() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_head()?;
        conversation.write("HTTP/1.1 100 Continue\r\n\r\n")?;
        conversation.read_bytes(4)?;
        conversation.write(OK)
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.read_response("POST").status(), 100);
    client.send("body");
    assert_eq!(client.read_response("POST").text(), "ok");
}

/// Whether the gateway or the endpoint says 100 is left open; that a refusal arrives is not.
#[test]
fn an_endpoint_may_refuse_a_body_that_was_announced() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_head()?;
        conversation.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    );
    let mut response = client.read_response("POST");
    if response.status() == 100 {
        client.send("body");
        response = client.read_response("POST");
    }
    assert_eq!((response.status(), response.text().as_str()), (403, "no"));
}

#[test]
fn early_hints_come_before_the_answer() {
    let endpoint = Endpoint::answering(format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n{OK}"
    ));
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send(GET);
    let hints = client.read_response("GET");
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(client.read_response("GET").text(), "ok");
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let endpoint = Endpoint::start(|conversation| {
        loop {
            let request = conversation.read_request()?;
            conversation.write(match request.target() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            })?;
        }
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    let head = client.exchange("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!((head.status(), head.field("content-length")), (200, Some("5")));
    for status in [204, 304] {
        let request = format!("GET /{status} HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.exchange(request).status(), status);
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_head()?;
        conversation.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")?;
        conversation.stall();
        Ok(())
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100000000\r\n\r\nstart");
    let response = client.read_response("POST");
    assert_eq!((response.status(), response.text().as_str()), (413, "big"));
}

#[test]
fn both_directions_run_at_once() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_head()?;
        conversation.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for _ in 0..10 {
            // "1\r\nN\r\n" comes in, the same goes out, before the next comes in.
            let chunk = conversation.read_bytes(6)?;
            conversation.write(chunk)?;
        }
        conversation.write("0\r\n\r\n")
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("1\r\n0\r\n");
    let head = String::from_utf8(client.read_some().unwrap()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let mut echoed = head.split_once("\r\n\r\n").unwrap().1.to_owned();
    for n in 1..10 {
        while !echoed.contains(&format!("\n{}\r\n", n - 1)) {
            echoed.push_str(&String::from_utf8(client.read_some().unwrap()).unwrap());
        }
        client.send(format!("1\r\n{n}\r\n"));
    }
    while !echoed.contains("0\r\n\r\n") {
        echoed.push_str(&String::from_utf8(client.read_some().unwrap()).unwrap());
    }
}

#[test]
fn a_tunnel_begins_after_101_and_carries_bytes_both_ways() {
    let endpoint = Endpoint::start(|conversation| {
        let head = conversation.read_head()?;
        assert!(head.to_ascii_lowercase().contains("upgrade: raw"), "{head}");
        conversation.write(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nhi",
        )?;
        let bytes = conversation.read_bytes(5)?;
        conversation.write(bytes)?;
        // The client ends its direction; ours goes on.
        assert_eq!(conversation.read_to_end()?, b"");
        conversation.write("bye")
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n");
    assert_eq!(client.read_response("GET").status(), 101);
    assert_eq!(client.read_bytes(2), b"hi");
    client.send([0, 255, 13, 10, 0]);
    assert_eq!(client.read_bytes(5), [0, 255, 13, 10, 0]);
    client.half_close();
    assert_eq!(client.read_to_end(), b"bye");
}

#[test]
fn an_upgrade_that_is_refused_leaves_a_plain_exchange() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    let upgrade = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n";
    assert_eq!(client.exchange(upgrade).text(), "ok");
    assert_eq!(client.exchange(GET).text(), "ok");
}

#[test]
fn a_client_may_end_its_direction_and_still_be_answered() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_request()?;
        std::thread::sleep(Duration::from_millis(50));
        conversation.write(OK)
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send(GET);
    client.half_close();
    assert_eq!(client.read_response("GET").text(), "ok");
    assert!(client.is_closed());
}

#[test]
fn a_client_that_goes_away_ends_its_exchange_upstream() {
    let endpoint = Endpoint::start(|conversation| {
        conversation.read_head()?;
        conversation.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
        loop {
            conversation.write([0; 16_384])?;
        }
    });
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    client.send(GET);
    let _ = client.read_some();
    client.reset();
    wait_until("the endpoint's connection is closed", || endpoint.open() == 0);
}

#[test]
fn fields_keep_their_order_their_case_and_their_bytes() {
    let endpoint = Endpoint::answering(
        "HTTP/1.1 200 Fine By Me\r\nX-B: 1\r\nx-a:  2 \r\nX-B: 3\r\nSet-Cookie: a=\"b\"\r\n\
         set-cookie: c\r\nX-Bytes: \u{e9}\r\nContent-Length: 0\r\n\r\n",
    );
    let gateway = in_front_of(&endpoint);
    let mut client = gateway.connect();
    let response = client.exchange(
        "GET / HTTP/1.1\r\nhost: app.test\r\nX-Zed: 1\r\nx-Alpha: 2\r\nX-Zed: 3\r\n\
         Cookie: a=b\r\nCookie: c=d\r\n\r\n",
    );
    assert_eq!(response.start, "HTTP/1.1 200 Fine By Me");
    let own = ["X-B", "x-a", "Set-Cookie", "set-cookie", "X-Bytes"];
    let kept: Vec<_> =
        response.fields.iter().filter(|(name, _)| own.contains(&name.as_str())).collect();
    assert_eq!(kept.len(), 6, "{}", response.head);
    let order: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(order, ["X-B", "x-a", "X-B", "Set-Cookie", "set-cookie", "X-Bytes"]);
    let seen = endpoint.text();
    let order: Vec<usize> = ["X-Zed: 1", "x-Alpha: 2", "X-Zed: 3", "Cookie: a=b", "Cookie: c=d"]
        .iter()
        .map(|line| seen.find(line).unwrap_or_else(|| panic!("{line} in {seen}")))
        .collect();
    assert!(order.is_sorted(), "{seen}");
}

#[test]
fn http_1_0_is_answered_and_lives_on_where_asked() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let mut once = gateway.connect();
    assert_eq!(once.exchange("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").text(), "ok");
    assert!(once.is_closed());
    let mut often = gateway.connect();
    let request = "GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n";
    for _ in 0..3 {
        let response = often.exchange(request);
        let connection = response.field("connection").unwrap_or_default().to_ascii_lowercase();
        assert_eq!((response.text().as_str(), connection.as_str()), ("ok", "keep-alive"));
    }
}

#[test]
fn absolute_form_is_routed_by_its_target() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_of(&endpoint);
    let mut client = RawClient::connect(gateway.http());
    let request = "GET http://app.test/x?y HTTP/1.1\r\nHost: app.test\r\n\r\n";
    assert_eq!(client.exchange(request).text(), "ok");
    assert!(endpoint.text().starts_with("GET /x?y HTTP/1.1\r\n"), "{}", endpoint.text());
}

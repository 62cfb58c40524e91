//! `portcullis echo`: the endpoint for trying things out, with the clients that people have.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use testkit::client::websocket::WebSocket;
use testkit::curl::curl;
use testkit::gateway::{free_address, free_address_of, program};
use testkit::{block_on, wait_until};

struct Echo(Child);

impl Echo {
    fn start(arguments: &[&str], addresses: &[SocketAddr]) -> Self {
        let mut command = Command::new(program());
        command.arg("echo").args(arguments);
        for address in addresses {
            command.args(["--listen", &address.to_string()]);
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        for address in addresses {
            wait_until("it listens", || std::net::TcpStream::connect(address).is_ok());
        }
        Self(child)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_answers_what_it_was_asked_in_every_protocol_and_at_every_address() {
    let addresses = [free_address(), free_address_of([0, 0, 0, 0, 0, 0, 0, 1].into())];
    let _echo = Echo::start(&["--name", "mirror"], &addresses);
    for address in addresses {
        for (flags, protocol) in
            [(&["--http1.1"][..], "HTTP/1.1"), (&["--http2-prior-knowledge"], "HTTP/2")]
        {
            let flags =
                [flags, &["-X", "PUT", "-H", "X-Second: 2", "-H", "x-first: 1", "-d", "hi"]];
            let answer = curl(address, &flags.concat(), "http://mirror.test:81/a?b=c").json();
            assert_eq!(answer["name"], "mirror", "{answer}");
            assert_eq!(answer["method"], "PUT", "{answer}");
            assert_eq!(answer["host"], "mirror.test:81", "{answer}");
            assert_eq!(answer["path"], "/a?b=c", "{answer}");
            assert!(answer["protocol"].as_str().unwrap().starts_with(protocol), "{answer}");
            let headers = answer["headers"].to_string().to_lowercase();
            let at = |name: &str| headers.find(name).unwrap_or_else(|| panic!("{name}: {answer}"));
            assert!(at("x-second") < at("x-first"), "in the order in which they came: {answer}");
        }
        block_on(async {
            let mut socket = WebSocket::connect(address, "ws://mirror.test/").await.unwrap();
            assert_eq!(socket.say("hello").await.unwrap(), "hello");
            socket.close().await.unwrap();
        });
    }
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(program()).args(["echo", "--listen", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&address) && said.contains("in use"), "{said}");
}

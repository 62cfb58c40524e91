//! What the demonstration says: commands to try, and what each of them shows.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use model::ListenerProtocol;

use super::Demo;
use crate::cli::paint::{Paint, Tone};

/// Where the demonstration is to be found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'d> {
    pub(super) http: Option<SocketAddr>,
    pub(super) https: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) manifests: &'d Path,
    /// How this program was called, so that it can be called again.
    pub(super) program: &'d str,
}

/// The guide of a running demonstration, ending in a line feed.
pub(crate) fn text(demo: &Demo, paint: Paint) -> String {
    let program = std::env::args_os().next().and_then(|name| name.into_string().ok());
    let places = Places {
        program: program.as_deref().unwrap_or("portcullis"),
        http: demo.address(ListenerProtocol::Http),
        https: demo.address(ListenerProtocol::Https),
        admin: demo.admin(),
        manifests: demo.manifests(),
    };
    guide(&places, paint)
}

/// One thing to try.
struct Trial {
    shows: &'static str,
    commands: Vec<String>,
}

pub(super) fn guide(places: &Places<'_>, paint: Paint) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail; so it is below.
    let _ = writeln!(
        out,
        "\n{}\nTry these in another terminal; the answers are JSON from built-in echo backends.",
        paint.tone(Tone::Strong, "Portcullis is serving a demonstration.")
    );
    for trial in trials(places) {
        let _ = writeln!(out, "\n{}", paint.tone(Tone::Good, format!("# {}", trial.shows)));
        for command in trial.commands {
            let _ = writeln!(out, "{command}");
        }
    }
    let _ = writeln!(
        out,
        "\nThe manifests are in {}; what you change there is served at once.\nCtrl-C ends it.\n",
        places.manifests.display()
    );
    out
}

fn trials(places: &Places<'_>) -> Vec<Trial> {
    let mut trials = Vec::new();
    if let Some(http) = places.http {
        trials.extend(cleartext(http));
    }
    if let Some(https) = places.https {
        trials.extend(tls(https, places.http));
    }
    if let Some(admin) = places.admin {
        trials.push(Trial {
            shows: "Metrics, and the compiled configuration",
            commands: vec![
                format!("curl -s http://{admin}/metrics | grep portcullis_requests"),
                format!("curl -s http://{admin}/snapshot"),
            ],
        });
    }
    let (program, manifests) = (places.program, places.manifests.display());
    trials.push(Trial {
        shows: "What would become of a request, and why; and what is wrong with the manifests",
        commands: vec![
            format!("{program} explain --manifests {manifests} http://shop.localhost/cart/1"),
            format!("{program} routes {manifests}"),
            format!("{program} lint {manifests}"),
        ],
    });
    trials
}

fn cleartext(http: SocketAddr) -> Vec<Trial> {
    let get = |host: &str, path: &str| format!("curl -s -H 'Host: {host}' 'http://{http}{path}'");
    vec![
        Trial {
            shows: "Routing by host: \"name\" is shop-1 or shop-2 in turn, and blog-1",
            commands: vec![get("shop.localhost", "/"), get("blog.localhost", "/")],
        },
        Trial {
            shows: "Fan-out by path: cart-1 below /cart, blog-1 at /status exactly, else the shop",
            commands: vec![
                get("shop.localhost", "/cart/items"),
                get("shop.localhost", "/status"),
                get("shop.localhost", "/status/more"),
            ],
        },
        Trial {
            shows: "A rewritten path: the endpoint sees /users for /v1/users",
            commands: vec![get("api.localhost", "/v1/users?id=7")],
        },
        Trial {
            shows: "WebSocket: 101, then the first frame tells what the endpoint saw",
            commands: vec![format!(
                "curl -s -i -N --max-time 1 -H 'Host: chat.localhost' -H 'Connection: Upgrade' \
                 -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
                 -H 'Sec-WebSocket-Key: cG9ydGN1bGxpcyBkZW1vIQ==' 'http://{http}/?hello=1' --output -"
            )],
        },
        Trial {
            shows: "HTTP/2 in cleartext, by prior knowledge",
            commands: vec![format!(
                "curl -s -i --http2-prior-knowledge -H 'Host: shop.localhost' 'http://{http}/'"
            )],
        },
        Trial {
            shows: "A route whose Service does not exist answers 503, and never another route",
            commands: vec![get("shop.localhost", "/broken").replace("-s", "-s -i")],
        },
        Trial {
            shows: "An unknown host is 404",
            commands: vec![get("nobody.localhost", "/").replace("-s", "-s -i")],
        },
    ]
}

fn tls(https: SocketAddr, http: Option<SocketAddr>) -> Vec<Trial> {
    let port = https.port();
    let resolve = format!("--resolve secure.localhost:{port}:{}", https.ip());
    let mut trials = vec![Trial {
        shows: "TLS by server name, with HTTP/2 by ALPN (-k: the certificate is self-signed)",
        commands: vec![format!("curl -s -i -k {resolve} 'https://secure.localhost:{port}/'")],
    }];
    if let Some(http) = http {
        trials.push(Trial {
            shows: "A host with a certificate sends plain requests to HTTPS: 308 and its Location",
            commands: vec![format!("curl -s -i -H 'Host: secure.localhost' 'http://{http}/a?b=c'")],
        });
    }
    trials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_port_filled_in() {
        let places = Places {
            http: Some(([127, 0, 0, 1], 1080).into()),
            https: Some(([127, 0, 0, 1], 1443).into()),
            admin: Some(([127, 0, 0, 1], 1090).into()),
            manifests: Path::new("demo"),
            program: "portcullis",
        };
        let text = guide(&places, Paint::OFF);
        assert!(text.contains("curl -s -H 'Host: shop.localhost' 'http://127.0.0.1:1080/'\n"));
        assert!(text.contains(
            "--resolve secure.localhost:1443:127.0.0.1 'https://secure.localhost:1443/'"
        ));
        assert!(text.contains("http://127.0.0.1:1090/snapshot"));
        let off = Places { http: None, https: None, admin: None, ..places };
        assert!(!guide(&off, Paint::OFF).contains("curl"));
    }
}

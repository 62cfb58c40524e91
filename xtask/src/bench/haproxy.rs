//! `HAProxy`, configured as one who knows it would: one thread, one prefix map for host and path.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::Result;
use super::engine::Ports;
use super::fleet::{Fleet, HOSTS, SERVICES, host};
use super::nginx::Buffers;

/// Writes the configuration and gives the command that runs it.
pub(super) fn command(
    fleet: &Fleet<'_>,
    home: &Path,
    ports: Ports,
    buffers: Buffers,
) -> Result<Command> {
    let told = |error| format!("{}: {error}", home.display());
    let mut map = String::new();
    for index in 0..HOSTS {
        for (name, path) in SERVICES {
            // Writing to a String cannot fail.
            let _ = writeln!(map, "{}{path} {name}", host(index));
        }
    }
    fs::write(home.join("routes.map"), map).map_err(told)?;
    let pair = [fleet.certificate(), fleet.key()].map(fs::read_to_string);
    let [certificate, key] = pair;
    let pem =
        certificate.and_then(|certificate| key.map(|key| certificate + &key)).map_err(told)?;
    fs::write(home.join("tls.pem"), pem).map_err(told)?;
    let file = home.join("haproxy.cfg");
    fs::write(&file, configuration(fleet, home, ports, buffers)).map_err(told)?;
    let mut command = fleet.programs.peer("usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn configuration(fleet: &Fleet<'_>, home: &Path, ports: Ports, buffers: Buffers) -> String {
    let home = home.display();
    // Without delay costs it much in bulk, and pays nowhere else.
    let (bytes, delay) = match buffers {
        Buffers::Usual => (16_384, "option http-no-delay"),
        Buffers::Large => (131_072, ""),
    };
    let mut text = format!(
        "global\n nbthread 1\n maxconn {connections}\n tune.bufsize {bytes}\n\
         \x20tune.pool-high-fd-ratio 60\n\
         defaults\n mode http\n {delay}\n option http-keep-alive\n http-reuse always\n\
         \x20timeout connect 5s\n timeout client 75s\n timeout server 60s\n\
         \x20timeout http-keep-alive 75s\n\
         frontend bench\n\
         \x20bind 127.0.0.1:{http}\n\
         \x20bind 127.0.0.1:{https} ssl crt {home}/tls.pem alpn h2,http/1.1\n\
         \x20option forwardfor\n\
         \x20unique-id-format %[uuid()]\n unique-id-header X-Request-ID\n\
         \x20http-request set-header X-Real-IP %[src]\n\
         \x20http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20http-request set-header X-Forwarded-Port %[dst_port]\n\
         \x20http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n\
         \x20http-request set-var(txn.path) path\n\
         \x20use_backend %[req.hdr(host),host_only,lower,concat(,txn.path),\
         map_beg({home}/routes.map,none)]\n\
         backend none\n http-request return status 404\n",
        connections = super::place::connections_max(),
        http = ports.http,
        https = ports.https,
    );
    for ((name, _), port) in SERVICES.iter().zip(fleet.ports) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "backend {name}\n server one 127.0.0.1:{port} pool-max-conn 1024");
    }
    text
}

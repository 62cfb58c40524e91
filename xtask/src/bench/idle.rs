//! What an idle keep-alive connection costs in memory: growth of the process per connection.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::Result;
use super::engine::{Engine, HAPROXY, NGINX, OURS};
use super::fleet::{Fleet, host};
use super::place::{LOAD_CORE, connections_max};
use super::process::{Running, pss_bytes, sockets};

/// Milliseconds that every connection waits before its request, at least; by then all are open.
const PAUSE_MS: u64 = 4_000;
/// Milliseconds over which the requests are spread: what many requests at once take would hide
/// what idle connections keep.
const SPREAD_MS: u64 = 4_000;
/// When all requests are over.
const LOOK: Duration = Duration::from_millis(PAUSE_MS + SPREAD_MS + 2_500);

/// Connections, plaintext and TLS; fewer where the system allows fewer open files.
const CONNECTIONS: [(bool, usize); 2] = [(false, 10_000), (true, 3_000)];

/// Opens the connections, lets each make one request, and looks while all are idle.
///
/// Every figure is taken from a process that has done next to nothing before, because memory freed
/// by earlier work would hide what connections take.
pub(super) fn run(fleet: &Fleet<'_>) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for (tls, wanted) in CONNECTIONS {
        let connections = wanted.min(connections_max().saturating_sub(200));
        for kind in [NGINX, HAPROXY, OURS] {
            if !fleet.options.wants_engine(kind.family()) {
                continue;
            }
            let engine = Engine::start(fleet, kind)?;
            let (growth, opened) = measure(fleet, &engine, tls, connections)?;
            let each = growth / opened as f64;
            eprintln!(
                "  idle: {:12} {} {each:8.0} bytes",
                kind.name(),
                if tls { "TLS" } else { "" }
            );
            rows.push(json!({
                "engine": kind.name(),
                "tls": tls,
                "connections": opened,
                "bytes_per_connection": each,
            }));
        }
    }
    Ok(rows)
}

fn measure(
    fleet: &Fleet<'_>,
    engine: &Engine,
    tls: bool,
    connections: usize,
) -> Result<(f64, usize)> {
    let file = fleet.home.join("idle.lua");
    let script = format!(
        "local opened = 0\n\
         delay = function()\n\
         opened = opened + 1\n\
         if opened > {connections} then return 600000 end\n\
         return {PAUSE_MS} + math.random(0, {SPREAD_MS})\n\
         end\n\
         request = function() return \"GET /1k HTTP/1.1\\r\\nHost: {}\\r\\n\\r\\n\" end\n",
        host(0),
    );
    fs::write(&file, script).map_err(|error| format!("{}: {error}", file.display()))?;
    std::thread::sleep(Duration::from_millis(500));
    let (before, sockets_before) = (pss_bytes(engine.id()), sockets(engine.id()));
    let mut command = fleet.programs.peer("usr/bin/wrk");
    let (scheme, port) =
        if tls { ("https", engine.ports.https) } else { ("http", engine.ports.http) };
    command.args(["-t1", "-d60s", "--timeout", "30s"]).arg(format!("-c{connections}"));
    command.arg("-s").arg(file).arg(format!("{scheme}://127.0.0.1:{port}/"));
    let mut load = Running::start("wrk", LOAD_CORE, command, fleet.home.join("idle.log"))?;
    std::thread::sleep(LOOK);
    load.check()?;
    let opened = sockets(engine.id()).saturating_sub(sockets_before);
    let growth = pss_bytes(engine.id()).saturating_sub(before) as f64;
    if opened < connections {
        let name = engine.kind.name();
        return Err(format!("{name} holds {opened} of {connections} idle connections"));
    }
    Ok((growth, connections))
}

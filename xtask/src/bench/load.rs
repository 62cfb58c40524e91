//! Runs the load generators and reads what they say.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Result;
use super::fleet::{Fleet, HOSTS, SERVICES, host};
use super::place::{LOAD_CORE, on_core};
use super::process::Running;

/// What is asked of a proxy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) protocol: Protocol,
    pub(super) tls: bool,
    pub(super) connections: usize,
    /// The last part of the path: which body.
    pub(super) body: &'static str,
    pub(super) fields: Fields,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    /// With so many streams on each connection.
    Http2 {
        streams: usize,
    },
}

/// The fields of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// `Host` and no more than the generator adds.
    Few,
    /// Sixteen, about 1.2 KiB, a cookie among them: as browsers send.
    Browser,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Outcome {
    pub(super) fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// Loads a port as fast as it answers. Any failed request is an error.
pub(super) fn run(fleet: &Fleet<'_>, load: &Load, port: u16, seconds: u64) -> Result<Outcome> {
    match load.protocol {
        Protocol::Http1 => wrk(fleet, load, port, seconds),
        Protocol::Http2 { .. } => h2load(fleet, load, port, seconds, None),
    }
}

/// Loads a port at a steady rate, in requests per second over all connections.
pub(super) fn at_rate(
    fleet: &Fleet<'_>,
    load: &Load,
    port: u16,
    seconds: u64,
    rate: f64,
) -> Result<Outcome> {
    h2load(fleet, load, port, seconds, Some(rate))
}

/// The fields of a request besides `Host`.
fn fields(fields: Fields) -> Vec<(&'static str, String)> {
    match fields {
        Fields::Few => Vec::new(),
        Fields::Browser => browser_fields(),
    }
}

fn browser_fields() -> Vec<(&'static str, String)> {
    let cookie = "session=0f4c2d9ab71e4b6f8d23c5a6e7f8091a2b3c4d5e6f708192; theme=dark; \
                  consent=2026-01-01T00:00:00Z; _ga=GA1.2.1234567890.1700000000; \
                  _gid=GA1.2.987654321.1700000001; cart=3f9a6c1e-5b7d-4c2a-9e8f-1a2b3c4d5e6f";
    [
        (
            "sec-ch-ua",
            "\"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\", \"Google Chrome\";v=\"140\"",
        ),
        ("sec-ch-ua-mobile", "?0"),
        ("sec-ch-ua-platform", "\"Linux\""),
        ("upgrade-insecure-requests", "1"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/140.0.0.0 Safari/537.36",
        ),
        (
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
             image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
        ),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-user", "?1"),
        ("sec-fetch-dest", "document"),
        ("referer", "https://shop.bench.example/catalogue/outdoor/tents?page=2&sort=price"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7,fr;q=0.6"),
        ("cookie", cookie),
        ("priority", "u=0, i"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

fn path(service: usize, body: &str) -> String {
    format!("{}/{body}", SERVICES[service % SERVICES.len()].1.trim_end_matches('/'))
}

/// The script: every host and path in a scattered order, built beforehand; the summary as JSON.
fn script(load: &Load) -> String {
    let mut text = String::from("local requests = {}\n");
    let mut tail = String::new();
    for (name, value) in fields(load.fields) {
        // Writing to a String cannot fail.
        let _ = write!(tail, "{name}: {value}\\r\\n");
    }
    let tail = tail.replace('"', "\\\"");
    let _ = writeln!(text, "local tail = \"{tail}\\r\\n\"");
    for step in 0..HOSTS {
        // A stride coprime to the number of hosts visits each once.
        let index = step * 617 % HOSTS;
        let path = path(step, load.body);
        let _ = writeln!(
            text,
            "requests[{}] = \"GET {path} HTTP/1.1\\r\\nHost: {}\\r\\n\" .. tail",
            step + 1,
            host(index)
        );
    }
    let _ = write!(
        text,
        "local at = 0\n\
         request = function() at = at % {HOSTS} + 1; return requests[at] end\n\
         done = function(summary, latency, requests)\n\
         local e = summary.errors\n\
         io.write(string.format('{{\"requests\":%d,\"us\":%d,\"bytes\":%d,\"failed\":%d,\"p50\":%d,\
         \"p99\":%d}}\\n', summary.requests, summary.duration, summary.bytes,\n\
         e.connect + e.read + e.write + e.status + e.timeout,\n\
         latency:percentile(50), latency:percentile(99)))\n\
         end\n"
    );
    text
}

/// Load that goes on until it is told to end.
pub(super) struct Background {
    load: Load,
    running: Running,
}

impl Background {
    pub(super) fn start(fleet: &Fleet<'_>, load: &Load, port: u16) -> Result<Self> {
        let command = wrk_command(fleet, load, port, 3_600)?;
        let output = fleet.home.join("background.log");
        Ok(Self { load: *load, running: Running::start("wrk", LOAD_CORE, command, output)? })
    }

    /// Ends it; how many requests were answered. Any that failed is an error.
    pub(super) fn finish(mut self) -> Result<u64> {
        let text = self.running.interrupt()?;
        let outcome = read_wrk(&text, &self.load).map_err(|why| format!("wrk: {why}\n{text}"))?;
        Ok(outcome.requests)
    }
}

fn wrk(fleet: &Fleet<'_>, load: &Load, port: u16, seconds: u64) -> Result<Outcome> {
    let text = output(wrk_command(fleet, load, port, seconds)?, "wrk")?;
    read_wrk(&text, load).map_err(|why| format!("wrk: {why}\n{text}"))
}

fn wrk_command(fleet: &Fleet<'_>, load: &Load, port: u16, seconds: u64) -> Result<Command> {
    let file = fleet.home.join("load.lua");
    fs::write(&file, script(load)).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut command = fleet.programs.peer("usr/bin/wrk");
    command.args(["-t1", "--latency", "--timeout", "10s"]);
    command.arg(format!("-c{}", load.connections)).arg(format!("-d{seconds}s")).arg("-s").arg(file);
    let scheme = if load.tls { "https" } else { "http" };
    command.arg(format!("{scheme}://127.0.0.1:{port}/"));
    Ok(command)
}

fn read_wrk(text: &str, load: &Load) -> Result<Outcome> {
    let line = text.lines().find(|line| line.starts_with("{\"requests\"")).ok_or("no summary")?;
    let summary: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let figure = |name: &str| summary.get(name).and_then(Value::as_f64).ok_or(format!("no {name}"));
    let (requests, bytes) = (figure("requests")?, figure("bytes")?);
    if figure("failed")? > 0.0 || requests == 0.0 {
        return Err("requests failed".to_owned());
    }
    let body = super::backend::BODIES.iter().find(|(name, _)| *name == load.body);
    let body = body.map_or(0.0, |(_, bytes)| *bytes as f64);
    if bytes / requests < body {
        return Err(format!("{:.0} bytes for each answer of {body}", bytes / requests));
    }
    Ok(Outcome {
        // A count of at most a few millions.
        #[allow(clippy::cast_sign_loss)]
        requests: requests as u64,
        seconds: figure("us")? / 1e6,
        p50_us: figure("p50")?,
        p99_us: figure("p99")?,
    })
}

fn h2load(
    fleet: &Fleet<'_>,
    load: &Load,
    port: u16,
    seconds: u64,
    rate: Option<f64>,
) -> Result<Outcome> {
    let mut command = fleet.programs.peer("usr/bin/h2load");
    command.arg(format!("-c{}", load.connections)).arg(format!("-D{seconds}"));
    match load.protocol {
        Protocol::Http1 => command.arg("--h1"),
        Protocol::Http2 { streams } => command.arg(format!("-m{streams}")),
    };
    if let Some(rate) = rate {
        command.arg(format!("--rps={:.2}", rate / load.connections as f64));
    }
    for (name, value) in fields(load.fields) {
        command.arg("-H").arg(format!("{name}: {value}"));
    }
    // It takes one authority for all.
    let authority = host(HOSTS / 2);
    let scheme = if load.tls { "https" } else { "http" };
    command.arg(format!("--connect-to=127.0.0.1:{port}"));
    for service in 0..SERVICES.len() {
        command.arg(format!("{scheme}://{authority}{}", path(service, load.body)));
    }
    let text = output(command, "h2load")?;
    read_h2load(&text, seconds, rate.is_some()).map_err(|why| format!("h2load: {why}\n{text}"))
}

fn read_h2load(text: &str, seconds: u64, steady: bool) -> Result<Outcome> {
    let line = |start: &str| {
        let line = text.lines().find(|line| line.starts_with(start));
        line.map(|line| line[start.len()..].trim()).ok_or(format!("no line `{start}`"))
    };
    let counts = line("requests:")?;
    let count = |name: &str| -> Result<u64> {
        let part = counts.split(',').find(|part| part.trim().ends_with(name));
        let number = part.and_then(|part| part.trim().split(' ').next()?.parse().ok());
        number.ok_or(format!("no count of {name}"))
    };
    let (done, succeeded) = (count("done")?, count("succeeded")?);
    let bad = count("failed")? + count("errored")? + count("timeout")?;
    // At a steady rate what is in flight at the end counts as begun, not as failed.
    if succeeded == 0 || done != succeeded || (bad > 0 && !steady) {
        return Err("requests failed".to_owned());
    }
    let columns: Vec<&str> = line("request     :")?.split_whitespace().collect();
    let column = |index: usize| -> Result<f64> {
        columns.get(index).and_then(|text| microseconds(text)).ok_or("no latency".to_owned())
    };
    Ok(Outcome { requests: done, seconds: seconds as f64, p50_us: column(2)?, p99_us: column(4)? })
}

/// `743us`, `3.33ms`, `1.20s`.
fn microseconds(text: &str) -> Option<f64> {
    let number = |unit: &str, factor: f64| {
        text.strip_suffix(unit).and_then(|text| text.parse::<f64>().ok()).map(|n| n * factor)
    };
    number("us", 1.0).or_else(|| number("ms", 1e3)).or_else(|| number("s", 1e6))
}

fn output(mut command: Command, name: &str) -> Result<String> {
    command.stdin(Stdio::null());
    let output = on_core(LOAD_CORE, move || command.output())?
        .map_err(|error| format!("starting {name}: {error}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{name} failed:\n{text}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H2LOAD: &str = "\
finished in 1.00s, 2294.00 req/s, 858.01KB/s
requests: 2294 total, 2295 started, 2294 done, 2294 succeeded, 0 failed, 0 errored, 0 timeout
             min     max     median  p95     p99     mean    sd      +/- sd
request     :  173us  3.33ms   743us  1.33ms  1.74ms   793us   295us  73.84%
";

    #[test]
    fn the_table_of_h2load_is_read() {
        let outcome = read_h2load(H2LOAD, 1, false).unwrap();
        assert_eq!(outcome.requests, 2294);
        assert_eq!((outcome.p50_us, outcome.p99_us), (743.0, 1740.0));
    }

    #[test]
    fn a_failed_request_is_an_error() {
        let failed = H2LOAD.replace("2294 succeeded, 0 failed", "2293 succeeded, 1 failed");
        assert!(read_h2load(&failed, 1, false).is_err());
        let line =
            "{\"requests\":10,\"us\":1000000,\"bytes\":20000,\"failed\":1,\"p50\":1,\"p99\":2}";
        let load = Load {
            protocol: Protocol::Http1,
            tls: false,
            connections: 1,
            body: "1k",
            fields: Fields::Few,
        };
        assert!(read_wrk(line, &load).is_err());
        assert!(read_wrk(&line.replace("\"failed\":1", "\"failed\":0"), &load).is_ok());
        let short = line.replace("20000", "2000").replace("\"failed\":1", "\"failed\":0");
        assert!(read_wrk(&short, &load).is_err(), "bodies that are too short");
    }
}

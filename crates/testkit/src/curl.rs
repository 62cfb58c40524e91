//! The `curl` program as a client: what users have in their hands.

use std::net::SocketAddr;
use std::process::Command;

use crate::Message;

/// Runs curl against `url`, sending every connection to `address` whatever the URL's host is.
///
/// Answers the last response. Flags are curl's own.
///
/// # Panics
/// When curl is absent or fails; what it said is shown.
pub fn curl(address: SocketAddr, flags: &[&str], url: &str) -> Message {
    try_curl(address, flags, url).unwrap_or_else(|why| panic!("curl {flags:?} {url}: {why}"))
}

/// As [`curl`].
///
/// # Errors
/// What curl said when it failed.
///
/// # Panics
/// When curl is absent.
pub fn try_curl(address: SocketAddr, flags: &[&str], url: &str) -> Result<Message, String> {
    let connect_to = format!("::{address}");
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "30"])
        .args(["--noproxy", "*", "--connect-to", &connect_to])
        .args(flags)
        .arg(url)
        .output()
        .expect("curl is installed (.ci/run installs it)");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(last_response(&output.stdout))
}

/// The last response of curl's output: informational ones and redirects come before it.
fn last_response(output: &[u8]) -> Message {
    let mut rest = output;
    loop {
        let end =
            rest.windows(4).position(|window| window == b"\r\n\r\n").map_or(rest.len(), |p| p + 4);
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let (start, lines) = head.split_once("\r\n").unwrap_or((&head, ""));
        let body = rest.get(end..).unwrap_or_default();
        if body.starts_with(b"HTTP/") {
            rest = body;
            continue;
        }
        let fields = lines
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        return Message {
            start: start.to_owned(),
            fields,
            body: body.to_vec(),
            trailers: Vec::new(),
            head: head.clone(),
        };
    }
}

//! Whether a `Host` field names this machine: the guard against DNS rebinding.
//!
//! A page in a browser may resolve its own name to 127.0.0.1 and then read what is served there.
//! Its requests carry its name in `Host`, so only names that no stranger can own are answered.

use std::net::IpAddr;

/// Whether a request with this `Host` is meant for us: an IP address, `localhost`, or the name of
/// this machine. A request without one (HTTP/1.0) does not come from a browser.
pub(super) fn is_ours(host: Option<&str>, machine: &str) -> bool {
    let Some(host) = host else { return true };
    let name = without_port(host);
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let name = name.strip_suffix('.').unwrap_or(name);
    bare.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || (!machine.is_empty() && name.eq_ignore_ascii_case(machine))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // `[::1]` has colons and no port.
        Some((name, port)) if !port.contains(']') && !port.is_empty() => {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_our_own_names_are_ours() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "[::1]",
            "[::1]:9090",
            "10.1.2.3:80",
            "localhost",
            "LOCALHOST:9090",
            "localhost.:9090",
            "gateway-0",
            "gateway-0:9090",
        ] {
            assert!(is_ours(Some(host), "gateway-0"), "{host}");
        }
        assert!(is_ours(None, ""));
    }

    #[test]
    fn a_name_that_a_stranger_can_own_is_not() {
        for host in [
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            ":9090",
            "127.0.0.1:x",
            "gateway-0.evil.example",
        ] {
            assert!(!is_ours(Some(host), "gateway-0"), "{host}");
        }
        assert!(!is_ours(Some(""), ""));
    }
}

//! The addresses of this machine's interfaces, as the kernel's tables tell them.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of this machine, none where the tables cannot be read.
#[must_use]
pub fn local_addresses() -> BTreeSet<IpAddr> {
    let v4 = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    local_v4(&v4).map(IpAddr::V4).chain(local_v6(&v6).map(IpAddr::V6)).collect()
}

/// `fib_trie` has an address on a line of its own, and on a line below it what it is.
fn local_v4(fib_trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut last = None;
    fib_trie.lines().filter_map(move |line| {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
            return None;
        }
        if line.trim_end().ends_with("host LOCAL") { last } else { None }
    })
}

/// `if_inet6` has 32 hex digits at the beginning of each line.
fn local_v6(if_inet6: &str) -> impl Iterator<Item = Ipv6Addr> {
    if_inet6.lines().filter_map(|line| {
        let digits = line.split_ascii_whitespace().next().filter(|digits| digits.len() == 32)?;
        Some(Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_from_the_tables_of_the_kernel() {
        let trie = [
            "Local:",
            "  +-- 0.0.0.0/0 3 0 5",
            "     |-- 10.0.0.0",
            "        /8 link UNICAST",
            "     |-- 10.0.0.5",
            "        /32 host LOCAL",
            "     |-- 10.255.255.255",
            "        /32 link BROADCAST",
        ];
        let trie = trie.join("\n");
        assert_eq!(local_v4(&trie).collect::<Vec<_>>(), [Ipv4Addr::new(10, 0, 0, 5)]);
        let inet6 = "fe800000000000000000000000000001 02 40 20 80 eth0\n";
        assert_eq!(local_v6(inet6).collect::<Vec<_>>(), ["fe80::1".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn this_machine_has_its_loopback_address() {
        assert!(local_addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}

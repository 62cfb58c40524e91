//! Which addresses a name may lead to.
//!
//! Whoever may write a Service of type `ExternalName` chooses where our requests go. Unless the
//! operator allows any address, a name must not lead back to this machine, to its link, to
//! everybody or to our own listeners.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Our own listeners, so that a name cannot make us our own endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnListeners {
    addresses: BTreeSet<SocketAddr>,
    /// Ports that are listened on at every address of this machine.
    wildcard_ports: BTreeSet<u16>,
}

impl OwnListeners {
    pub(crate) fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut own = Self::default();
        for address in addresses {
            if address.ip().is_unspecified() {
                own.wildcard_ports.insert(address.port());
            } else {
                own.addresses.insert(SocketAddr::new(address.ip().to_canonical(), address.port()));
            }
        }
        own
    }

    /// Whether a connection to `address` would come back to us. `local` are this machine's
    /// addresses.
    fn contains(&self, address: SocketAddr, local: &BTreeSet<IpAddr>) -> bool {
        self.addresses.contains(&address)
            || (self.wildcard_ports.contains(&address.port()) && local.contains(&address.ip()))
    }
}

/// Why an address may not be used; `None` when it may.
pub(crate) fn refusal(
    address: SocketAddr,
    own: &OwnListeners,
    local: &BTreeSet<IpAddr>,
) -> Option<&'static str> {
    let ip = address.ip().to_canonical();
    if ip.is_loopback() {
        return Some("a loopback address");
    }
    if ip.is_unspecified() || is_this_network(ip) {
        return Some("an unspecified address");
    }
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Some("an address of many");
    }
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if is_link_local {
        return Some("a link-local address");
    }
    if own.contains(SocketAddr::new(ip, address.port()), local) {
        return Some("a listener of this gateway");
    }
    None
}

/// 0.0.0.0/8 means this network (RFC 6890); Linux delivers some of it to this machine.
fn is_this_network(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 0)
}

/// The addresses of this machine's interfaces, as the kernel's tables tell them.
pub(crate) fn local_addresses() -> BTreeSet<IpAddr> {
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

    fn refused(address: &str) -> Option<&'static str> {
        let own =
            OwnListeners::new(["0.0.0.0:80".parse().unwrap(), "203.0.113.9:81".parse().unwrap()]);
        let local = BTreeSet::from(["198.51.100.7".parse().unwrap()]);
        refusal(address.parse().unwrap(), &own, &local)
    }

    #[test]
    fn addresses_of_this_machine_its_link_and_of_many_are_refused() {
        for address in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "0.0.0.0:80",
            "[::]:80",
            "0.1.2.3:80",
            "169.254.169.254:80",
            "[fe80::1]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "255.255.255.255:80",
            "[::ffff:169.254.169.254]:80",
        ] {
            assert!(refused(address).is_some(), "{address}");
        }
    }

    #[test]
    fn our_own_listeners_are_refused_and_other_ports_beside_them_are_not() {
        assert_eq!(refused("198.51.100.7:80"), Some("a listener of this gateway"));
        assert_eq!(refused("[::ffff:198.51.100.7]:80"), Some("a listener of this gateway"));
        assert_eq!(refused("203.0.113.9:81"), Some("a listener of this gateway"));
        assert_eq!(refused("198.51.100.7:8080"), None);
        assert_eq!(refused("203.0.113.9:80"), None);
    }

    #[test]
    fn other_addresses_may_be_used() {
        for address in ["192.0.2.1:80", "10.1.2.3:443", "[2001:db8::1]:80", "[fd00::1]:80"] {
            assert_eq!(refused(address), None, "{address}");
        }
    }

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

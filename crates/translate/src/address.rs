//! Which addresses requests may be sent to.
//!
//! Whoever may write a Service of type `ExternalName`, an `EndpointSlice` or `Endpoints` chooses
//! where our requests go. Unless the operator allows any address, that must not be this machine,
//! its link, the metadata service of a cloud, everybody, or our own listeners: what is there trusts
//! whoever can reach it, and a gateway can where its clients cannot.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Our own listeners, so that nobody makes us our own endpoint.
#[derive(Clone, Debug, Default)]
pub struct OwnListeners {
    addresses: BTreeSet<SocketAddr>,
    /// Ports that are listened on at every address of this machine.
    wildcard_ports: BTreeSet<u16>,
}

impl OwnListeners {
    /// Listeners at these addresses.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
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

/// Why requests may not be sent to an address; `None` when they may. `local` are this machine's
/// addresses.
#[must_use]
pub fn refusal(
    address: SocketAddr,
    own: &OwnListeners,
    local: &BTreeSet<IpAddr>,
) -> Option<&'static str> {
    let ip = address.ip().to_canonical();
    of_ip(ip).or_else(|| {
        let is_own = own.contains(SocketAddr::new(ip, address.port()), local);
        is_own.then_some("a listener of this gateway")
    })
}

/// The same, as far as the address alone says it.
pub(crate) fn of_ip(ip: IpAddr) -> Option<&'static str> {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        return Some("a loopback address");
    }
    if METADATA.contains(&ip) {
        return Some("a cloud's metadata address");
    }
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if is_link_local {
        return Some("a link-local address");
    }
    of_nobody(ip).or_else(|| {
        let is_refused = embedded(ip).any(|inner| of_ip(IpAddr::V4(inner)).is_some());
        is_refused.then_some("an address that a translator makes a refused one")
    })
}

/// Why an address is nobody's: no setting allows it.
pub(crate) fn of_nobody(ip: IpAddr) -> Option<&'static str> {
    let ip = ip.to_canonical();
    if ip.is_unspecified() || is_this_network(ip) {
        return Some("an unspecified address");
    }
    if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Some("an address of many");
    }
    None
}

/// Where clouds give credentials to whoever asks.
const METADATA: [IpAddr; 7] = [
    // EC2, Azure, Google, OpenStack and others; link-local, and named for what it is.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // EC2, and its pod identities.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Google.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Azure's wire server.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Alibaba.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Oracle.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// 0.0.0.0/8 means this network (RFC 6890); Linux delivers some of it to this machine.
fn is_this_network(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 0)
}

/// The IPv4 addresses that a translator on the way could send to: of NAT64's well-known prefix
/// (RFC 6052) and its local one (RFC 8215), where it depends on the translator how long the prefix
/// is, of 6to4 (RFC 3056), Teredo (RFC 4380 section 4), ISATAP (RFC 5214 section 6.1),
/// IPv4-translated (RFC 2765), or IPv4-compatible (RFC 4291 section 2.5.5.1).
fn embedded(ip: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let (segments, octets) = match ip {
        IpAddr::V4(_) => ([1; 8], [1; 16]),
        // Teredo writes every bit of the address as its opposite.
        IpAddr::V6(ip) if ip.segments()[..2] == [0x2001, 0] => {
            (ip.segments(), ip.octets().map(|octet| !octet))
        }
        IpAddr::V6(ip) => (ip.segments(), ip.octets()),
    };
    let places: &[[usize; 4]] = match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [0, 0, 0, 0, 0 | 0xffff, 0, ..]
        | [0x2001, 0, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => &[[12, 13, 14, 15]],
        // Prefixes of 96, 64, 56 and 48 bits; octet 8 is none of an address (RFC 6052 section 2.2).
        [0x64, 0xff9b, 1, ..] => {
            &[[12, 13, 14, 15], [9, 10, 11, 12], [7, 9, 10, 11], [6, 7, 9, 10]]
        }
        [0x2002, ..] => &[[2, 3, 4, 5]],
        _ => &[],
    };
    let is_local = places.len() > 1;
    let found = places.iter().map(move |place| Ipv4Addr::from(place.map(|at| octets[at])));
    // A shorter address in the place of a longer prefix looks like one of this network.
    found.filter(move |ip| !is_local || ip.octets()[0] != 0)
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
            "[fd00:ec2::254]:80",
            "[fd20:ce::254]:80",
            "100.100.100.200:80",
            "168.63.129.16:80",
            "[64:ff9b::169.254.169.254]:80",
            "[2002:7f00:1::1]:80",
            "[::127.0.0.1]:80",
            "[::ffff:0:127.0.0.1]:80",
            "[64:ff9b:1::169.254.169.254]:80",
            "[2001::5601:5601]:80",
            "[2001:db8:1:2:0:5efe:169.254.169.254]:80",
            "[2001:db8:1:2:200:5efe:7f00:1]:80",
            "[64:ff9b:1:7f00:0:100::]:80",
            "[64:ff9b:1:0:7f:0:100:0]:80",
            "[64:ff9b:1:a9:fe:a9fe::]:80",
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
        for address in [
            "192.0.2.1:80",
            "10.1.2.3:443",
            "[2001:db8::1]:80",
            "[fd00::1]:80",
            "100.64.0.1:80",
            "[64:ff9b::10.0.0.1]:80",
            "[64:ff9b:1::10.0.0.1]:80",
            "[2001::f5ff:fffe]:80",
            "[2001:db8:1:2:0:5efe:10.0.0.1]:80",
            "[64:ff9b:1:a00:0:100::]:80",
            "[::ffff:0:10.0.0.1]:80",
        ] {
            assert_eq!(refused(address), None, "{address}");
        }
    }
}

//! Which endpoint: in turn by weight, the calmer of two, or the one a client belongs to.
//!
//! Counts are this worker's own: workers do not share them, so that picking costs no shared cache
//! line. Endpoints that failed just now are asked only when all did, and one that was tried already
//! only when there is no other.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use model::{Affinity, LoadBalancing};

use crate::snapshot::{CompiledEndpoint, CompiledUpstream};
use crate::upstream::pool::{Local, Pools};

/// One pass of an endpoint of weight 1; a heavier one takes smaller steps and comes more often.
const STRIDE: u64 = 1 << 20;

/// What a pick depends on besides the endpoints.
pub(crate) struct Pick<'a> {
    pub(crate) pools: &'a Pools,
    pub(crate) client: IpAddr,
    pub(crate) now: u32,
    /// The key of an endpoint that was tried already.
    pub(crate) tried: Option<u64>,
}

/// An endpoint and what this worker knows of it.
pub(crate) struct Picked<'u> {
    pub(crate) endpoint: &'u CompiledEndpoint,
    pub(crate) local: Rc<Local>,
}

impl Pick<'_> {
    /// Picks an endpoint; `None` only when there is none.
    pub(crate) fn endpoint<'u>(
        &self,
        upstream: &'u CompiledUpstream,
        rng: &mut fastrand::Rng,
    ) -> Option<Picked<'u>> {
        let endpoints = &*upstream.endpoints;
        if let [only] = endpoints {
            return Some(Picked { endpoint: only, local: self.pools.local(&only.state) });
        }
        if upstream.affinity == Some(Affinity::ClientIp) {
            return self.by_client(endpoints);
        }
        match upstream.balancing {
            LoadBalancing::RoundRobin => self.in_turn(endpoints),
            LoadBalancing::LeastRequest => self.calmer_of_two(endpoints, rng),
        }
    }

    /// Whether an endpoint is to be avoided, and how strongly.
    fn reluctance(&self, local: &Local, endpoint: &CompiledEndpoint) -> u8 {
        u8::from(local.is_ejected(self.now)) + 2 * u8::from(self.tried == Some(endpoint.state.key))
    }

    fn calmer_of_two<'u>(
        &self,
        endpoints: &'u [CompiledEndpoint],
        rng: &mut fastrand::Rng,
    ) -> Option<Picked<'u>> {
        if endpoints.is_empty() {
            return None;
        }
        let first = rng.usize(..endpoints.len());
        let second = (first + 1 + rng.usize(..endpoints.len() - 1)) % endpoints.len();
        let draw = self.pools.draws.get() + 1;
        self.pools.draws.set(draw);
        let mut best = self.best([first, second].into_iter().map(|index| &endpoints[index]))?;
        if self.reluctance(&best.local, best.endpoint) > 0 {
            best = self.best(endpoints.iter())?;
        }
        best.local.drawn.set(draw);
        Some(best)
    }

    /// The one with the fewest requests in flight for its weight; among equals the one that has
    /// waited longest.
    fn best<'u>(
        &self,
        candidates: impl Iterator<Item = &'u CompiledEndpoint>,
    ) -> Option<Picked<'u>> {
        candidates
            .map(|endpoint| Picked { endpoint, local: self.pools.local(&endpoint.state) })
            .min_by_key(|picked| {
                let Picked { endpoint, local } = picked;
                let load = (u64::from(local.in_flight.get()) + 1) * 65_536
                    / u64::from(endpoint.weight.max(1));
                (self.reluctance(local, endpoint), load, local.drawn.get())
            })
    }

    fn in_turn<'u>(&self, endpoints: &'u [CompiledEndpoint]) -> Option<Picked<'u>> {
        let picked = endpoints
            .iter()
            .map(|endpoint| Picked { endpoint, local: self.pools.local(&endpoint.state) })
            .min_by_key(|picked| {
                let reluctance = self.reluctance(&picked.local, picked.endpoint);
                (reluctance, picked.local.pass.get())
            })?;
        let step = STRIDE / u64::from(picked.endpoint.weight.max(1));
        picked.local.pass.set(picked.local.pass.get() + step);
        Some(picked)
    }

    /// Rendezvous: every worker and every replica gives a client the same endpoint, and when one
    /// goes only its own clients move.
    fn by_client<'u>(&self, endpoints: &'u [CompiledEndpoint]) -> Option<Picked<'u>> {
        endpoints
            .iter()
            .map(|endpoint| Picked { endpoint, local: self.pools.local(&endpoint.state) })
            .max_by_key(|picked| {
                let address = picked.endpoint.state.identity.address;
                let reluctance = self.reluctance(&picked.local, picked.endpoint);
                (u8::MAX - reluctance, rendezvous(self.client, address))
            })
    }
}

/// The endpoint that configuration alone determines, as long as it does not fail.
pub(crate) fn determined(upstream: &CompiledUpstream, client: IpAddr) -> Option<SocketAddr> {
    let addresses = || upstream.addresses();
    if let [_] = &*upstream.endpoints {
        return addresses().next();
    }
    upstream.affinity?;
    addresses().max_by_key(|address| rendezvous(client, *address))
}

/// A number that depends on client and endpoint alone, the same in every build.
fn rendezvous(client: IpAddr, endpoint: SocketAddr) -> u64 {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64;
    for word in [bits(client), bits(endpoint.ip()), u128::from(endpoint.port())] {
        for half in [word as u64, (word >> 64) as u64] {
            hash = mix(hash ^ half);
        }
    }
    hash
}

/// The finaliser of `SplitMix64`.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use model::{ObjectRef, Provenance, Sealed, Upstream, UpstreamId, UpstreamProtocol};

    use super::*;
    use crate::registry::{ConnectionIdentity, Registry};

    fn upstream(
        balancing: LoadBalancing,
        affinity: Option<Affinity>,
        weights: &[u16],
    ) -> CompiledUpstream {
        let mut registry = Registry::default();
        let endpoints = weights
            .iter()
            .zip(1_u16..)
            .map(|(&weight, port)| CompiledEndpoint {
                state: registry.endpoint(ConnectionIdentity {
                    address: ([10, 0, 0, 1], port).into(),
                    protocol: UpstreamProtocol::Http,
                    tls: None,
                }),
                weight,
            })
            .collect();
        let spec = Upstream {
            id: UpstreamId("default/web:80".into()),
            protocol: UpstreamProtocol::Http,
            tls: None,
            balancing,
            affinity,
            external_name: None,
            provenance: Provenance::new(ObjectRef::new("Service", "default", "web"), ""),
        };
        CompiledUpstream { spec: Sealed::new(spec), balancing, affinity, endpoints }
    }

    fn counts(upstream: &CompiledUpstream, picks: usize, client: IpAddr) -> Vec<usize> {
        let pools = Pools::default();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut counts: HashMap<u16, usize> = HashMap::new();
        for _ in 0..picks {
            let pick = Pick { pools: &pools, client, now: 0, tried: None };
            let picked = pick.endpoint(upstream, &mut rng).unwrap();
            *counts.entry(picked.endpoint.state.identity.address.port()).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable();
        counts.into_iter().map(|(_, count)| count).collect()
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn turns_follow_weights_exactly() {
        let upstream = upstream(LoadBalancing::RoundRobin, None, &[1, 2, 1]);
        assert_eq!(counts(&upstream, 400, CLIENT), [100, 200, 100]);
    }

    #[test]
    fn a_hundred_requests_reach_all_of_ten_endpoints() {
        let upstream = upstream(LoadBalancing::LeastRequest, None, &[1; 10]);
        assert_eq!(counts(&upstream, 100, CLIENT).len(), 10);
    }

    #[test]
    fn the_calmer_endpoint_of_two_is_picked() {
        let upstream = upstream(LoadBalancing::LeastRequest, None, &[1, 1]);
        let pools = Pools::default();
        let mut rng = fastrand::Rng::with_seed(1);
        pools.local(&upstream.endpoints[0].state).in_flight.set(3);
        for _ in 0..20 {
            let pick = Pick { pools: &pools, client: CLIENT, now: 0, tried: None };
            let picked = pick.endpoint(&upstream, &mut rng).unwrap();
            assert_eq!(picked.endpoint.state.identity.address.port(), 2);
        }
    }

    #[test]
    fn a_client_stays_with_one_endpoint() {
        let upstream = upstream(LoadBalancing::LeastRequest, Some(Affinity::ClientIp), &[1; 5]);
        assert_eq!(counts(&upstream, 50, CLIENT), [50]);
    }

    #[test]
    fn an_endpoint_that_failed_is_avoided_while_another_is_left() {
        let upstream = upstream(LoadBalancing::LeastRequest, None, &[1, 1]);
        let pools = Pools::default();
        let mut rng = fastrand::Rng::with_seed(1);
        pools.local(&upstream.endpoints[0].state).failed(0);
        for _ in 0..20 {
            let pick = Pick { pools: &pools, client: CLIENT, now: 1, tried: None };
            let picked = pick.endpoint(&upstream, &mut rng).unwrap();
            assert_eq!(picked.endpoint.state.identity.address.port(), 2);
        }
        pools.local(&upstream.endpoints[1].state).failed(0);
        let pick = Pick { pools: &pools, client: CLIENT, now: 1, tried: None };
        assert!(pick.endpoint(&upstream, &mut rng).is_some());
    }
}

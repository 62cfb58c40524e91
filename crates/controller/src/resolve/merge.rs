//! Answers into the table of endpoints.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use model::{
    Code, Diagnostic, Effect, Endpoint, EndpointTable, ExternalName, Model, Provenance, Upstream,
};

use translate::address::{OwnListeners, refusal};

use super::{Known, Query, Resolved, local_addresses};

/// Enters the addresses of names into `table`, and says what is wrong with them.
pub(crate) fn merge(
    model: &Model,
    known: &Known,
    own: &OwnListeners,
    table: &mut EndpointTable,
) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    // Read only where there is a name at all, which is seldom.
    let mut local: Option<BTreeSet<IpAddr>> = None;
    for (id, upstream) in &model.upstreams {
        let Some(external) = &upstream.external_name else { continue };
        // Not asked yet: neither endpoints nor complaints.
        let Some(resolved) = known.get(&Query::of(external)) else { continue };
        let local = local.get_or_insert_with(local_addresses);
        let (endpoints, refused) = usable(external, resolved, own, local);
        if let Some(why) = complaint(external, resolved, &refused, endpoints.is_empty()) {
            diagnostics.push(diagnostic(upstream, why, endpoints.is_empty()));
        }
        table.insert(id.clone(), endpoints.into());
    }
    diagnostics
}

type Refused = Vec<(IpAddr, &'static str)>;

fn usable(
    external: &ExternalName,
    resolved: &Resolved,
    own: &OwnListeners,
    local: &BTreeSet<IpAddr>,
) -> (Vec<Endpoint>, Refused) {
    let (mut endpoints, mut refused) = (Vec::new(), Vec::new());
    for &ip in &resolved.addresses {
        let address = SocketAddr::new(ip, external.port);
        match refusal(address, own, local) {
            Some(why) if !external.any_address => refused.push((ip, why)),
            _ => endpoints.push(Endpoint { address, weight: 1, terminating: false, zone: None }),
        }
    }
    (endpoints, refused)
}

/// A code and a sentence, if there is anything to say.
fn complaint(
    external: &ExternalName,
    resolved: &Resolved,
    refused: &Refused,
    is_empty: bool,
) -> Option<(Code, String)> {
    let name = &external.name;
    if let Some((address, why)) = refused.first() {
        return Some((Code::ExternalNameForbidden, format!("{name} resolves to {address}, {why}")));
    }
    let problem = match &resolved.problem {
        Some(problem) => problem,
        None if is_empty => "the name has no address",
        None => return None,
    };
    let rest = if is_empty { "" } else { "; its last addresses are used" };
    Some((Code::UnresolvedExternalName, format!("{name}: {problem}{rest}")))
}

fn diagnostic(upstream: &Upstream, (code, message): (Code, String), is_empty: bool) -> Diagnostic {
    let Provenance { object, field } = upstream.provenance.clone();
    Diagnostic {
        severity: code.info().severity,
        code,
        object,
        field,
        message,
        help: None,
        related: Vec::new(),
        effect: if is_empty { Effect::RouteResponds(503) } else { Effect::None },
    }
}

#[cfg(test)]
mod tests {
    use model::{LoadBalancing, ObjectRef, Sealed, UpstreamId, UpstreamProtocol};

    use super::*;

    fn model(any_address: bool) -> Model {
        let id = UpstreamId("shop/db:80".into());
        let upstream = Upstream {
            id: id.clone(),
            protocol: UpstreamProtocol::Http,
            tls: None,
            balancing: LoadBalancing::LeastRequest,
            affinity: None,
            external_name: Some(ExternalName {
                name: "db.example".into(),
                port: 80,
                search: false,
                any_address,
            }),
            provenance: Provenance::new(
                ObjectRef::new("Service", "shop", "db"),
                "spec.externalName",
            ),
        };
        Model { upstreams: [(id, Sealed::new(upstream))].into(), ..Model::default() }
    }

    fn merged(any_address: bool, resolved: Option<Resolved>) -> (Vec<String>, Vec<String>) {
        let model = model(any_address);
        let query = Query { name: "db.example".into(), search: false };
        let known = resolved.into_iter().map(|resolved| (query.clone(), resolved)).collect();
        let mut table = EndpointTable::new();
        let said = merge(&model, &known, &OwnListeners::default(), &mut table);
        let endpoints = table.values().flat_map(|e| e.iter()).map(|e| e.address.to_string());
        (endpoints.collect(), said.iter().map(|d| format!("{d}")).collect())
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_get_the_port_of_the_service() {
        let resolved =
            Resolved { addresses: addresses(&["192.0.2.1", "2001:db8::1"]), problem: None };
        let (endpoints, said) = merged(false, Some(resolved));
        assert_eq!(endpoints, ["192.0.2.1:80", "[2001:db8::1]:80"]);
        assert_eq!(said, [""; 0]);
    }

    #[test]
    fn a_name_must_not_lead_to_this_machine_unless_any_address_may_be_used() {
        let resolved =
            Resolved { addresses: addresses(&["127.0.0.1", "192.0.2.1"]), problem: None };
        let (endpoints, said) = merged(false, Some(resolved.clone()));
        assert_eq!(endpoints, ["192.0.2.1:80"]);
        assert_eq!(
            said,
            ["error[external-name-forbidden] Service shop/db spec.externalName: db.example \
              resolves to 127.0.0.1, a loopback address"]
        );
        assert_eq!(merged(true, Some(resolved)).0, ["127.0.0.1:80", "192.0.2.1:80"]);
    }

    #[test]
    fn a_stale_answer_is_used_and_told() {
        let problem = Some("timed out".to_owned());
        let resolved = Resolved { addresses: addresses(&["192.0.2.1"]), problem };
        let (endpoints, said) = merged(false, Some(resolved));
        assert_eq!(endpoints, ["192.0.2.1:80"]);
        assert_eq!(
            said,
            ["warning[unresolved-external-name] Service shop/db spec.externalName: db.example: \
              timed out; its last addresses are used"]
        );
    }

    #[test]
    fn a_name_that_was_not_asked_yet_is_not_complained_about() {
        assert_eq!(merged(false, None), (vec![], vec![]));
    }
}

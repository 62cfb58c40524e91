//! The Service that brings traffic: its addresses, its pods, and who ends TLS in front of it.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;

use super::ask::{Asked, Asker};
use super::{Check, CheckSettings, Expected};
use crate::report::{Address, OfService, of_service};

const SERVICE: &str = "service-address";
const PODS: &str = "service-pods";
const TLS: &str = "tls-in-front";

/// Annotations by which load balancers of clouds are given a certificate: TLS ends there.
const ENDS_TLS: &[&str] = &[
    "service.beta.kubernetes.io/aws-load-balancer-ssl-cert",
    "service.beta.kubernetes.io/do-loadbalancer-certificate-id",
    "service.beta.kubernetes.io/do-loadbalancer-certificate-name",
    "service.beta.kubernetes.io/alibaba-cloud-loadbalancer-cert-id",
    "service.beta.kubernetes.io/oci-load-balancer-tls-secret",
    "service.beta.kubernetes.io/scw-loadbalancer-certificate-ids",
    "service.beta.kubernetes.io/vultr-loadbalancer-ssl",
    "load-balancer.hetzner.cloud/http-certificates",
    "loadbalancer.openstack.org/default-tls-container-ref",
    "kubernetes.civo.com/loadbalancer-tls-secret",
];

/// Asks for the Service and its endpoints.
pub(super) async fn look(asker: &Asker, settings: &CheckSettings) -> Vec<Check> {
    let Some(expected) = &settings.service else {
        return vec![Check::skipped(SERVICE, "addresses are told that are no Service's")];
    };
    let namespace = &expected.object.namespace;
    let services = Api::<Service>::namespaced(asker.client.clone(), namespace);
    let service = asker.get(&services, &expected.object.name).await;
    let service = match found(expected, service) {
        Ok(service) => service,
        Err(check) => return vec![check],
    };
    let ready = ready(asker, namespace, &expected.object.name).await;
    let name = expected.object.to_string();
    let mut checks = vec![judge_address(&name, &service), judge_pods(PODS, &name, &ready)];
    checks.push(judge_tls(&name, &service, settings.trusts_proxies));
    checks
}

fn found(expected: &Expected, asked: Asked<Service>) -> Result<Service, Check> {
    let object = &expected.object;
    match asked {
        Asked::Found(service) => Ok(service),
        Asked::Absent if expected.is_guess => Err(Check::skipped(
            SERVICE,
            format!("there is no Service {object}; --publish-service names another"),
        )),
        Asked::Absent => Err(Check::error(
            SERVICE,
            format!("there is no Service {object}, and so no address for the status of Ingresses"),
            "create the Service, or name it with --publish-service",
        )),
        Asked::Unknown(why) => {
            Err(Check::skipped(SERVICE, format!("Service {object} cannot be asked for: {why}")))
        }
    }
}

/// How many endpoints of a Service are ready.
pub(super) async fn ready(asker: &Asker, namespace: &str, service: &str) -> Asked<usize> {
    let slices = Api::<EndpointSlice>::namespaced(asker.client.clone(), namespace);
    let labels = format!("kubernetes.io/service-name={service}");
    asker.list(&slices, &labels).await.map(|slices| {
        let endpoints = slices.into_iter().filter_map(|slice| slice.endpoints).flatten();
        // Who says nothing of it is ready.
        let is_ready = |conditions: Option<bool>| conditions.unwrap_or(true);
        endpoints
            .filter(|one| is_ready(one.conditions.as_ref().and_then(|all| all.ready)))
            .map(|one| one.addresses.len())
            .sum()
    })
}

fn judge_address(name: &str, service: &Service) -> Check {
    let type_ = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    let type_ = type_.unwrap_or("ClusterIP");
    match of_service(service) {
        OfService::Known(addresses) if addresses.is_empty() => Check::error(
            SERVICE,
            format!("Service {name} ({type_}) has no address yet: nobody outside reaches it"),
            "wait for the cloud; where nothing gives addresses to load balancers, use type \
             NodePort, or the host's network as the guide for bare metal has it",
        ),
        OfService::Known(addresses) if type_ == "ClusterIP" => Check::warning(
            SERVICE,
            format!("Service {name} is reached from within the cluster alone: {}", all(&addresses)),
            "make it of type LoadBalancer or NodePort, unless something else leads to it",
        ),
        OfService::Known(addresses) => {
            Check::ok(SERVICE, format!("Service {name} ({type_}) has {}", all(&addresses)))
        }
        OfService::Nodes { .. } => {
            let message =
                format!("Service {name} ({type_}) is reached by the nodes under its pods");
            Check::ok(SERVICE, message)
        }
    }
}

fn all(addresses: &[Address]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether anybody is behind a Service.
pub(super) fn judge_pods(id: &'static str, name: &str, ready: &Asked<usize>) -> Check {
    match ready {
        Asked::Found(0) | Asked::Absent => Check::error(
            id,
            format!("no pod is ready behind Service {name}"),
            "see `kubectl get pods` in its namespace, and why they are not ready in their log; \
             that the selector of the Service is theirs",
        ),
        Asked::Found(count) => {
            let message = format!("endpoints that are ready behind Service {name}: {count}");
            Check::ok(id, message)
        }
        Asked::Unknown(why) => {
            Check::skipped(id, format!("endpoints of Service {name} cannot be asked for: {why}"))
        }
    }
}

fn judge_tls(name: &str, service: &Service, trusts_proxies: bool) -> Check {
    let annotations = service.metadata.annotations.as_ref();
    let has = |annotation: &&&str| annotations.is_some_and(|all| all.contains_key(**annotation));
    match ENDS_TLS.iter().find(has) {
        None => {
            Check::ok(TLS, format!("no annotation of Service {name} has TLS ended in front of it"))
        }
        Some(annotation) if trusts_proxies => Check::ok(
            TLS,
            format!("TLS ends in front of Service {name} (`{annotation}`), by a trusted proxy"),
        ),
        Some(annotation) => Check::error(
            TLS,
            format!(
                "TLS ends in front of Service {name} (`{annotation}`), and no proxy is trusted: \
                 requests that came by HTTPS are redirected to HTTPS without end"
            ),
            "name the load balancer's addresses with --trusted-proxies, or let TLS pass through it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Named, Outcome};
    use super::*;

    fn service(value: Value) -> Service {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_load_balancer_that_is_still_to_come_is_an_error() {
        let pending =
            service(json!({ "spec": { "type": "LoadBalancer", "clusterIP": "10.0.0.1" } }));
        assert_eq!(judge_address("a/b", &pending).outcome, Outcome::Error);
        let given = service(json!({
            "spec": { "type": "LoadBalancer", "clusterIP": "10.0.0.1" },
            "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } },
        }));
        let check = judge_address("a/b", &given);
        assert_eq!(check.outcome, Outcome::Ok);
        assert!(check.message.contains("192.0.2.1"), "{}", check.message);
    }

    #[test]
    fn what_is_reached_from_inside_alone_is_a_warning() {
        let inside = service(json!({ "spec": { "clusterIP": "10.0.0.1" } }));
        assert_eq!(judge_address("a/b", &inside).outcome, Outcome::Warning);
        let nodes = service(json!({ "spec": {
            "type": "NodePort", "clusterIP": "10.0.0.1", "selector": { "app": "a" },
        } }));
        assert_eq!(judge_address("a/b", &nodes).outcome, Outcome::Ok);
    }

    #[test]
    fn tls_that_ends_in_front_needs_trust() {
        let annotations = json!({ ENDS_TLS[0]: "arn:aws:acm:test" });
        let ends = service(json!({ "metadata": { "annotations": annotations } }));
        let check = judge_tls("a/b", &ends, false);
        assert_eq!(check.outcome, Outcome::Error);
        assert!(check.remedy.unwrap_or_default().contains("--trusted-proxies"));
        assert_eq!(judge_tls("a/b", &ends, true).outcome, Outcome::Ok);
        assert_eq!(judge_tls("a/b", &Service::default(), false).outcome, Outcome::Ok);
    }

    #[test]
    fn a_service_that_nobody_named_may_be_elsewhere() {
        let object = Named { namespace: "a".into(), name: "b".into() };
        let expected = |is_guess| Expected { object: object.clone(), is_guess };
        let outcome = |is_guess| found(&expected(is_guess), Asked::Absent).unwrap_err().outcome;
        assert_eq!(outcome(true), Outcome::Skipped);
        assert_eq!(outcome(false), Outcome::Error);
        assert_eq!(judge_pods(PODS, "a/b", &Asked::Found(0)).outcome, Outcome::Error);
        assert_eq!(
            judge_pods(PODS, "a/b", &Asked::Unknown("why".into())).outcome,
            Outcome::Skipped
        );
    }
}

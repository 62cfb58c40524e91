//! The replicas: that one leads, that all serve the same, and that no other installation is in
//! their way.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use super::ask::{Asked, Asker};
use super::{Check, CheckSettings, Named};
use crate::report::{Condition, ELECTION, Replicas, replicas, seen};

const REPLICAS: &str = "replicas";
const LEADER: &str = "leader";
const OTHERS: &str = "other-installations";

/// Asks for the Leases of all replicas, ours and others.
pub(super) async fn look(asker: &Asker, settings: &CheckSettings) -> Vec<Check> {
    let Some(lease) = &settings.lease else {
        return vec![Check::skipped(REPLICAS, "this installation takes part in no election")];
    };
    let clients = &settings.cluster.clients;
    let all = match replicas(clients, &lease.namespace, &lease.name).await {
        Ok(all) => all,
        Err(why) => {
            let why = format!("Leases in namespace `{}` cannot be read: {why}", lease.namespace);
            return vec![Check::skipped(REPLICAS, why)];
        }
    };
    let mut checks = judge(&all, lease);
    let everywhere = Api::<Lease>::all(asker.client.clone());
    checks.push(judge_others(asker.list(&everywhere, ELECTION).await, lease, all.now));
    checks
}

fn judge(all: &Replicas, lease: &Named) -> Vec<Check> {
    let alive: Vec<_> = all.replicas.iter().filter(|replica| all.is_alive(replica)).collect();
    if alive.is_empty() {
        let message = format!("no replica of {lease} is alive");
        let remedy = "before installing that is as it should be; otherwise see `kubectl get pods` \
                      in its namespace, and whether the pods may write Leases";
        return vec![Check::warning(REPLICAS, message, remedy)];
    }
    let mut checks = Vec::new();
    for replica in &all.replicas {
        let name = &replica.name;
        let (message, remedy) = match all.condition(replica) {
            Condition::Current | Condition::Following => continue,
            Condition::Lagging => (
                format!("{name} lags behind: it has not served the newest configuration yet"),
                "look at its log and at `portcullis_watch_*` of its metrics: it may be cut off \
                 from the API server",
            ),
            Condition::Starting => (
                format!("{name} serves nothing yet"),
                "wait, and if it goes on, see in its log what it waits for",
            ),
            Condition::Lost => (
                format!("{name} has not been heard of for {} s", all.now - replica.seen),
                "see whether its pod is there; the leader forgets it after 20 minutes",
            ),
        };
        checks.push(Check::warning(REPLICAS, message, remedy));
    }
    if checks.is_empty() {
        let message = format!("alive, with the newest configuration: {}", alive.len());
        checks.push(Check::ok(REPLICAS, message));
    }
    checks.push(if let Some(leader) = alive.iter().find(|replica| replica.is_leader) {
        Check::ok(LEADER, format!("{} leads", leader.name))
    } else {
        let holder = all.leader.as_deref().map_or_else(
            || "nobody leads".to_owned(),
            |holder| format!("{holder} leads and is not alive"),
        );
        let remedy = "wait half a minute for an heir, and if there is none, see whether the pods \
                      may write the Lease";
        Check::error(LEADER, format!("{holder}: status and Events are not written"), remedy)
    });
    checks
}

/// Whether replicas of another election are alive.
fn judge_others(leases: Asked<Vec<Lease>>, ours: &Named, now: i64) -> Check {
    let leases = match leases {
        Asked::Found(leases) => leases,
        Asked::Absent => Vec::new(),
        Asked::Unknown(why) => {
            let why = format!("Leases of all namespaces cannot be asked for: {why}");
            return Check::skipped(OTHERS, why);
        }
    };
    let mut others: Vec<String> = leases
        .iter()
        .filter(|lease| seen(lease, now))
        .filter_map(|lease| {
            let name = lease.metadata.labels.as_ref()?.get(ELECTION)?.clone();
            Some(Named { namespace: lease.metadata.namespace.clone()?, name })
        })
        .filter(|election| election != ours)
        .map(|election| election.to_string())
        .collect();
    others.sort();
    others.dedup();
    if others.is_empty() {
        return Check::ok(OTHERS, "no other installation is alive");
    }
    let message = format!(
        "other installations are alive: {}; where two serve one class, each overwrites what the \
         other tells in the status of its Ingresses",
        others.join(", ")
    );
    let remedy = "give each classes of its own by --controller-name or --ingress-class, or \
                  namespaces of its own by --watch-namespace";
    Check { objects: others, ..Check::warning(OTHERS, message, remedy) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;
    use crate::report::{Replica, sample};

    fn outcomes(replicas: Vec<Replica>, now: i64) -> Vec<(&'static str, Outcome)> {
        let all = Replicas { replicas, leader: Some("a_1".into()), now };
        let lease = Named { namespace: "n".into(), name: "l".into() };
        judge(&all, &lease).into_iter().map(|check| (check.id, check.outcome)).collect()
    }

    #[test]
    fn replicas_that_serve_the_newest_under_a_leader_are_ok() {
        let both = vec![sample("a", Some("x"), 1, 100), sample("b", Some("x"), 2, 100)];
        assert_eq!(outcomes(both, 100), [(REPLICAS, Outcome::Ok), (LEADER, Outcome::Ok)]);
    }

    #[test]
    fn who_lags_and_a_leader_who_is_dead_are_told() {
        let lags = vec![sample("a", Some("x"), 50, 100), sample("b", Some("o"), 2, 100)];
        assert_eq!(outcomes(lags, 100), [(REPLICAS, Outcome::Warning), (LEADER, Outcome::Ok)]);
        let dead = vec![sample("a", Some("x"), 1, 1), sample("b", Some("x"), 2, 100)];
        assert_eq!(outcomes(dead, 100), [(REPLICAS, Outcome::Warning), (LEADER, Outcome::Error)]);
        assert_eq!(outcomes(Vec::new(), 100), [(REPLICAS, Outcome::Warning)]);
    }

    #[test]
    fn another_installation_counts_while_it_lives() {
        let lease = |namespace: &str, renewed: &str| -> Lease {
            let labels = json!({ ELECTION: "l" });
            let metadata = json!({ "name": "l.pod", "namespace": namespace, "labels": labels });
            let spec = json!({ "renewTime": renewed });
            serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
        };
        let ours = Named { namespace: "n".into(), name: "l".into() };
        let outcome = |leases| judge_others(Asked::Found(leases), &ours, 100).outcome;
        let (lately, long_ago) = ("1970-01-01T00:01:30.000000Z", "1970-01-01T00:00:01.000000Z");
        assert_eq!(outcome(vec![lease("n", lately), lease("m", long_ago)]), Outcome::Ok);
        assert_eq!(outcome(vec![lease("n", lately), lease("m", lately)]), Outcome::Warning);
    }
}

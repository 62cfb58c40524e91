//! Each replica says, on a Lease of its own, that it lives and what it serves; and whoever may read
//! Leases sees all of them.
//!
//! Leases are where Kubernetes' own components say that they live, can be read from wherever
//! kubectl works, and need no network between the replicas. The generation is in an annotation.
//!
//! A replica that ends removes its Lease. Those of replicas that were killed are removed by the
//! leader, when it has not seen them change for [`DEAD`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;
use translate::Translation;

use super::ReportSettings;
use super::complaint::{Complaint, reason};
use super::lease::Leadership;
use crate::cluster::Clients;

/// On every such Lease: the election that its replica takes part in.
pub(crate) const ELECTION: &str = "portcullis.io/election";
const GENERATION: &str = "portcullis.io/generation";
const SINCE: &str = "portcullis.io/serving-since";
const VERSION: &str = "portcullis.io/version";
const NODE: &str = "portcullis.io/node";

/// How often a replica says that it lives, as often as nodes do.
const RENEW: Duration = Duration::from_secs(10);

/// How long a replica that says nothing is taken for alive.
pub(crate) const ALIVE_SECONDS: i32 = 40;

/// A replica that serves something else than the newest for this long lags behind, in seconds.
const LAG: i64 = 10;

/// Between two writes there is at least this much time.
const SPACING: Duration = Duration::from_secs(1);

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the leader looks for what killed replicas left, and when it takes one for killed.
const LOOK: Duration = Duration::from_mins(5);
const DEAD: Duration = Duration::from_mins(20);

/// The longest value of a label.
const LABEL_MAX: usize = 63;

/// A replica as it says it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    /// The name of its pod.
    pub name: String,
    /// The name of its node; empty where it does not know.
    pub node: String,
    /// The version of the program.
    pub version: String,
    /// The generation that it serves; none before the first.
    pub generation: Option<String>,
    /// Since when, in seconds since the epoch.
    pub serving_since: Option<i64>,
    /// When it said so last, in seconds since the epoch.
    pub seen: i64,
    /// It takes part in the election, and leads.
    pub is_leader: bool,
}

/// All replicas that take part in an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// By name.
    pub replicas: Vec<Replica>,
    /// The holder of the Lease; none where nobody holds it.
    pub leader: Option<String>,
    /// The time of the API server, in seconds since the epoch.
    pub now: i64,
}

impl Replicas {
    /// Whether a replica has been heard of lately.
    #[must_use]
    pub fn is_alive(&self, replica: &Replica) -> bool {
        self.now - replica.seen <= i64::from(ALIVE_SECONDS)
    }
}

/// How a replica is, among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It serves the newest.
    Current,
    /// It has yet to serve the newest, which is new.
    Following,
    /// It should long serve the newest.
    Lagging,
    /// It serves nothing yet.
    Starting,
    /// It has not been heard of.
    Lost,
}

impl Replicas {
    /// How one of them is.
    ///
    /// What the replica that changed last serves is the newest; who serves something else has as
    /// long as that is old to serve it, too.
    #[must_use]
    pub fn condition(&self, replica: &Replica) -> Condition {
        if !self.is_alive(replica) {
            return Condition::Lost;
        }
        if replica.generation.is_none() {
            return Condition::Starting;
        }
        let alive = self.replicas.iter().filter(|other| self.is_alive(other));
        let newest = alive.max_by_key(|other| other.serving_since);
        // The first that served the newest tells how long it is there for all.
        let newest = newest.and_then(|newest| newest.generation.as_deref());
        if newest == replica.generation.as_deref() {
            return Condition::Current;
        }
        let serves_newest = |other: &&Replica| other.generation.as_deref() == newest;
        let serving = self.replicas.iter().filter(serves_newest);
        match serving.filter_map(|other| other.serving_since).min() {
            Some(first) if self.now - first > LAG => Condition::Lagging,
            _ => Condition::Following,
        }
    }
}

/// Whether the replica of this Lease has been heard of lately.
pub(crate) fn seen(lease: &Lease, now: i64) -> bool {
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    renewed.is_some_and(|time| now - time.0.as_second() <= i64::from(ALIVE_SECONDS))
}

/// Whether another replica than this one lives; `false` where nobody may know.
pub(crate) async fn has_others(clients: &Clients, settings: &ReportSettings) -> bool {
    let found = replicas(clients, &settings.lease_namespace, &settings.lease_name).await;
    found.is_ok_and(|all| {
        all.replicas.iter().any(|replica| replica.name != settings.pod && all.is_alive(replica))
    })
}

/// Asks the API server for the replicas of an election.
///
/// # Errors
/// In words, when it refuses or does not answer.
pub async fn replicas(clients: &Clients, namespace: &str, lease: &str) -> Result<Replicas, String> {
    let asked = async {
        let leases: Api<Lease> = Api::namespaced(clients.reading.clone(), namespace);
        let election = leases.get_opt(lease).await?;
        let selector = format!("{ELECTION}={}", label(lease));
        let list = leases.list(&ListParams::default().labels(&selector)).await?;
        // The time of the server's clock; that of this machine may be any.
        let whoami = Api::<SelfSubjectReview>::all(clients.reading.clone());
        let whoami = whoami.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        let created = whoami.ok().and_then(|review| review.metadata.creation_timestamp);
        let now = created.map_or_else(Timestamp::now, |created| created.0).as_second();
        Ok((election, list.items, now))
    };
    let (election, list, now) = match timeout(PATIENCE * 2, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(reason(&error)),
        Err(_) => return Err("no answer in time".to_owned()),
    };
    let leader = holder(election.as_ref());
    let mut replicas: Vec<Replica> =
        list.iter().map(|one| replica(one, leader.as_deref())).collect();
    replicas.sort();
    Ok(Replicas { replicas, leader, now })
}

fn holder(lease: Option<&Lease>) -> Option<String> {
    let holder = lease?.spec.as_ref()?.holder_identity.clone()?;
    (!holder.is_empty()).then_some(holder)
}

fn replica(lease: &Lease, leader: Option<&str>) -> Replica {
    let annotation = |name: &str| lease.metadata.annotations.as_ref()?.get(name).cloned();
    let spec = lease.spec.clone().unwrap_or_default();
    let identity = spec.holder_identity.unwrap_or_default();
    let name = identity.rsplit_once('_').map_or(&*identity, |(pod, _)| pod);
    Replica {
        name: name.to_owned(),
        node: annotation(NODE).unwrap_or_default(),
        version: annotation(VERSION).unwrap_or_default(),
        generation: annotation(GENERATION),
        serving_since: annotation(SINCE)
            .and_then(|since| since.parse::<Timestamp>().ok())
            .map(Timestamp::as_second),
        seen: spec.renew_time.map_or(0, |time| time.0.as_second()),
        is_leader: leader == Some(&*identity),
    }
}

/// What of a Lease's name is the value of a label.
fn label(lease: &str) -> &str {
    let label = &lease[..lease.floor_char_boundary(LABEL_MAX)];
    label.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
}

/// The name of the Lease of a replica.
fn lease_name(election: &str, pod: &str) -> String {
    let pod = pod.to_ascii_lowercase();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' };
    let name: String = format!("{election}.{pod}").chars().map(allowed).take(253).collect();
    name.trim_end_matches(['-', '.']).to_owned()
}

/// What this replica says of itself.
pub(crate) struct Presence {
    pub(crate) leases: Api<Lease>,
    pub(crate) settings: ReportSettings,
    pub(crate) identity: String,
    pub(crate) served: watch::Receiver<Option<Arc<Translation>>>,
    pub(crate) leadership: watch::Receiver<Leadership>,
}

impl Presence {
    /// Says it until told to stop, and takes it back then.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut complaint = Complaint::new("other replicas and `status` do not see this one");
        let name = lease_name(&self.settings.lease_name, &self.settings.pod);
        let mut served: Option<(String, Timestamp)> = None;
        let mut told = None;
        let mut left = Left::default();
        let mut looked = Instant::now();
        loop {
            let generation = self
                .served
                .borrow_and_update()
                .as_ref()
                .map(|served| served.model.generation().to_string());
            if generation.as_ref() != served.as_ref().map(|(generation, _)| generation) {
                served = generation.map(|generation| (generation, Timestamp::now()));
            }
            let now = Instant::now();
            if told.as_ref().is_none_or(|(known, at)| *known != served || now >= *at + RENEW) {
                match timeout(PATIENCE, self.tell(&name, served.as_ref())).await {
                    Ok(Ok(())) => complaint.mended(),
                    Ok(Err(error)) => complaint.about(now, &reason(&error)),
                    Err(_) => complaint.about(now, &"no answer in time"),
                }
                told = Some((served.clone(), now));
            }
            if now >= looked + LOOK && self.leadership.borrow().holds(now) {
                looked = now;
                // What is left now is left at the next look.
                let _ = timeout(PATIENCE, self.remove_left(&mut left)).await;
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(SPACING) => {}
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Ok(()) = self.served.changed() => {}
                () = tokio::time::sleep(RENEW.saturating_sub(SPACING)) => {}
            }
        }
        let _ = timeout(PATIENCE, self.leases.delete(&name, &DeleteParams::default())).await;
    }

    async fn tell(
        &self,
        name: &str,
        served: Option<&(String, Timestamp)>,
    ) -> Result<(), kube::Error> {
        let ReportSettings { lease_name, node, version, .. } = &self.settings;
        let mut annotations = BTreeMap::from([(VERSION, version.clone()), (NODE, node.clone())]);
        if let Some((generation, since)) = served {
            annotations.insert(GENERATION, generation.clone());
            annotations.insert(SINCE, since.to_string());
        }
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": name,
                "labels": { ELECTION: label(lease_name) },
                "annotations": annotations,
            },
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": ALIVE_SECONDS,
                "renewTime": MicroTime(Timestamp::now()),
            },
        });
        let params = PatchParams::apply(&self.settings.manager()).force();
        self.leases.patch(name, &params, &Patch::Apply(lease)).await.map(|_| ())
    }

    async fn remove_left(&self, left: &mut Left) -> Result<(), kube::Error> {
        let selector = format!("{ELECTION}={}", label(&self.settings.lease_name));
        let list = self.leases.list(&ListParams::default().labels(&selector)).await?;
        for name in left.dead(Instant::now(), &list.items) {
            tracing::info!(lease = name, "removed: its replica has not been heard of");
            self.leases.delete(&name, &DeleteParams::default()).await?;
        }
        Ok(())
    }
}

/// Since when each Lease has been seen as it is; as many as there are.
#[derive(Debug, Default)]
struct Left(BTreeMap<String, (Option<MicroTime>, Instant)>);

impl Left {
    /// Those that have not changed for too long.
    fn dead(&mut self, now: Instant, leases: &[Lease]) -> Vec<String> {
        let mut seen = BTreeMap::new();
        let mut dead = Vec::new();
        for lease in leases {
            let Some(name) = &lease.metadata.name else { continue };
            let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
            let since = match self.0.get(name) {
                Some((known, since)) if *known == renewed => *since,
                _ => now,
            };
            if now >= since + DEAD {
                dead.push(name.clone());
            } else {
                seen.insert(name.clone(), (renewed, since));
            }
        }
        self.0 = seen;
        dead
    }
}

/// A replica for tests: `a` leads; it serves a generation since a second, and was seen at another.
#[cfg(test)]
pub(crate) fn sample(name: &str, generation: Option<&str>, since: i64, seen: i64) -> Replica {
    Replica {
        name: name.into(),
        node: String::new(),
        version: "1.0.0".into(),
        generation: generation.map(Into::into),
        serving_since: generation.map(|_| since),
        seen,
        is_leader: name == "a",
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    fn conditions(replicas: Vec<Replica>, now: i64) -> Vec<Condition> {
        let all = Replicas { replicas, leader: Some("a_1".into()), now };
        all.replicas.iter().map(|one| all.condition(one)).collect()
    }

    #[test]
    fn who_serves_the_newest_is_current_and_others_have_a_moment() {
        let three = |now| {
            let all = vec![
                sample("a", Some("new"), 100, 100),
                sample("b", Some("new"), 101, 101),
                sample("c", Some("old"), 10, 100),
            ];
            conditions(all, now)
        };
        let then = |last| [Condition::Current, Condition::Current, last];
        assert_eq!(three(105), then(Condition::Following));
        assert_eq!(three(111), then(Condition::Lagging));
    }

    #[test]
    fn what_a_lost_replica_serves_is_not_the_newest() {
        let all = vec![
            sample("a", Some("old"), 10, 200),
            sample("b", Some("lost"), 100, 120),
            sample("c", None, 0, 200),
        ];
        let expected = [Condition::Current, Condition::Lost, Condition::Starting];
        assert_eq!(conditions(all, 200), expected);
    }

    fn lease(name: &str, renewed: i64) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.name = Some(name.into());
        let renew_time = Timestamp::from_second(renewed).ok().map(MicroTime);
        lease.spec = Some(LeaseSpec { renew_time, ..LeaseSpec::default() });
        lease
    }

    #[test]
    fn a_lease_that_nobody_renews_is_dead_whatever_its_time_says() {
        let (mut left, now) = (Left::default(), Instant::now());
        assert!(left.dead(now, &[lease("long-ago", 1), lease("living", 1)]).is_empty());
        assert!(left.dead(now + DEAD / 2, &[lease("long-ago", 1), lease("living", 2)]).is_empty());
        let dead = left.dead(now + DEAD, &[lease("long-ago", 1), lease("living", 2)]);
        assert_eq!(dead, ["long-ago"]);
        assert!(left.dead(now + DEAD, &[lease("living", 2)]).is_empty());
    }

    #[test]
    fn every_name_of_a_pod_makes_a_name_of_a_lease() {
        assert_eq!(lease_name("portcullis-leader", "gw-0"), "portcullis-leader.gw-0");
        assert_eq!(lease_name("leader", "My_Laptop."), "leader.my-laptop");
        assert_eq!(lease_name("leader", &"x".repeat(300)).len(), 253);
        assert_eq!(label(&format!("{}.b", "a".repeat(62))), "a".repeat(62));
    }

    #[test]
    fn what_a_replica_said_is_read_back() {
        let mut said = lease("leader.gw-0", 1_000);
        said.spec.as_mut().unwrap().holder_identity = Some("gw-0_1f".into());
        let annotations = [(GENERATION, "abc"), (SINCE, "1970-01-01T00:16:00Z"), (NODE, "n1")];
        let owned = annotations.map(|(name, value)| (name.to_owned(), value.to_owned()));
        said.metadata.annotations = Some(owned.into());
        let read = replica(&said, Some("gw-0_1f"));
        let expected = Replica {
            name: "gw-0".into(),
            node: "n1".into(),
            version: String::new(),
            generation: Some("abc".into()),
            serving_since: Some(960),
            seen: 1_000,
            is_leader: true,
        };
        assert_eq!(read, expected);
        let all = Replicas { replicas: vec![read.clone()], leader: None, now: 1_040 };
        assert!(all.is_alive(&read));
        assert!(!Replicas { now: 1_041, ..all }.is_alive(&read));
    }
}

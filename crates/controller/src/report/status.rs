//! Which Ingresses get which addresses into their status, and when.
//!
//! A plan without I/O: it is told what is served, what was seen and what came of each write, and
//! says what to write next. The latest wish of an object counts, there is no queue of wishes.
//!
//! What must hold: nothing is written that is not served; nothing is written where it stands
//! already; of what others wrote nothing is taken away.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use translate::{OurIngress, Translation};

use super::address::Address;
use super::observed::{IngressKey, Observed, Seen};

/// How many writes are under way at once.
pub(crate) const WRITES_MAX: usize = 4;

/// Between two writes of one object there is at least this much time.
const SPACING: Duration = Duration::from_secs(1);

/// Between two attempts that failed there is at most this much time.
const BACKOFF_MAX: Duration = Duration::from_mins(1);

/// What becomes of the addresses in a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// They are these.
    Publish(Vec<Address>),
    /// Those that we wrote go.
    Withdraw,
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done, or there is nothing left to do.
    Done,
    /// It must be looked at again: the object changed, or the write failed.
    Again,
}

/// Whether something of an Ingress is served; `None` for one that is not ours.
pub(crate) fn is_served(served: &Translation, key: &IngressKey) -> Option<bool> {
    served.ingress(&key.0, &key.1).map(OurIngress::is_programmed)
}

/// What must be written for an Ingress; `None` where all is as it should be.
///
/// An Ingress of ours of which nothing is served gets no address, but keeps one that it has: a name
/// that is taken out of DNS because of a slip is more than what was asked for. The same holds while
/// we have no address to tell.
pub(crate) fn wanted(seen: &Seen, is_served: Option<bool>, addresses: &[Address]) -> Option<Write> {
    match is_served {
        Some(true) if !addresses.is_empty() && seen.addresses != addresses => {
            Some(Write::Publish(addresses.to_vec()))
        }
        None if seen.has_ours() => Some(Write::Withdraw),
        _ => None,
    }
}

/// How long an Ingress with our addresses must be unserved before they are withdrawn. One is seen
/// before it is built, such as when its namespace is selected again; and names that are taken out
/// of DNS do not come back as quickly as routes do.
const WITHDRAW_AFTER: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Those that differed when they were last looked through, in order.
    due: VecDeque<IngressKey>,
    under_way: BTreeSet<IngressKey>,
    /// Those that were written of late, or could not be.
    attempts: HashMap<IngressKey, Attempt>,
    /// Since when those that are not served any more are not.
    leaving: HashMap<IngressKey, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    next: Instant,
    failures: u32,
}

impl Plan {
    /// Looks through all Ingresses for what must be written; answers when to look again although
    /// nothing has changed.
    pub(crate) fn look_through(
        &mut self,
        now: Instant,
        observed: &Observed,
        served: &Translation,
        addresses: &[Address],
    ) -> Option<Instant> {
        self.due.clear();
        let mut next: Option<Instant> = None;
        let mut differing = BTreeSet::new();
        let mut leaving = HashMap::new();
        observed.each(|key, seen| {
            let Some(write) = wanted(seen, is_served(served, key), addresses) else { return };
            differing.insert(key.clone());
            if matches!(write, Write::Withdraw) {
                let since = self.leaving.get(key).copied().unwrap_or(now);
                leaving.insert(key.clone(), since);
                if now < since + WITHDRAW_AFTER {
                    let at = since + WITHDRAW_AFTER;
                    next = Some(next.map_or(at, |next| next.min(at)));
                    return;
                }
            }
            if self.under_way.contains(key) {
                return;
            }
            match self.attempts.get(key) {
                Some(attempt) if now < attempt.next => {
                    next = Some(next.map_or(attempt.next, |next| next.min(attempt.next)));
                }
                _ => self.due.push_back(key.clone()),
            }
        });
        self.leaving = leaving;
        self.attempts.retain(|key, attempt| now < attempt.next || differing.contains(key));
        next
    }

    /// The next write to begin: at most [`WRITES_MAX`] are under way.
    pub(crate) fn begin(
        &mut self,
        observed: &Observed,
        served: &Translation,
        addresses: &[Address],
    ) -> Option<(IngressKey, Seen, Write)> {
        while self.under_way.len() < WRITES_MAX {
            let key = self.due.pop_front()?;
            // It may have become so since it was found.
            let Some(seen) = observed.get(&key) else { continue };
            let Some(write) = wanted(&seen, is_served(served, &key), addresses) else { continue };
            self.under_way.insert(key.clone());
            return Some((key, seen, write));
        }
        None
    }

    /// Whether some object could not be written when it was tried last.
    pub(crate) fn has_failures(&self) -> bool {
        self.attempts.values().any(|attempt| attempt.failures > 0)
    }

    /// A write has ended; answers when the object may be written again.
    pub(crate) fn ended(&mut self, now: Instant, key: &IngressKey, outcome: Outcome) -> Instant {
        self.under_way.remove(key);
        let failures = match outcome {
            Outcome::Done => 0,
            Outcome::Again => self.attempts.get(key).map_or(0, |attempt| attempt.failures) + 1,
        };
        let wait = SPACING * 2_u32.saturating_pow(failures.saturating_sub(1).min(6));
        let next = now + wait.min(BACKOFF_MAX);
        self.attempts.insert(key.clone(), Attempt { next, failures });
        next
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::{
        Ingress, IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use translate::ContentHash;

    use super::*;

    const OUR_NAME: &str = "portcullis";

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| Address::parse(text).unwrap()).collect()
    }

    fn key(name: &str) -> IngressKey {
        ("shop".into(), name.into())
    }

    fn ingress(name: &str, version: u32, ips: &[&str], manager: Option<&str>) -> Ingress {
        let entry = |ip: &&str| IngressLoadBalancerIngress {
            ip: Some((*ip).into()),
            ..IngressLoadBalancerIngress::default()
        };
        let managed = |manager: &str| ManagedFieldsEntry {
            manager: Some(manager.into()),
            subresource: Some("status".into()),
            ..ManagedFieldsEntry::default()
        };
        let mut ingress = Ingress::default();
        ingress.metadata.namespace = Some("shop".into());
        ingress.metadata.name = Some(name.into());
        ingress.metadata.uid = Some(name.into());
        ingress.metadata.resource_version = Some(version.to_string());
        ingress.metadata.managed_fields = Some(manager.into_iter().map(managed).collect());
        let balancer = IngressLoadBalancerStatus { ingress: Some(ips.iter().map(entry).collect()) };
        ingress.status = Some(IngressStatus { load_balancer: Some(balancer) });
        ingress
    }

    fn served(names: &[(&str, bool)]) -> Translation {
        let mut names = names.to_vec();
        names.sort_unstable();
        let ours = |&(name, is_served): &(&str, bool)| OurIngress {
            namespace: "shop".into(),
            name: name.into(),
            content: ContentHash([0; 16]),
            hosts: is_served.into(),
            routes: is_served.into(),
        };
        let mut served = Translation::default();
        served.ingresses = names.iter().map(ours).collect();
        served
    }

    /// Looks through once, and begins all that may begin.
    fn begun(
        plan: &mut Plan,
        now: Instant,
        observed: &Observed,
        served: &Translation,
        addresses: &[Address],
    ) -> Vec<(String, Write)> {
        plan.look_through(now, observed, served, addresses);
        let begin = || plan.begin(observed, served, addresses);
        std::iter::from_fn(begin).map(|(key, _, write)| (key.1.to_string(), write)).collect()
    }

    #[test]
    fn only_what_is_ours_and_served_gets_addresses() {
        let observed = Observed::new(OUR_NAME);
        for name in ["ours", "ours-broken", "theirs"] {
            observed.observe(&ingress(name, 1, &[], None));
        }
        let served = served(&[("ours", true), ("ours-broken", false)]);
        let addresses = addresses(&["192.0.2.1"]);
        let begun = begun(&mut Plan::default(), Instant::now(), &observed, &served, &addresses);
        assert_eq!(begun, [("ours".to_owned(), Write::Publish(addresses))]);
    }

    #[test]
    fn what_stands_there_is_not_written_whatever_its_order_and_whoever_wrote_it() {
        let observed = Observed::new(OUR_NAME);
        observed.observe(&ingress("web", 1, &["192.0.2.2", "192.0.2.1"], Some("another")));
        let served = served(&[("web", true)]);
        let addresses = addresses(&["192.0.2.1", "192.0.2.2"]);
        assert!(
            begun(&mut Plan::default(), Instant::now(), &observed, &served, &addresses).is_empty()
        );
    }

    #[test]
    fn what_stopped_being_ours_loses_what_we_wrote_and_nothing_else() {
        let observed = Observed::new(OUR_NAME);
        observed.observe(&ingress("moved", 1, &["192.0.2.1"], Some(OUR_NAME)));
        observed.observe(&ingress("taken-over", 1, &["192.0.2.1"], Some("another")));
        observed.observe(&ingress("empty", 1, &[], Some(OUR_NAME)));
        let (mut plan, now) = (Plan::default(), Instant::now());
        let addresses = addresses(&["192.0.2.1"]);
        let mut at = |now| begun(&mut plan, now, &observed, &served(&[]), &addresses);
        assert_eq!(at(now), []);
        assert_eq!(at(now + WITHDRAW_AFTER), [("moved".to_owned(), Write::Withdraw)]);
    }

    #[test]
    fn what_is_seen_before_it_is_built_keeps_its_addresses() {
        let observed = Observed::new(OUR_NAME);
        observed.observe(&ingress("web", 1, &["192.0.2.1"], Some(OUR_NAME)));
        let (mut plan, now) = (Plan::default(), Instant::now());
        let addresses = addresses(&["192.0.2.1"]);
        let second = Duration::from_secs(1);
        assert_eq!(begun(&mut plan, now, &observed, &served(&[]), &addresses), []);
        let built = served(&[("web", true)]);
        assert_eq!(begun(&mut plan, now + second, &observed, &built, &addresses), []);
        // It begins anew, should it go later.
        let later = now + WITHDRAW_AFTER;
        assert_eq!(begun(&mut plan, later, &observed, &served(&[]), &addresses), []);
    }

    #[test]
    fn what_is_ours_keeps_its_addresses_whatever_befalls_it() {
        let observed = Observed::new(OUR_NAME);
        observed.observe(&ingress("web", 1, &["192.0.2.1"], Some(OUR_NAME)));
        let now = Instant::now();
        let known = addresses(&["192.0.2.1"]);
        let broken = served(&[("web", false)]);
        assert!(begun(&mut Plan::default(), now, &observed, &broken, &known).is_empty());
        let well = served(&[("web", true)]);
        assert!(begun(&mut Plan::default(), now, &observed, &well, &[]).is_empty());
    }

    #[test]
    fn writes_under_way_are_bounded_and_one_for_each_object() {
        let observed = Observed::new(OUR_NAME);
        let names: Vec<String> = (0..10).map(|index| format!("web-{index}")).collect();
        for name in &names {
            observed.observe(&ingress(name, 1, &[], None));
        }
        let all: Vec<(&str, bool)> = names.iter().map(|name| (&**name, true)).collect();
        let (served, addresses) = (served(&all), addresses(&["192.0.2.1"]));
        let (mut plan, now) = (Plan::default(), Instant::now());
        assert_eq!(begun(&mut plan, now, &observed, &served, &addresses).len(), WRITES_MAX);
        assert!(begun(&mut plan, now, &observed, &served, &addresses).is_empty());
        plan.ended(now, &key("web-0"), Outcome::Done);
        let next = plan.begin(&observed, &served, &addresses).unwrap();
        assert_eq!(&*next.0.1, "web-4");
    }

    #[test]
    fn an_object_is_written_once_a_second_with_what_is_wanted_then() {
        let observed = Observed::new(OUR_NAME);
        observed.observe(&ingress("web", 1, &[], None));
        let served = served(&[("web", true)]);
        let (mut plan, now) = (Plan::default(), Instant::now());
        let first = addresses(&["192.0.2.1"]);
        assert_eq!(begun(&mut plan, now, &observed, &served, &first).len(), 1);
        observed.observe(&ingress("web", 2, &["192.0.2.1"], Some(OUR_NAME)));
        plan.ended(now, &key("web"), Outcome::Done);
        // Three wishes within the second: the last is written, when the second is over.
        for text in ["192.0.2.2", "192.0.2.3", "192.0.2.4"] {
            let wish = addresses(&[text]);
            assert!(begun(&mut plan, now, &observed, &served, &wish).is_empty());
        }
        let wish = addresses(&["192.0.2.4"]);
        let next = plan.look_through(now, &observed, &served, &wish);
        assert_eq!(next, Some(now + SPACING));
        let later = begun(&mut plan, now + SPACING, &observed, &served, &wish);
        assert_eq!(later, [("web".to_owned(), Write::Publish(wish))]);
    }

    #[test]
    fn failures_are_repeated_ever_more_slowly() {
        let (mut plan, now) = (Plan::default(), Instant::now());
        let wait =
            |plan: &mut Plan, outcome| (plan.ended(now, &key("web"), outcome) - now).as_secs();
        let waits: Vec<u64> = (0..9).map(|_| wait(&mut plan, Outcome::Again)).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(plan.has_failures());
        assert_eq!(wait(&mut plan, Outcome::Done), 1);
        assert!(!plan.has_failures());
        assert_eq!(wait(&mut plan, Outcome::Again), 1);
    }

    #[test]
    fn what_is_done_is_forgotten() {
        let observed = Observed::new(OUR_NAME);
        let (mut plan, now) = (Plan::default(), Instant::now());
        plan.ended(now, &key("web"), Outcome::Done);
        plan.look_through(now + SPACING, &observed, &served(&[]), &[]);
        assert!(plan.attempts.is_empty());
    }
}

//! Names to endpoints: Services of type `ExternalName`, resolved on the control runtime.
//!
//! One task per name asks, tells the compiler when the answer has changed, and asks again when the
//! answer's time to live has passed. While asking fails, the last answer stands; a name that is
//! known not to exist has no endpoints. The compiler merges the answers into the table it
//! publishes.

mod local;
mod lookup;
mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::{ExternalName, Model};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

pub use local::local_addresses;
pub(crate) use lookup::SystemLookup;
pub(crate) use merge::merge;

/// How long an answer holds at least and at most.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// How long to wait after the first failure; doubled for each further one up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(1);

/// How many addresses of one name are used.
pub(crate) const ADDRESSES_MAX: usize = 64;

/// How many names are resolved. Those beyond have no endpoints, and are told as unresolved.
const NAMES_MAX: usize = 10_000;

/// How many questions are under way at once.
const QUESTIONS_MAX: usize = 32;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Query {
    pub(crate) name: Box<str>,
    /// Whether the resolver's search list applies.
    pub(crate) search: bool,
}

impl Query {
    pub(crate) fn of(external: &ExternalName) -> Self {
        Self { name: external.name.clone(), search: external.search }
    }

    /// What a Model asks.
    pub(crate) fn all(model: &Model) -> BTreeSet<Self> {
        let names = model.upstreams.values().filter_map(|upstream| upstream.external_name.as_ref());
        names.map(Self::of).collect()
    }
}

/// What is known about a name now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Sorted, at most [`ADDRESSES_MAX`]; of the last answer, while asking fails.
    pub(crate) addresses: Vec<IpAddr>,
    /// Why there is no fresh answer.
    pub(crate) problem: Option<String>,
}

/// All that is known, by question.
pub(crate) type Known = BTreeMap<Query, Resolved>;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// An answer of the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The name has these addresses for so long.
    Addresses(Vec<IpAddr>, Duration),
    /// It has these, and nothing is known about those of the other family.
    Half { addresses: Vec<IpAddr>, ttl: Duration, missing: Family, why: String },
    /// The name is known to have none.
    NoSuchName(String),
    /// Nothing is known.
    Failed(String),
}

/// Whoever answers questions.
pub(crate) trait Lookup: Send + Sync + 'static {
    fn lookup(&self, query: &Query) -> impl Future<Output = Answer> + Send;
}

/// Where answers go: takes a change, or says that it could not be taken now.
pub(crate) type Tell = Arc<dyn Fn(&Query, &Resolved) -> bool + Send + Sync>;

/// The names that are being resolved. Stops when dropped.
pub(crate) struct Names<L> {
    runtime: Handle,
    lookup: Arc<L>,
    tell: Tell,
    permits: Arc<Semaphore>,
    running: BTreeMap<Query, AbortHandle>,
}

impl<L: Lookup> Names<L> {
    pub(crate) fn new(runtime: Handle, lookup: L, tell: Tell) -> Self {
        let permits = Arc::new(Semaphore::new(QUESTIONS_MAX));
        Self { runtime, lookup: Arc::new(lookup), tell, permits, running: BTreeMap::new() }
    }

    /// Resolves exactly these names from now on, and names those that are too many.
    pub(crate) fn want(&mut self, wanted: &BTreeSet<Query>) -> Vec<Query> {
        self.running.retain(|query, task| {
            let is_wanted = wanted.contains(query);
            if !is_wanted {
                task.abort();
            }
            is_wanted
        });
        let mut beyond = Vec::new();
        for query in wanted {
            if self.running.contains_key(query) {
                continue;
            }
            if self.running.len() >= NAMES_MAX {
                beyond.push(query.clone());
                continue;
            }
            let (lookup, tell) = (Arc::clone(&self.lookup), Arc::clone(&self.tell));
            let permits = Arc::clone(&self.permits);
            let task = self.runtime.spawn(keep_resolved(query.clone(), lookup, tell, permits));
            self.running.insert(query.clone(), task.abort_handle());
        }
        beyond
    }
}

impl<L> Drop for Names<L> {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

/// Asks for as long as the name is wanted.
async fn keep_resolved<L: Lookup>(
    query: Query,
    lookup: Arc<L>,
    tell: Tell,
    permits: Arc<Semaphore>,
) {
    let mut known = Resolved::default();
    let mut told: Option<Resolved> = None;
    let mut failures: u32 = 0;
    loop {
        let answer = {
            // The semaphore is never closed; without a permit the question would still be right.
            let _permit = permits.acquire().await.ok();
            lookup.lookup(&query).await
        };
        let pause = take(&mut known, answer, &mut failures);
        while told.as_ref() != Some(&known) {
            if tell(&query, &known) {
                told = Some(known.clone());
            } else {
                // The compiler has a full queue; it will have room when its build is done.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Takes an answer in, and says when to ask again.
fn take(known: &mut Resolved, answer: Answer, failures: &mut u32) -> Duration {
    let back_off = |failures: &mut u32| {
        let pause = RETRY_MIN.saturating_mul(1_u32.checked_shl(*failures).unwrap_or(u32::MAX));
        *failures = failures.saturating_add(1);
        pause.min(RETRY_MAX)
    };
    match answer {
        Answer::Addresses(addresses, ttl) => {
            *failures = 0;
            *known = Resolved { addresses: in_order(addresses), problem: None };
            ttl.clamp(*TTL.start(), *TTL.end())
        }
        Answer::Half { mut addresses, ttl, missing, why } => {
            // A server that never answers for one family is no reason to complain for ever.
            let stale = known.addresses.iter().filter(|address| missing.has(address));
            let problem = stale.clone().next().map(|_| why);
            addresses.extend(stale);
            *known = Resolved { addresses: in_order(addresses), problem };
            back_off(failures).min(ttl.clamp(*TTL.start(), *TTL.end()))
        }
        Answer::NoSuchName(why) => {
            *known = Resolved { addresses: Vec::new(), problem: Some(why) };
            back_off(failures)
        }
        Answer::Failed(why) => {
            known.problem = Some(why);
            back_off(failures)
        }
    }
}

/// Addresses in their order, each once, and no more than are used.
fn in_order(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    for address in &mut addresses {
        *address = address.to_canonical();
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Script(Mutex<Vec<Answer>>);

    impl Lookup for Script {
        async fn lookup(&self, _query: &Query) -> Answer {
            let mut answers = self.0.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
        }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn query() -> Query {
        Query { name: "db.example".into(), search: false }
    }

    type Heard = Arc<Mutex<Vec<(tokio::time::Instant, Resolved)>>>;

    /// What is told over `time`, with a clock of its own that runs as fast as there is nothing to
    /// do.
    fn told(answers: Vec<Answer>, time: Duration) -> Vec<(Duration, Resolved)> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let heard = Heard::default();
            let sink = Arc::clone(&heard);
            let tell: Tell = Arc::new(move |_, resolved| {
                sink.lock().unwrap().push((tokio::time::Instant::now(), resolved.clone()));
                true
            });
            let started = tokio::time::Instant::now();
            let script = Script(Mutex::new(answers));
            let mut names = Names::new(Handle::current(), script, tell);
            assert!(names.want(&BTreeSet::from([query()])).is_empty());
            tokio::time::sleep(time).await;
            let heard = heard.lock().unwrap().clone();
            heard.into_iter().map(|(at, what)| (at - started, what)).collect()
        })
    }

    fn fresh(addresses: &[u8]) -> Resolved {
        Resolved { addresses: addresses.iter().map(|&last| ip(last)).collect(), problem: None }
    }

    #[test]
    fn a_name_is_asked_again_when_its_time_to_live_has_passed_and_only_changes_are_told() {
        let seconds = Duration::from_secs;
        let answers = vec![
            Answer::Addresses(vec![ip(2), ip(1), ip(2)], seconds(30)),
            Answer::Addresses(vec![ip(1), ip(2)], seconds(30)),
            Answer::Addresses(vec![ip(3)], seconds(30)),
        ];
        let told = told(answers, seconds(100));
        assert_eq!(told, [(seconds(0), fresh(&[1, 2])), (seconds(60), fresh(&[3]))]);
    }

    #[test]
    fn a_time_to_live_is_held_between_one_second_and_one_hour() {
        let mut known = Resolved::default();
        let mut pause = |ttl| take(&mut known, Answer::Addresses(vec![], ttl), &mut 0);
        assert_eq!(pause(Duration::ZERO), Duration::from_secs(1));
        assert_eq!(pause(Duration::from_secs(77)), Duration::from_secs(77));
        assert_eq!(pause(Duration::from_secs(1 << 40)), Duration::from_hours(1));
    }

    #[test]
    fn the_last_answer_stands_while_asking_fails() {
        let answers = vec![
            Answer::Addresses(vec![ip(1)], Duration::from_secs(5)),
            Answer::Failed("timed out".into()),
            Answer::Addresses(vec![ip(1)], Duration::from_secs(5)),
        ];
        let told = told(answers, Duration::from_secs(20));
        let stale = Resolved { problem: Some("timed out".into()), ..fresh(&[1]) };
        let states: Vec<_> = told.into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, [fresh(&[1]), stale, fresh(&[1])]);
    }

    #[test]
    fn while_one_family_fails_its_last_addresses_stand_beside_the_others() {
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let half = |addresses, missing| {
            let (ttl, why) = (Duration::from_secs(30), "timed out".to_owned());
            Answer::Half { addresses, ttl, missing, why }
        };
        let mut known = Resolved::default();
        let mut take = |answer| {
            take(&mut known, answer, &mut 0);
            (known.addresses.clone(), known.problem.is_some())
        };
        let first = take(half(vec![ip(1)], Family::V6));
        assert_eq!(first, (vec![ip(1)], false), "there is nothing to miss");
        take(Answer::Addresses(vec![ip(1), v6(1)], Duration::from_secs(30)));
        assert_eq!(take(half(vec![ip(2)], Family::V6)), (vec![ip(2), v6(1)], true));
        assert_eq!(take(half(vec![v6(2)], Family::V4)), (vec![ip(2), v6(2)], true));
        let whole = take(Answer::Addresses(vec![ip(3)], Duration::from_secs(30)));
        assert_eq!(whole, (vec![ip(3)], false));
    }

    #[test]
    fn a_name_that_does_not_exist_any_more_has_no_endpoints() {
        let answers = vec![
            Answer::Addresses(vec![ip(1)], Duration::from_secs(5)),
            Answer::NoSuchName("no such name".into()),
        ];
        let told = told(answers, Duration::from_secs(20));
        assert!(told.last().unwrap().1.addresses.is_empty());
    }

    #[test]
    fn failures_are_asked_about_ever_more_seldom() {
        let (mut known, mut failures) = (Resolved::default(), 0);
        let mut pauses = Vec::new();
        for _ in 0..40 {
            pauses.push(take(&mut known, Answer::Failed("x".into()), &mut failures).as_secs());
        }
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(pauses[8..].iter().all(|&pause| pause == 60));
    }

    #[test]
    fn no_more_than_64_addresses_are_used() {
        let mut known = Resolved::default();
        let many = (0..=255).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        take(&mut known, Answer::Addresses(many, Duration::ZERO), &mut 0);
        assert_eq!(known.addresses.len(), 64);
    }

    #[test]
    fn a_name_that_is_not_wanted_any_more_is_not_asked_about() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let heard = Arc::new(Mutex::new(0));
            let sink = Arc::clone(&heard);
            let tell: Tell = Arc::new(move |_, _| {
                *sink.lock().unwrap() += 1;
                true
            });
            let answers = (1..200).map(|n| Answer::Addresses(vec![ip(n)], Duration::from_secs(1)));
            let script = Script(Mutex::new(answers.collect()));
            let mut names = Names::new(Handle::current(), script, tell);
            names.want(&BTreeSet::from([query()]));
            tokio::time::sleep(Duration::from_millis(3_500)).await;
            assert_eq!(*heard.lock().unwrap(), 4);
            names.want(&BTreeSet::new());
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(*heard.lock().unwrap(), 4);
        });
    }
}

//! Which Events are told, and when: each thing once, not too many of one object, and not what
//! somebody told before us.
//!
//! A ledger without I/O. It is told what is served and what came of each telling, and says what to
//! tell next. A diagnostic is told when it has stood for a moment, and again, as the same Event,
//! for as long as it stands: Events of an API server are forgotten after an hour.
//!
//! The name of an Event is a digest of what it says: a second leader that says the same finds the
//! Event of the first.
//!
//! Namespaces take turns, so that the mistakes of one do not silence another.
//!
//! Bounds: [`STANDING_MAX`] diagnostics, of namespaces in turn and errors first; what is beyond is
//! in the report and in the metrics alone. An object has [`BURST`] Events, and one more every
//! [`REFILL`]; what is held back is told later, if it still stands. Of [`OBJECTS_MAX`] objects it
//! is known that they have had some; the one that is nearest to its full number is forgotten first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Diagnostic, Effect, ObjectRef, Severity};
use translate::{OurIngress, Translation};

use super::observed::{IngressKey, Observed};
use super::status::is_served;

/// How many diagnostics are told of at most.
const STANDING_MAX: usize = 10_000;

/// How long something must stand before it is told: what comes and goes while a set of objects is
/// applied is no news.
const SETTLE: Duration = Duration::from_secs(1);

/// What stands is told again after this long.
const AGAIN: Duration = Duration::from_mins(30);

/// What has ended is remembered this long, so that it is the same Event if it comes back.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Before the last this long, another leader has told what was to be told.
const LEADERLESS: Duration = Duration::from_mins(1);

/// Events of an object that are told at once, and how often one more is: as client-go has it.
const BURST: u32 = 25;
const REFILL: Duration = Duration::from_mins(5);

/// Objects whose number of Events is kept: as client-go has it.
const OBJECTS_MAX: usize = 4_096;

/// Events of all objects: how many at once, and how often one more.
const RATE_BURST: u32 = 100;
const RATE: Duration = Duration::from_millis(100);

/// After a failure, the next attempt comes this much later; after each further one, twice as much,
/// so many times.
const RETRY: Duration = Duration::from_secs(10);
const DOUBLINGS_MAX: u32 = 6;

/// Something to tell about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    pub(crate) object: ObjectRef,
    /// Of an Ingress; other objects are asked for when it is told.
    pub(crate) uid: Option<Arc<str>>,
    pub(crate) version: Option<Arc<str>>,
    pub(crate) is_warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) action: &'static str,
    pub(crate) note: String,
}

/// What names a happening among all: the same in every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(pub(crate) u64);

impl Happening {
    /// See [`Digest`].
    pub(crate) fn digest(&self) -> Digest {
        let uid = self.uid.as_deref().unwrap_or_default();
        let object = &self.object;
        let parts = [&*object.kind, &object.namespace, &object.name, uid, self.reason, &self.note];
        // FNV-1a: short, and the same in every release. A part ends with a byte that no text has.
        let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
        let digest = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Digest(digest)
    }

    fn of_diagnostic(diagnostic: &Diagnostic) -> Self {
        let mut note = String::new();
        if !diagnostic.field.0.is_empty() {
            note = format!("{}: ", diagnostic.field);
        }
        note.push_str(&diagnostic.message);
        if diagnostic.effect != Effect::None {
            note = format!("{note}; {}", diagnostic.effect);
        }
        let remedy = diagnostic.remedy();
        if !remedy.starts_with("nothing") {
            note = format!("{note}. To mend it: {remedy}");
        }
        Self {
            object: diagnostic.object.clone(),
            uid: None,
            version: None,
            is_warning: true,
            reason: diagnostic.code.info().reason,
            action: "Translate",
            note,
        }
    }

    fn of_sync(object: ObjectRef, served: &OurIngress, generation: i64) -> Self {
        let number = |count: u32, one: &str| {
            if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
        };
        let (routes, hosts) = (number(served.routes, "route"), number(served.hosts, "host"));
        Self {
            object,
            uid: None,
            version: None,
            is_warning: false,
            reason: "Sync",
            action: "Serve",
            note: format!("serving {routes} on {hosts} (generation {generation})"),
        }
    }
}

/// What came of telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// There is a new Event, or one that says it was seen this many times.
    Counted(i32),
    /// There was such an Event already.
    Known,
    /// The object is gone: there is nobody to tell it of.
    Gone,
    /// It failed.
    Failed,
}

/// One thing that stands, or did.
#[derive(Clone, Debug)]
struct Standing {
    happening: Happening,
    severity: Severity,
    since: Instant,
    /// When it ended.
    ended: Option<Instant>,
    /// When it was told last.
    told: Option<Instant>,
    /// How many times the Event says it was seen, where that is known.
    count: Option<i32>,
    attempts: Attempts,
}

/// When something may be told that could not be told before.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    next: Instant,
    failures: u32,
}

impl Attempts {
    fn new(now: Instant) -> Self {
        Self { next: now, failures: 0 }
    }

    fn failed(&mut self, now: Instant) {
        self.next = now + RETRY * 2_u32.pow(self.failures.min(DOUBLINGS_MAX));
        self.failures = self.failures.saturating_add(1);
    }
}

/// What is known of an Ingress that is served.
#[derive(Clone, Debug)]
struct Synced {
    uid: Arc<str>,
    served: OurIngress,
    since: Instant,
    is_told: bool,
    attempts: Attempts,
}

/// What to tell next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Telling {
    pub(crate) happening: Happening,
    /// It was told before, by an Event that says so many times; 0 where nobody knows how many.
    pub(crate) again: Option<i32>,
    key: Key,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Diagnostic(Digest),
    Sync(IngressKey),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    standing: HashMap<Digest, Standing>,
    synced: BTreeMap<IngressKey, Synced>,
    objects: HashMap<ObjectRef, Bucket>,
    turns: Turns,
    rate: Option<Bucket>,
}

/// Which namespaces were told of, and in which order last: the one that has waited longest is next,
/// however much there is to tell of another.
#[derive(Debug, Default)]
struct Turns {
    last: u64,
    taken: HashMap<Arc<str>, u64>,
}

impl Turns {
    fn of(&self, namespace: &str) -> u64 {
        self.taken.get(namespace).copied().unwrap_or(0)
    }

    fn take(&mut self, namespace: &Arc<str>) {
        // Whoever is forgotten is next once more.
        if self.taken.len() >= OBJECTS_MAX && !self.taken.contains_key(namespace) {
            self.taken.clear();
        }
        self.last += 1;
        self.taken.insert(Arc::clone(namespace), self.last);
    }
}

impl Ledger {
    /// Takes in what is served now.
    pub(crate) fn take(&mut self, now: Instant, served: &Translation, observed: &Observed) {
        self.take_report(now, served, observed);
        self.take_ingresses(now, served, observed);
    }

    /// This process leads from now on: what stands for longer has been told by who led before.
    pub(crate) fn lead(&mut self, now: Instant) {
        let is_old = |since: Instant| now.saturating_duration_since(since) > LEADERLESS;
        for synced in self.synced.values_mut() {
            synced.is_told |= is_old(synced.since);
        }
        for standing in self.standing.values_mut() {
            if standing.told.is_none() && is_old(standing.since) {
                standing.told = Some(now);
            }
        }
    }

    /// What to tell next, or how long there is nothing to tell.
    pub(crate) fn next(&mut self, now: Instant, observed: &Observed) -> Result<Telling, Duration> {
        let mut wait = Duration::from_mins(1);
        let mut soonest = |at: Instant| wait = wait.min(at.saturating_duration_since(now));
        let rate = self.rate.get_or_insert_with(|| Bucket::full(now));
        if let Some(at) = rate.next(now, RATE_BURST, RATE) {
            soonest(at);
            return Err(wait);
        }
        let mut chosen: Option<(u64, Severity, &ObjectRef, Digest)> = None;
        for (digest, standing) in &self.standing {
            if standing.ended.is_some() {
                continue;
            }
            let object = &standing.happening.object;
            let at = standing.told.map_or(standing.since + SETTLE, |told| told + AGAIN);
            let at = at.max(standing.attempts.next).max(self.bucket_opens(now, object));
            if at > now {
                soonest(at);
                continue;
            }
            let turn = self.turns.of(&object.namespace);
            let candidate = (turn, standing.severity, object, *digest);
            if chosen.is_none_or(|chosen| candidate < chosen) {
                chosen = Some(candidate);
            }
        }
        let mut due: Option<(u64, &IngressKey)> = None;
        for (key, synced) in self.synced.iter().filter(|(_, synced)| !synced.is_told) {
            let at = synced.attempts.next.max(self.bucket_opens(now, &ingress_ref(key)));
            if at > now {
                soonest(at);
                continue;
            }
            let candidate = (self.turns.of(&key.0), key);
            if due.is_none_or(|due| candidate < due) {
                due = Some(candidate);
            }
        }
        match (chosen, due) {
            (Some((turn, _, _, digest)), due) if due.is_none_or(|(other, _)| turn <= other) => {
                self.tell_standing(now, digest).ok_or(Duration::ZERO)
            }
            (_, Some((_, key))) => {
                let key = key.clone();
                self.tell_sync(now, key, observed).ok_or(Duration::ZERO)
            }
            (_, None) => Err(wait),
        }
    }

    /// What came of a telling.
    pub(crate) fn ended(&mut self, now: Instant, telling: &Telling, told: Told) {
        match &telling.key {
            Key::Diagnostic(digest) => {
                let Some(standing) = self.standing.get_mut(digest) else { return };
                match told {
                    Told::Failed => return standing.attempts.failed(now),
                    Told::Counted(count) => standing.count = Some(count),
                    Told::Known | Told::Gone => {}
                }
                standing.told = Some(now);
                standing.attempts = Attempts::new(now);
            }
            Key::Sync(key) => {
                let Some(synced) = self.synced.get_mut(key) else { return };
                if told == Told::Failed {
                    synced.attempts.failed(now);
                    synced.is_told = false;
                }
            }
        }
    }

    /// Whether something that is to be told could not be when it was tried last.
    pub(crate) fn has_failures(&self) -> bool {
        let standing = self.standing.values().filter(|standing| standing.ended.is_none());
        standing.map(|standing| standing.attempts).any(|attempts| attempts.failures > 0)
            || self.synced.values().any(|synced| !synced.is_told && synced.attempts.failures > 0)
    }

    fn take_report(&mut self, now: Instant, served: &Translation, observed: &Observed) {
        let stood = self.standing.iter().filter(|(_, standing)| standing.ended.is_none());
        let mut gone: HashSet<Digest> = stood.map(|(digest, _)| *digest).collect();
        let mut count = 0;
        for diagnostic in worst_first(served.report.diagnostics()) {
            let Some(happening) = happening(diagnostic, served, observed) else { continue };
            count += 1;
            if count > STANDING_MAX {
                break;
            }
            let digest = happening.digest();
            gone.remove(&digest);
            let standing = self.standing.entry(digest).or_insert_with(|| Standing {
                happening: happening.clone(),
                severity: diagnostic.severity,
                since: now,
                ended: None,
                told: None,
                count: None,
                attempts: Attempts::new(now),
            });
            if standing.ended.take().is_some() {
                // It is back, which is news again.
                standing.since = now;
                if standing.told.take().is_some() {
                    standing.count.get_or_insert(0);
                }
            }
            standing.happening = happening;
        }
        for digest in gone {
            if let Some(standing) = self.standing.get_mut(&digest) {
                standing.ended = Some(now);
            }
        }
        self.standing.retain(|_, standing| match standing.ended {
            // What nobody was told of needs no memory.
            Some(ended) => standing.told.is_some() && now < ended + REMEMBERED,
            None => true,
        });
        if self.standing.len() > STANDING_MAX {
            self.standing.retain(|_, standing| standing.ended.is_none());
        }
    }

    fn take_ingresses(&mut self, now: Instant, served: &Translation, observed: &Observed) {
        self.synced.retain(|key, _| is_served(served, key) == Some(true));
        for ingress in served.ingresses.iter().filter(|ingress| ingress.is_programmed()) {
            let key = (ingress.namespace.clone(), ingress.name.clone());
            let Some(seen) = observed.get(&key) else { continue };
            if let Some(synced) = self.synced.get_mut(&key) {
                if synced.uid != seen.uid || synced.served.content != ingress.content {
                    synced.uid = seen.uid;
                    (synced.since, synced.is_told) = (now, false);
                    synced.attempts = Attempts::new(now);
                }
                synced.served = ingress.clone();
                continue;
            }
            let synced = Synced {
                uid: seen.uid,
                served: ingress.clone(),
                since: now,
                is_told: seen.was_served_before,
                attempts: Attempts::new(now),
            };
            self.synced.insert(key, synced);
        }
    }

    fn bucket_opens(&self, now: Instant, object: &ObjectRef) -> Instant {
        let bucket = self.objects.get(object);
        bucket.and_then(|bucket| bucket.next(now, BURST, REFILL)).unwrap_or(now)
    }

    fn tell_standing(&mut self, now: Instant, digest: Digest) -> Option<Telling> {
        let standing = self.standing.get(&digest)?;
        let again = match (standing.told, standing.count) {
            (None, None) => None,
            (_, count) => Some(count.unwrap_or(0)),
        };
        let happening = standing.happening.clone();
        self.spend(now, &happening.object);
        Some(Telling { happening, again, key: Key::Diagnostic(digest) })
    }

    fn tell_sync(&mut self, now: Instant, key: IngressKey, observed: &Observed) -> Option<Telling> {
        let synced = self.synced.get_mut(&key)?;
        synced.is_told = true;
        let seen = observed.get(&key).filter(|seen| seen.uid == synced.uid)?;
        let served = synced.served.clone();
        let object = ingress_ref(&key);
        let happening = Happening {
            uid: Some(seen.uid),
            version: Some(seen.version),
            ..Happening::of_sync(object, &served, seen.generation)
        };
        self.spend(now, &happening.object);
        Some(Telling { happening, again: None, key: Key::Sync(key) })
    }

    fn spend(&mut self, now: Instant, object: &ObjectRef) {
        if let Some(rate) = &mut self.rate {
            rate.spend(now, RATE);
        }
        self.turns.take(&object.namespace);
        if !self.objects.contains_key(object) && self.objects.len() >= OBJECTS_MAX {
            let oldest = self.objects.iter().min_by_key(|(_, bucket)| bucket.full_at);
            if let Some(oldest) = oldest.map(|(object, _)| object.clone()) {
                self.objects.remove(&oldest);
            }
        }
        let bucket = self.objects.entry(object.clone()).or_insert_with(|| Bucket::full(now));
        bucket.spend(now, REFILL);
    }
}

/// Errors, then warnings; where there are more than are told of, the first of each namespace, then
/// the second of each, and so on.
fn worst_first(all: &[Diagnostic]) -> Vec<&Diagnostic> {
    let of_severity = |wanted| all.iter().filter(move |diagnostic| diagnostic.severity == wanted);
    let worst_first = of_severity(Severity::Error).chain(of_severity(Severity::Warning));
    let mut chosen: Vec<&Diagnostic> = worst_first.collect();
    if chosen.len() > STANDING_MAX {
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        chosen.sort_by_cached_key(|diagnostic| {
            let number = numbers.entry(&diagnostic.object.namespace).or_default();
            *number += 1;
            *number
        });
    }
    chosen
}

fn ingress_ref(key: &IngressKey) -> ObjectRef {
    ObjectRef::new("Ingress", key.0.clone(), key.1.clone())
}

/// What a diagnostic tells of which object; `None` where nobody is told: it is about no object of
/// the API server, or about an Ingress that is another's.
fn happening(
    diagnostic: &Diagnostic,
    served: &Translation,
    observed: &Observed,
) -> Option<Happening> {
    let object = &diagnostic.object;
    if &*object.kind != "Ingress" {
        let has_object =
            matches!(&*object.kind, "Service" | "Secret" | "IngressClass" | "ConfigMap");
        return (has_object && &*object.name != "*").then(|| Happening::of_diagnostic(diagnostic));
    }
    let key = (object.namespace.clone(), object.name.clone());
    is_served(served, &key)?;
    let seen = observed.get(&key)?;
    Some(Happening {
        uid: Some(seen.uid),
        version: Some(seen.version),
        ..Happening::of_diagnostic(diagnostic)
    })
}

/// A number of permits that grows with time up to a bound, as the time at which it will be full.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    full_at: Instant,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// When there is a permit, if not now.
    fn next(self, now: Instant, burst: u32, refill: Duration) -> Option<Instant> {
        let at = self.full_at.checked_sub(refill * (burst - 1)).unwrap_or(now);
        (at > now).then_some(at)
    }

    fn spend(&mut self, now: Instant, refill: Duration) {
        self.full_at = self.full_at.max(now) + refill;
    }
}

#[cfg(test)]
mod tests;

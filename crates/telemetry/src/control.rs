//! What the control side tells: configuration, diagnostics, certificates, and the list of reasons.
//!
//! Written rarely and from few threads, so that a lock is right here. No worker waits for it, apart
//! from one that meets a reason for the first time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Telemetry;
use crate::exposition::Exposition;
use crate::histogram::{Histogram, HistogramSum};
use crate::metrics::{
    CERTIFICATE_EXPIRY, CONFIG_BUILD_DURATION, CONFIG_BUILDS, CONFIG_LAST_GOOD,
    CONFIG_LAST_SUCCESS, CONFIG_LAST_SUCCESSFUL, CONFIG_STALE_FILES, DIAGNOSTICS, EVENTS,
    GENERATION, LEADER, REASONS_MAX, SNAPSHOTS_LIVE, STATUS_WRITES, WATCH_FAILURES, WATCH_LISTS,
    WATCH_STALE_SINCE, WEBHOOK_REVIEWS,
};
use crate::route::OTHER;
use crate::worker::WorkerShard;

/// How many certificates have a metric of their own; the ones that expire first are told.
const CERTIFICATES_MAX: usize = 1_000;

/// How much of the configuration a build made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuildKind {
    /// All of it.
    Full,
    /// Endpoints alone.
    Endpoints,
    /// Certificates alone.
    Certificates,
}

impl BuildKind {
    fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Endpoints => "endpoints",
            Self::Certificates => "certificates",
        }
    }
}

/// When a served certificate expires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateExpiry {
    /// Seconds since the epoch.
    pub not_after: i64,
    /// The Secret's namespace.
    pub namespace: Box<str>,
    /// The Secret's name.
    pub secret: Box<str>,
}

#[derive(Debug, Default)]
pub(crate) struct Control {
    state: Mutex<State>,
    pub(crate) reasons: Reasons,
}

#[derive(Debug, Default)]
struct WatchState {
    failures: u64,
    lists: u64,
    stale_since: f64,
}

#[derive(Debug, Default)]
struct State {
    generation: Option<String>,
    snapshots_live: u64,
    builds: BTreeMap<(BuildKind, &'static str), u64>,
    build_duration: Histogram,
    last_success: f64,
    last_successful: bool,
    stale_files: u64,
    serves_last_good: bool,
    /// By kind; there are as many as kinds that are watched.
    watches: BTreeMap<&'static str, WatchState>,
    diagnostics: BTreeMap<(&'static str, &'static str), u64>,
    certificates: Vec<CertificateExpiry>,
    is_leader: bool,
    status_writes: BTreeMap<&'static str, u64>,
    events: BTreeMap<&'static str, u64>,
    webhook_reviews: BTreeMap<&'static str, u64>,
}

impl Control {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn render(&self, page: &mut Exposition) {
        let state = self.state();
        page.family(&GENERATION);
        if let Some(generation) = &state.generation {
            page.sample(&GENERATION, &[generation], 1);
        }
        page.family(&SNAPSHOTS_LIVE);
        page.sample(&SNAPSHOTS_LIVE, &[], state.snapshots_live);
        page.family(&CONFIG_BUILDS);
        for ((kind, result), count) in &state.builds {
            page.sample(&CONFIG_BUILDS, &[kind.word(), result], count);
        }
        page.family(&CONFIG_BUILD_DURATION);
        let mut sum = HistogramSum::default();
        state.build_duration.add_to(&mut sum);
        page.histogram(&CONFIG_BUILD_DURATION, &[], &sum);
        page.family(&CONFIG_LAST_SUCCESS);
        page.sample(&CONFIG_LAST_SUCCESS, &[], state.last_success);
        page.family(&CONFIG_LAST_SUCCESSFUL);
        page.sample(&CONFIG_LAST_SUCCESSFUL, &[], u8::from(state.last_successful));
        page.family(&CONFIG_STALE_FILES);
        page.sample(&CONFIG_STALE_FILES, &[], state.stale_files);
        page.family(&CONFIG_LAST_GOOD);
        page.sample(&CONFIG_LAST_GOOD, &[], u8::from(state.serves_last_good));
        page.family(&WATCH_FAILURES);
        for (kind, watch) in &state.watches {
            page.sample(&WATCH_FAILURES, &[kind], watch.failures);
        }
        page.family(&WATCH_LISTS);
        for (kind, watch) in &state.watches {
            page.sample(&WATCH_LISTS, &[kind], watch.lists);
        }
        page.family(&WATCH_STALE_SINCE);
        for (kind, watch) in &state.watches {
            page.sample(&WATCH_STALE_SINCE, &[kind], watch.stale_since);
        }
        page.family(&DIAGNOSTICS);
        for ((code, severity), count) in &state.diagnostics {
            page.sample(&DIAGNOSTICS, &[code, severity], count);
        }
        page.family(&CERTIFICATE_EXPIRY);
        for certificate in &state.certificates {
            let labels = [&*certificate.namespace, &*certificate.secret];
            page.sample(&CERTIFICATE_EXPIRY, &labels, certificate.not_after);
        }
        page.family(&LEADER);
        page.sample(&LEADER, &[], u8::from(state.is_leader));
        for (family, counts) in [
            (&STATUS_WRITES, &state.status_writes),
            (&EVENTS, &state.events),
            (&WEBHOOK_REVIEWS, &state.webhook_reviews),
        ] {
            page.family(family);
            for (result, count) in counts {
                page.sample(family, &[result], count);
            }
        }
    }
}

/// What the control side counts. Any thread may call these.
impl Telemetry {
    /// A build was served after `duration`; `generation` is 16 hex digits.
    pub fn build_served(&self, kind: BuildKind, generation: &str, duration: Duration) {
        let mut state = self.control.state();
        if state.generation.as_deref() != Some(generation) {
            state.generation = Some(generation.to_owned());
        }
        *state.builds.entry((kind, "ok")).or_default() += 1;
        state.build_duration.observe(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        state.last_success = now.as_secs_f64();
        state.last_successful = true;
    }

    /// A build panicked; the configuration served before stays.
    pub fn build_failed(&self, kind: BuildKind) {
        let mut state = self.control.state();
        *state.builds.entry((kind, "failed")).or_default() += 1;
        state.last_successful = false;
    }

    /// How many compiled configurations somebody holds.
    pub fn snapshots_live(&self, count: u64) {
        self.control.state().snapshots_live = count;
    }

    /// How many manifest files cannot be read while their last good objects serve.
    pub fn stale_files(&self, count: u64) {
        self.control.state().stale_files = count;
    }

    /// Whether what is served was read from the file of an earlier process.
    pub fn serves_last_good(&self, is_so: bool) {
        self.control.state().serves_last_good = is_so;
    }

    /// A list or watch of a kind failed.
    pub fn watch_failed(&self, kind: &'static str) {
        self.control.state().watches.entry(kind).or_default().failures += 1;
    }

    /// All objects of a kind were listed.
    pub fn watch_listed(&self, kind: &'static str) {
        self.control.state().watches.entry(kind).or_default().lists += 1;
    }

    /// Since when objects of a kind may have changed unseen, in seconds since the epoch; 0 while
    /// they cannot.
    pub fn watch_stale_since(&self, kind: &'static str, since: f64) {
        self.control.state().watches.entry(kind).or_default().stale_since = since;
    }

    /// Whether this replica leads.
    pub fn leader(&self, is_leader: bool) {
        self.control.state().is_leader = is_leader;
    }

    /// A write of status ended with this result, one of a few words.
    pub fn status_written(&self, result: &'static str) {
        *self.control.state().status_writes.entry(result).or_default() += 1;
    }

    /// An Event was told with this result, one of a few words.
    pub fn event_told(&self, result: &'static str) {
        *self.control.state().events.entry(result).or_default() += 1;
    }

    /// The webhook was asked, with this result, one of a few words.
    pub fn webhook_reviewed(&self, result: &'static str) {
        *self.control.state().webhook_reviews.entry(result).or_default() += 1;
    }

    /// Replaces the numbers of diagnostics: a (code, severity) for each one there is.
    pub fn diagnostics(&self, all: impl Iterator<Item = (&'static str, &'static str)>) {
        let mut counts = BTreeMap::new();
        for key in all {
            *counts.entry(key).or_default() += 1;
        }
        self.control.state().diagnostics = counts;
    }

    /// Replaces the certificates that are served. One Secret is told once, by its earliest expiry;
    /// of more than 1,000 those that expire first are told.
    pub fn certificates(&self, mut all: Vec<CertificateExpiry>) {
        all.sort();
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|one| seen.insert((one.namespace.clone(), one.secret.clone())));
        all.truncate(CERTIFICATES_MAX);
        self.control.state().certificates = all;
    }
}

/// The reasons met so far, in the order in which they were met. Bound: [`REASONS_MAX`], of which
/// the last stands for all others.
#[derive(Debug, Default)]
pub(crate) struct Reasons(Mutex<Vec<Box<str>>>);

impl Reasons {
    /// The index of a reason, always below [`REASONS_MAX`].
    pub(crate) fn index(&self, reason: &str) -> usize {
        if reason == OTHER {
            return REASONS_MAX - 1;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = known.iter().position(|one| **one == *reason) {
            return index;
        }
        if known.len() >= REASONS_MAX - 1 {
            return REASONS_MAX - 1;
        }
        known.push(reason.into());
        known.len() - 1
    }

    /// Every reason that occurred with its count, by name, `other` last.
    pub(crate) fn sums(&self, shards: &[Arc<WorkerShard>]) -> Vec<(Box<str>, u64)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sum = |index: usize| shards.iter().map(|shard| shard.reasons[index].read()).sum();
        let mut sums: Vec<(Box<str>, u64)> =
            known.into_iter().enumerate().map(|(index, reason)| (reason, sum(index))).collect();
        sums.sort();
        let other: u64 = sum(REASONS_MAX - 1);
        if other > 0 {
            sums.push((OTHER.into(), other));
        }
        sums
    }
}

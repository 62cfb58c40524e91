//! Who leads: a candidate for a Lease, as a machine that is told the time and what came of its
//! last step, and says the next one.
//!
//! ```text
//!  wait ─► read ─► somebody else's, and changed of late ─► wait
//!            └───► free, expired or ours ─► write ─► lead ─► wait ─► write …
//! ```
//!
//! The rules are those of client-go's leader election. Whether a holder is alive is judged by how
//! long *we* have not seen its record change, on a clock that no one can set: times in the record
//! are for readers and are never compared. Every write names the version that was read, so that of
//! two who write at once one loses.
//!
//! Invariant: of candidates whose clocks run equally fast at most one [`Candidate::holds_until`] is
//! in the future. It counts from before the write was sent; others count from after it was seen.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

/// How long things take in an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How long a record that does not change protects its holder.
    pub(crate) lease: Duration,
    /// How long a holder leads without a renewal that succeeded; less than `lease`.
    pub(crate) renew_deadline: Duration,
    /// The wait between two attempts; a follower draws up to [`JITTER`] times as much in addition.
    pub(crate) retry: Duration,
}

/// What Kubernetes' own components use.
pub(crate) const TIMING: Timing = Timing {
    lease: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry: Duration::from_secs(2),
};

const JITTER: f64 = 1.2;

/// The time: for durations, and for readers of the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) calendar: Timestamp,
}

/// What came of the last step.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The wait has ended; also the start.
    Waited,
    /// There is no such Lease.
    Absent,
    /// The Lease, as it was read.
    Read(Box<Lease>),
    /// The Lease, as it was written.
    Written(Box<Lease>),
    /// Somebody else wrote first.
    Conflict,
    /// Nobody knows: refused, broken off, or too late.
    Failed,
}

/// What to do next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Wait this long.
    Wait(Duration),
    /// Read the Lease.
    Read,
    /// Create the Lease.
    Create(Box<Lease>),
    /// Replace the Lease, if it still has the version that this one names.
    Replace(Box<Lease>),
}

/// One of those who would lead.
#[derive(Debug)]
pub(crate) struct Candidate {
    identity: String,
    namespace: String,
    name: String,
    timing: Timing,
    /// The Lease as it was seen last, and when its record was first seen like this.
    seen: Option<(Box<Lease>, Instant)>,
    /// When the write that is under way was begun.
    asked: Option<Instant>,
    /// When the last write that succeeded was begun; only while leading.
    renewed: Option<Instant>,
}

impl Candidate {
    /// `identity` is that of one process, never of two.
    pub(crate) fn new(namespace: &str, name: &str, identity: String, timing: Timing) -> Self {
        Self {
            identity,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            timing,
            seen: None,
            asked: None,
            renewed: None,
        }
    }

    /// Until when this one leads, if nothing else is heard.
    pub(crate) fn holds_until(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.renew_deadline)
    }

    /// The Lease as it was seen last.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.seen.as_ref().map(|(lease, _)| &**lease)
    }

    /// How long the step that begins now may take: nobody waits for an answer beyond the time in
    /// which it leads.
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        let most = self.timing.renew_deadline / 2;
        match self.holds_until() {
            Some(until) => most.min(until.saturating_duration_since(now)),
            None => most,
        }
    }

    /// The next step. `chance` is from 0 to 1.
    pub(crate) fn next(&mut self, now: Now, answer: Answer, chance: f64) -> Step {
        let asked = self.asked.take();
        let step = match answer {
            Answer::Waited if self.is_holding(now.instant) => self.renewal(now),
            Answer::Waited => Step::Read,
            Answer::Absent => {
                self.seen = None;
                self.creation(now)
            }
            Answer::Read(lease) => {
                self.see(lease, now.instant);
                self.after_reading(now, chance)
            }
            Answer::Written(lease) => {
                self.see(lease, now.instant);
                self.renewed = asked;
                self.wait(now.instant, chance)
            }
            // Another write of ours may have come through although it seemed lost: the record says.
            Answer::Conflict if self.is_holding(now.instant) => Step::Read,
            Answer::Conflict | Answer::Failed => self.wait(now.instant, chance),
        };
        if !self.is_holding(now.instant) {
            self.renewed = None;
        }
        if matches!(step, Step::Create(_) | Step::Replace(_)) {
            self.asked = Some(now.instant);
        }
        step
    }

    /// Ends leading, and answers the Lease to write so that another may lead at once; `None` where
    /// this one does not lead.
    pub(crate) fn release(&mut self, now: Now) -> Option<Box<Lease>> {
        let is_holding = self.is_holding(now.instant);
        self.renewed = None;
        let (lease, _) = self.seen.as_ref().filter(|_| is_holding)?;
        self.given_back(lease.clone(), now)
    }

    /// A Lease as it is when we give it back; `None` where it is another's.
    pub(crate) fn given_back(&self, mut lease: Box<Lease>, now: Now) -> Option<Box<Lease>> {
        let spec = lease.spec.as_mut()?;
        if spec.holder_identity.as_deref() != Some(&*self.identity) {
            return None;
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.acquire_time = Some(MicroTime(now.calendar));
        spec.renew_time = Some(MicroTime(now.calendar));
        Some(lease)
    }

    fn is_holding(&self, now: Instant) -> bool {
        self.holds_until().is_some_and(|until| now < until)
    }

    fn see(&mut self, lease: Box<Lease>, now: Instant) {
        let since = match &self.seen {
            Some((known, since)) if known.spec == lease.spec => *since,
            _ => now,
        };
        self.seen = Some((lease, since));
    }

    fn after_reading(&mut self, now: Now, chance: f64) -> Step {
        let Some((lease, since)) = &self.seen else { return Step::Read };
        let spec = lease.spec.as_ref();
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let protected = spec
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|&seconds| seconds > 0)
            .map_or(self.timing.lease, Duration::from_secs);
        let is_other = !holder.is_empty() && holder != self.identity;
        if is_other {
            // Whoever wrote it did so after us.
            self.renewed = None;
            if now.instant.saturating_duration_since(*since) < protected {
                return self.wait(now.instant, chance);
            }
        }
        self.renewal(now)
    }

    fn wait(&self, now: Instant, chance: f64) -> Step {
        Step::Wait(match self.holds_until() {
            Some(until) if now < until => self.timing.retry.min(until - now),
            _ => self.timing.retry.mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0)),
        })
    }

    fn creation(&self, now: Now) -> Step {
        let metadata = ObjectMeta {
            namespace: Some(self.namespace.clone()),
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        let spec = LeaseSpec {
            acquire_time: Some(MicroTime(now.calendar)),
            lease_transitions: Some(0),
            ..self.claim(LeaseSpec::default(), now)
        };
        Step::Create(Box::new(Lease { metadata, spec: Some(spec) }))
    }

    /// The Lease that was seen, with our claim; what else it says stays.
    fn renewal(&self, now: Now) -> Step {
        let Some((seen, _)) = &self.seen else { return Step::Read };
        let mut lease = seen.clone();
        let spec = lease.spec.take().unwrap_or_default();
        let is_ours = spec.holder_identity.as_deref() == Some(&*self.identity);
        let mut claim = self.claim(spec, now);
        if !is_ours {
            claim.acquire_time = Some(MicroTime(now.calendar));
            let transitions = claim.lease_transitions.unwrap_or(0);
            claim.lease_transitions = Some(transitions.saturating_add(1));
        }
        lease.spec = Some(claim);
        Step::Replace(lease)
    }

    fn claim(&self, spec: LeaseSpec, now: Now) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.lease.as_secs()).ok(),
            renew_time: Some(MicroTime(now.calendar)),
            ..spec
        }
    }
}

#[cfg(test)]
mod tests;

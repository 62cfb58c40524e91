//! Carries the steps of a [`Candidate`] out against the API server, and says who leads.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use telemetry::Telemetry;
use tokio::sync::watch;
use tokio::time::timeout;

use super::complaint::{Complaint, reason};
use super::election::{Answer, Candidate, Now, Step};

/// Whether this process leads, and for how long if it should hear nothing more.
///
/// A reader that was stopped for a while sees by the time that it has lost what it had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leadership {
    until: Option<Instant>,
}

impl Leadership {
    /// Whether this process leads at `now`.
    pub(crate) fn holds(self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

/// Whether this process leads, for who does what only one of all replicas is to do.
#[derive(Clone, Debug)]
pub struct Leads(watch::Receiver<Leadership>);

impl Leads {
    pub(super) fn new(leadership: watch::Receiver<Leadership>) -> Self {
        Self(leadership)
    }

    /// Whether it leads now.
    #[must_use]
    pub fn now(&self) -> bool {
        self.0.borrow().holds(Instant::now())
    }
}

/// Is told of a Lease that was won or lost.
pub(crate) type OnChange = Box<dyn Fn(&Lease, Won) + Send + Sync>;

/// What became of the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Won {
    /// This process leads now.
    Won,
    /// It does no longer.
    Lost,
}

impl fmt::Display for Won {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Won => "became leader",
            Self::Lost => "stopped leading",
        })
    }
}

/// An election that this process takes part in.
pub(crate) struct Election {
    pub(crate) candidate: Candidate,
    pub(crate) leases: Api<Lease>,
    pub(crate) name: String,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) on_change: OnChange,
}

impl Election {
    /// Takes part until told to stop; then gives the Lease back.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut complaint = Complaint::new("the Lease of the election cannot be read or written");
        let mut answer = Answer::Waited;
        loop {
            let now = now();
            let is_answered = matches!(answer, Answer::Read(_) | Answer::Written(_));
            let step = self.candidate.next(now, answer, fastrand::f64());
            // Who may read and not write has nothing mended by a read.
            if is_answered && matches!(step, Step::Wait(_)) {
                complaint.mended();
            }
            self.tell(now.instant);
            answer = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                answer = self.perform(step, &mut complaint) => answer,
            };
        }
        self.release().await;
    }

    async fn perform(&self, step: Step, complaint: &mut Complaint) -> Answer {
        let patience = self.candidate.patience(Instant::now());
        let asked = async {
            match &step {
                Step::Wait(wait) => {
                    tokio::time::sleep(*wait).await;
                    Ok(Answer::Waited)
                }
                Step::Read => match self.leases.get_opt(&self.name).await? {
                    Some(lease) => Ok(Answer::Read(Box::new(lease))),
                    None => Ok(Answer::Absent),
                },
                Step::Create(lease) => {
                    let created = self.leases.create(&PostParams::default(), lease).await?;
                    Ok(Answer::Written(Box::new(created)))
                }
                Step::Replace(lease) => {
                    let params = PostParams::default();
                    let written = self.leases.replace(&self.name, &params, lease).await?;
                    Ok(Answer::Written(Box::new(written)))
                }
            }
        };
        // A wait is as long as it is; of the candidate's own waits none goes beyond its time.
        let outcome = if matches!(step, Step::Wait(_)) {
            Ok(asked.await)
        } else {
            timeout(patience, asked).await
        };
        match outcome {
            Ok(Ok(answer)) => answer,
            Ok(Err(kube::Error::Api(status)))
                if status.is_conflict() || status.is_already_exists() =>
            {
                Answer::Conflict
            }
            // Deleted under our hands.
            Ok(Err(kube::Error::Api(status)))
                if status.is_not_found() && matches!(step, Step::Replace(_)) =>
            {
                Answer::Absent
            }
            Ok(Err(error)) => {
                complaint.about(Instant::now(), &reason(&error));
                Answer::Failed
            }
            Err(_) => {
                complaint.about(Instant::now(), &"no answer in time");
                Answer::Failed
            }
        }
    }

    /// Says who leads now, where that changed.
    fn tell(&self, now: Instant) {
        let until = self.candidate.holds_until().filter(|&until| now < until);
        let mut change = None;
        self.leadership.send_if_modified(|known| {
            change = match (known.until, until) {
                (None, Some(_)) => Some(Won::Won),
                (Some(_), None) => Some(Won::Lost),
                _ => None,
            };
            known.until = until;
            // Those who wait need not know that it goes on.
            change.is_some()
        });
        let Some(change) = change else { return };
        self.telemetry.leader(change == Won::Won);
        tracing::info!(lease = self.name, "{change}");
        if let Some(lease) = self.candidate.lease() {
            (self.on_change)(lease, change);
        }
    }

    async fn release(&mut self) {
        let now = now();
        let lease = self.candidate.release(now);
        let patience = self.candidate.patience(now.instant);
        self.tell(now.instant);
        let Some(lease) = lease else { return };
        match timeout(patience, self.give_back(lease, now)).await {
            Ok(Ok(())) => tracing::debug!(lease = self.name, "released"),
            Ok(Err(error)) => {
                tracing::info!(lease = self.name, why = reason(&error), "not released");
            }
            Err(_) => tracing::info!(lease = self.name, "not released in time"),
        }
    }
}

impl Election {
    async fn give_back(&self, lease: Box<Lease>, now: Now) -> Result<(), kube::Error> {
        let params = PostParams::default();
        match self.leases.replace(&self.name, &params, &lease).await {
            // A renewal of ours that we did not wait for may have come through.
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            written => return written.map(|_| ()),
        }
        let Some(lease) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
        let Some(lease) = self.candidate.given_back(Box::new(lease), now) else { return Ok(()) };
        self.leases.replace(&self.name, &params, &lease).await.map(|_| ())
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), calendar: Timestamp::now() }
}

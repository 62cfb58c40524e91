//! Tells Events while this process leads, one at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry::Telemetry;
use tokio::sync::watch;
use tokio::time::timeout;
use translate::Translation;

use super::complaint::{Complaint, reason};
use super::event::Teller;
use super::events::{Ledger, Telling, Told};
use super::lease::Leadership;
use super::observed::Observed;

/// The least time between two looks through the report.
const PACE: Duration = Duration::from_millis(200);

/// How long an Event may take to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct EventWriter {
    pub(crate) teller: Teller,
    pub(crate) served: watch::Receiver<Option<Arc<Translation>>>,
    pub(crate) observed: Arc<Observed>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) telemetry: Arc<Telemetry>,
}

impl EventWriter {
    /// Works until told to stop.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut ledger = Ledger::default();
        let mut complaint = Complaint::new("Events cannot be written");
        let mut has_led = false;
        loop {
            let now = Instant::now();
            let leads = self.leadership.borrow().holds(now);
            if leads && !has_led {
                ledger.lead(now);
            }
            has_led = leads;
            // Who follows waits for a change.
            let mut wait = PATIENCE;
            if leads {
                match ledger.next(now, &self.observed) {
                    Ok(telling) => {
                        let told = self.tell(&telling, &mut complaint).await;
                        ledger.ended(Instant::now(), &telling, told);
                        if !ledger.has_failures() {
                            complaint.mended();
                        }
                        wait = Duration::ZERO;
                    }
                    Err(quiet) => wait = quiet,
                }
            }
            let has_news = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                Ok(()) = self.served.changed() => true,
                Ok(()) = self.leadership.changed() => false,
                () = tokio::time::sleep(wait) => false,
            };
            if has_news {
                let served = self.served.borrow_and_update().clone();
                if let Some(served) = served {
                    ledger.take(Instant::now(), &served, &self.observed);
                }
                // What changes often is looked at now and then.
                tokio::time::sleep(PACE).await;
            }
        }
    }

    async fn tell(&self, telling: &Telling, complaint: &mut Complaint) -> Told {
        let told = self.teller.tell(&telling.happening, telling.again);
        let (told, result) = match timeout(PATIENCE, told).await {
            Ok(Ok(told)) => {
                let result = match told {
                    Told::Counted(1) => "created",
                    Told::Counted(_) => "repeated",
                    Told::Known => "known",
                    Told::Gone | Told::Failed => "gone",
                };
                (told, result)
            }
            Ok(Err(error)) => {
                complaint.about(Instant::now(), &reason(&error));
                (Told::Failed, "failed")
            }
            Err(_) => {
                complaint.about(Instant::now(), &"no answer in time");
                (Told::Failed, "failed")
            }
        };
        self.telemetry.event_told(result);
        told
    }
}

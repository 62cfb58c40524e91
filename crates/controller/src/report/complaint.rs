//! Says what fails over and over again once, and again now and then; and that it is over.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::cluster::chain;

/// The same is said again after this long.
const AGAIN: Duration = Duration::from_mins(5);

/// What an error of the client says, without what is for programs.
pub(crate) fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => chain(other),
    }
}

/// Something that goes wrong, or does not.
#[derive(Debug)]
pub(crate) struct Complaint {
    what: &'static str,
    said: Option<(String, Instant)>,
}

impl Complaint {
    /// `what` is a sentence without its end.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, said: None }
    }

    /// It went wrong, for this reason.
    pub(crate) fn about(&mut self, now: Instant, why: &impl Display) {
        let why = why.to_string();
        let is_said =
            self.said.as_ref().is_some_and(|(said, at)| *said == why && now < *at + AGAIN);
        if is_said {
            tracing::debug!(why, "{}", self.what);
            return;
        }
        tracing::warn!(why, "{}", self.what);
        self.said = Some((why, now));
    }

    /// It went right.
    pub(crate) fn mended(&mut self) {
        if self.said.take().is_some() {
            tracing::info!("no longer so: {}", self.what);
        }
    }
}

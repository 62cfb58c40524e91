//! The translation that is served, for whoever asks from outside the compiler's thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::{EndpointTable, Report};
use translate::Translation;

/// Filled by the compiler after each publish.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    state: Mutex<State>,
    published: Condvar,
}

#[derive(Debug, Default)]
struct State {
    translation: Option<Arc<Translation>>,
    /// Newer than those in `translation`. Put together when somebody asks, which is seldom;
    /// endpoints change often.
    newer: Option<(EndpointTable, Report)>,
    /// How many publishes there were.
    count: u64,
    /// What is served was read from the last-good file, and nothing was built since.
    is_from_file: bool,
}

impl Latest {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of it is new.
    pub(crate) fn replace(&self, translation: Arc<Translation>) {
        let mut state = self.state();
        state.translation = Some(translation);
        state.newer = None;
        state.count += 1;
        state.is_from_file = false;
        self.published.notify_all();
    }

    /// What was served by an earlier process is served until something is built.
    pub(crate) fn replace_from_file(&self, translation: Arc<Translation>) {
        self.replace(translation);
        self.state().is_from_file = true;
    }

    /// How many publishes there were, and what is served, unless it was not built here.
    pub(crate) fn get_built(&self) -> (u64, Option<Arc<Translation>>) {
        let served = self.get();
        let state = self.state();
        (state.count, served.filter(|_| !state.is_from_file))
    }

    /// Endpoints and report are new.
    pub(crate) fn amend(&self, endpoints: EndpointTable, report: Report) {
        let mut state = self.state();
        state.newer = Some((endpoints, report));
        state.count += 1;
        self.published.notify_all();
    }

    /// What is served; `None` before the first publish.
    pub(crate) fn get(&self) -> Option<Arc<Translation>> {
        let mut state = self.state();
        let newer = state.newer.take();
        let translation = state.translation.as_mut()?;
        if let Some((endpoints, report)) = newer {
            // A copy, where somebody still holds the former one.
            let translation = Arc::make_mut(translation);
            translation.endpoints = endpoints;
            translation.report = report;
        }
        Some(Arc::clone(translation))
    }

    /// Waits for the first publish; `false` when it does not come in time.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        while state.count == 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = match self.published.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }
}

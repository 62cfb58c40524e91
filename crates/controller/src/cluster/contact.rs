//! Since when which watch has had no contact with the API server; for metrics and the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use telemetry::Telemetry;
use translate::ObjectKind;

/// See the module. Of all watches of a kind, the metric tells the one that is stale longest.
pub(super) struct Contact {
    telemetry: Arc<Telemetry>,
    stale: Mutex<BTreeMap<Arc<str>, (ObjectKind, SystemTime)>>,
}

impl Contact {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Self {
        Self { telemetry, stale: Mutex::default() }
    }

    /// A watch has contact; tells since when it had none.
    pub(super) fn fresh(&self, kind: ObjectKind, watch: &Arc<str>) -> Option<SystemTime> {
        self.change(kind, |stale| stale.remove(watch)).map(|(_, since)| since)
    }

    /// A watch ends for good.
    pub(super) fn forget(&self, kind: ObjectKind, watch: &Arc<str>) {
        self.fresh(kind, watch);
    }

    /// A watch has no contact; `true` when it had until now.
    pub(super) fn stale(&self, kind: ObjectKind, watch: &Arc<str>) -> bool {
        self.telemetry.watch_failed(kind.name());
        let now = SystemTime::now();
        self.change(kind, |stale| {
            let is_news = !stale.contains_key(watch);
            stale.entry(Arc::clone(watch)).or_insert((kind, now));
            is_news
        })
    }

    /// A watch has listed everything anew.
    pub(super) fn listed(&self, kind: ObjectKind) {
        self.telemetry.watch_listed(kind.name());
    }

    fn change<T>(
        &self,
        kind: ObjectKind,
        change: impl FnOnce(&mut BTreeMap<Arc<str>, (ObjectKind, SystemTime)>) -> T,
    ) -> T {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut stale);
        let since = stale.values().filter(|(of, _)| *of == kind).map(|(_, since)| *since).min();
        let seconds = since.and_then(|since| since.duration_since(UNIX_EPOCH).ok());
        self.telemetry.watch_stale_since(kind.name(), seconds.map_or(0.0, |s| s.as_secs_f64()));
        changed
    }
}

//! The one thread that owns the objects: takes changes in, decides what must be built, builds it,
//! and has it served.
//!
//! ```text
//!  batches, answers, settings ─► take ─► relevance ─► build ─► publish ─► report, log, metrics
//! ```
//!
//! Builds start at once when there was nothing to do, and otherwise as long after the last build as
//! that took: at most half a core, and never longer late than a build takes. What arrives during a
//! build is the next build.
//!
//! What must hold: what is served equals the translation of the objects as they are, once nothing
//! waits. A whole build is the definition; shorter ones are checked against it when there is time.

mod hold;
mod pace;
mod tell;

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use model::{Diagnostic, Generation};
use telemetry::{BuildKind, Telemetry};
use translate::address::OwnListeners;
use translate::{
    Memo, ObjectKey, ObjectKind, ObjectStore, References, Services, Settings, Translation,
};

use crate::changes;
use crate::cluster::Inflow;
use crate::latest::Latest;
use crate::relevance::{self, Relevance};
use crate::resolve::{self, Known, Names, Query, Resolved, SystemLookup};
use crate::reviews::Question;
use crate::source::Batch;
use crate::{Change, Publish, Tell};
use hold::{FIRST_HOLD_MAX, HOLD_MAX, Hold};
use pace::Pace;

/// How many messages may wait. Sources wait at it, so that nothing is lost.
pub(crate) const MESSAGES_MAX: usize = 1_024;

/// From so many changed objects on it is quicker to look at all than at what they concern.
const CHANGED_MAX: usize = 64;

/// What the compiler is told.
pub(crate) enum Message {
    /// A source has news.
    Batch(Batch),
    /// A source has news that wait there.
    Inflow(Arc<Inflow>),
    /// A name has other addresses.
    Resolved(Query, Resolved),
    /// The operator changed listeners.
    Settings(Box<Settings>),
    /// Somebody asks what is to be said of an Ingress.
    Review(Box<Question>),
    /// End.
    Stop,
}

/// The kinds of function that translate; fields, so that a test can have some that panic.
type Translate = fn(&ObjectStore, &Settings, &mut Memo) -> Translation;
type Relink = fn(&ObjectStore, &Settings, &mut Memo, &BTreeSet<ObjectKey>) -> Option<Translation>;

/// See the module.
pub(crate) struct Compiler {
    objects: ObjectStore,
    settings: Settings,
    memo: Memo,
    translate: Translate,
    relink: Relink,
    /// What is served, as translation made it: without what sources, names and listeners added.
    current: Option<Translation>,
    /// What must be built.
    due: Relevance,
    /// What changed since the last build; of more than [`CHANGED_MAX`] the rest is not noted.
    changed: BTreeSet<ObjectKey>,
    /// Services whose endpoints changed and are not served; of more than [`CHANGED_MAX`] the rest
    /// is not noted.
    services: Services,
    /// Services that changed themselves and are not served; as many.
    other_services: Services,
    /// The generation that is served.
    generation: Option<Generation>,
    /// How long the last build took until it was served.
    took: Duration,
    /// The last build failed: whatever changes next, everything is built.
    has_failed: bool,
    /// The report changed although nothing must be built.
    is_report_due: bool,
    from_source: Vec<Diagnostic>,
    from_publish: Vec<Diagnostic>,
    from_names: Vec<Diagnostic>,
    names: Option<Names<SystemLookup>>,
    known_names: Known,
    own_listeners: OwnListeners,
    pace: Pace,
    hold: Hold,
    outside: Outside,
}

/// Is told what a translation looked at by name; gives the namespaces of what is still to come from
/// the source.
pub(crate) type Want = Box<dyn FnMut(&References) -> BTreeSet<Arc<str>> + Send>;

/// Is told what is served, after it is.
pub(crate) type Served = Box<dyn FnMut(&Arc<Translation>) + Send>;

/// What the compiler speaks to.
pub(crate) struct Outside {
    /// What an earlier process served last.
    pub(crate) last_good: Option<Translation>,
    pub(crate) want: Option<Want>,
    pub(crate) served: Option<Served>,
    pub(crate) publish: Publish,
    pub(crate) report: Tell,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) latest: Arc<Latest>,
}

impl Compiler {
    pub(crate) fn new(
        settings: Settings,
        names: Option<Names<SystemLookup>>,
        outside: Outside,
    ) -> Self {
        let own_listeners = settings.own_listeners();
        Self {
            objects: ObjectStore::new(),
            settings,
            memo: Memo::default(),
            translate: translate::translate,
            relink: translate::relink,
            current: None,
            due: Relevance::None,
            changed: BTreeSet::new(),
            services: Services::new(),
            other_services: Services::new(),
            generation: None,
            took: Duration::ZERO,
            has_failed: false,
            is_report_due: false,
            from_source: Vec::new(),
            from_publish: Vec::new(),
            from_names: Vec::new(),
            names,
            known_names: Known::new(),
            own_listeners,
            pace: Pace::default(),
            hold: Hold::default(),
            outside,
        }
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) {
        if let Some(last_good) = self.outside.last_good.take() {
            self.serve_last_good(last_good);
        }
        loop {
            let now = Instant::now();
            let first = match self.next_step(now) {
                Some(at) => inbox.recv_deadline(at.max(now)),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let first = match first {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for message in first.into_iter().chain(inbox.try_iter().take(MESSAGES_MAX)) {
                if !self.take(message) {
                    return;
                }
            }
            self.step(Instant::now());
        }
    }

    /// Serves what an earlier process served, until the objects are known. Where we listen is for
    /// today's settings to say.
    fn serve_last_good(&mut self, mut last_good: Translation) {
        last_good.model.listeners.clone_from(&self.settings.listeners);
        last_good.model.listeners.sort_unstable();
        let publish = &mut self.outside.publish;
        let published = catch_unwind(AssertUnwindSafe(|| publish(&last_good, Change::Full)));
        if let Ok(observed) = published {
            self.from_publish = observed;
            let generation = last_good.model.generation();
            let hosts = last_good.model.hosts.len();
            tracing::warn!(%generation, hosts, "serving the last good configuration until objects are read");
            self.outside.telemetry.serves_last_good(true);
            self.report();
            self.outside.latest.replace_from_file(Arc::new(last_good));
        }
    }

    /// Takes one message in; `false` when it was the last.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Batch(batch) => self.take_batch(batch),
            Message::Inflow(inflow) => {
                self.take_batch(inflow.take());
                // What was waited for may be among it.
                self.hold.has_news();
            }
            Message::Resolved(query, resolved) => {
                self.known_names.insert(query, resolved);
                self.due = self.due.max(Relevance::Endpoints);
            }
            Message::Settings(settings) => {
                self.own_listeners = settings.own_listeners();
                self.settings = *settings;
                self.due = Relevance::Full;
            }
            Message::Review(question) => self.review(*question),
            Message::Stop => return false,
        }
        true
    }

    /// Answers by the objects as they are; not at all before all of them have been read.
    fn review(&self, Question { proposal, answer }: Question) {
        // Who waited too long must not cost those who build.
        if answer.is_closed() {
            return;
        }
        let Some(current) = self.current.as_ref().filter(|_| self.objects.is_synced()) else {
            return;
        };
        let say = || {
            translate::review(
                &self.objects,
                &self.settings,
                &self.memo,
                &current.references,
                &proposal,
            )
        };
        if let Ok(verdict) = catch_unwind(AssertUnwindSafe(say)) {
            // Who does not wait any more need not know.
            drop(answer.send(verdict));
        } else {
            tracing::error!("reviewing an Ingress failed: a defect of this program");
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        for event in batch.events {
            let change = self.objects.apply(event);
            for key in &change.keys {
                // Of the last build, which may be held back.
                let relevance = match self.memo.references() {
                    Some(references) if self.current.is_some() && !self.has_failed => {
                        relevance::of(key, references)
                    }
                    _ => Relevance::Full,
                };
                self.due = self.due.max(relevance);
                self.note(key, relevance);
                if relevance != Relevance::None && self.changed.len() <= CHANGED_MAX {
                    self.changed.insert(key.clone());
                }
            }
        }
        self.outside.telemetry.stale_files(batch.stale_files as u64);
        if self.from_source != batch.diagnostics {
            self.from_source = batch.diagnostics;
            self.is_report_due = true;
        }
        if self.current.is_none() && self.objects.is_synced() {
            self.due = Relevance::Full;
        }
    }

    /// Notes whose endpoints are others: of what is built, and, while that is held back, of what is
    /// served.
    fn note(&mut self, key: &ObjectKey, relevance: Relevance) {
        let of_served = || {
            let current = self.current.as_ref().filter(|_| self.hold.is_waiting());
            current.map(|current| relevance::of(key, &current.references))
        };
        let noted = if key.kind == ObjectKind::Service {
            if relevance == Relevance::None && of_served().is_none_or(|of| of == Relevance::None) {
                return;
            }
            &mut self.other_services
        } else if relevance == Relevance::Endpoints || of_served() == Some(Relevance::Endpoints) {
            &mut self.services
        } else {
            return;
        };
        if noted.len() <= CHANGED_MAX {
            // Of slices and `Endpoints` that is the name of their Service.
            noted.insert((key.namespace.clone(), key.name.clone()));
        }
    }

    /// When [`Self::step`] has something to do without any message.
    fn next_step(&self, now: Instant) -> Option<Instant> {
        if !self.objects.is_synced() {
            return None;
        }
        if self.due != Relevance::None {
            let soonest = self.pace.next_build(now);
            let until = self.hold.until().filter(|_| self.services.is_empty());
            return Some(until.map_or(soonest, |until| soonest.max(until)));
        }
        if self.is_report_due { Some(now) } else { self.pace.next_check() }
    }

    /// Does what is due by now.
    fn step(&mut self, now: Instant) {
        let Some(at) = self.next_step(now).filter(|&at| at <= now) else { return };
        if self.hold.until().is_some_and(|until| now < until) {
            return self.pass_endpoints();
        }
        match self.due {
            Relevance::Endpoints | Relevance::Parts if self.pace.is_whole_due(now) => {
                self.build_all();
            }
            Relevance::None if self.is_report_due && self.current.is_some() => self.report(),
            Relevance::None => {
                debug_assert!(at <= now);
                self.build_all();
            }
            Relevance::Endpoints => self.build_endpoints(),
            Relevance::Parts => self.build_parts(),
            Relevance::Full => self.build_all(),
        }
    }

    /// Everything.
    fn build_all(&mut self) {
        let started = Instant::now();
        let is_check = self.due == Relevance::None;
        let settings = self.settings_now();
        let build = || (self.translate)(&self.objects, &settings, &mut self.memo);
        match catch_unwind(AssertUnwindSafe(build)) {
            Ok(translation) => {
                let is_other = self.take_over(translation, true, started);
                if is_check && is_other {
                    tracing::error!(
                        "what was built of single changes was not what all objects give: a defect \
                         of this program, and mended by this build"
                    );
                }
            }
            Err(panic) => self.failed(BuildKind::Full, started, &*panic),
        }
    }

    /// What the changed objects concern.
    fn build_parts(&mut self) {
        if self.changed.len() > CHANGED_MAX {
            return self.build_all();
        }
        let started = Instant::now();
        let settings = self.settings_now();
        let build = || (self.relink)(&self.objects, &settings, &mut self.memo, &self.changed);
        match catch_unwind(AssertUnwindSafe(build)) {
            Ok(Some(translation)) => {
                self.take_over(translation, false, started);
            }
            Ok(None) => self.build_all(),
            Err(panic) => self.failed_short(BuildKind::Full, started, &*panic),
        }
    }

    fn settings_now(&self) -> Settings {
        Settings { now: self.settings.now.or_else(seconds_now), ..self.settings.clone() }
    }

    /// Has what was built served, unless it waits for objects; whether it is something else than
    /// what was.
    fn take_over(&mut self, translation: Translation, is_whole: bool, started: Instant) -> bool {
        self.due = Relevance::None;
        self.changed.clear();
        if self.holds(&translation.references, started) {
            self.pass_endpoints();
            self.pace.built(is_whole, started, Instant::now());
            return false;
        }
        self.services.clear();
        self.other_services.clear();
        let before = self.current.replace(translation);
        // After a failure nobody knows whether that one is served.
        let before = before.filter(|_| !std::mem::take(&mut self.has_failed));
        self.ask_names();
        let difference =
            self.current.as_ref().and_then(|new| changes::between(before.as_ref(), new));
        match difference {
            Some(change) => {
                if self.publish(change, started) {
                    self.tell_all(before.as_ref(), change);
                }
            }
            // What is served is what was built; only what is to be said of it may be new.
            None => self.share(None),
        }
        self.pace.built(is_whole, started, Instant::now());
        difference.is_some()
    }

    /// Asks the source for what a translation looked at by name; `true` when some of it is still to
    /// come and is worth waiting for.
    fn holds(&mut self, references: &References, now: Instant) -> bool {
        let Some(want) = &mut self.outside.want else { return false };
        let max = if self.current.is_some() { HOLD_MAX } else { FIRST_HOLD_MAX };
        let missing = want(references);
        let is_missing = !missing.is_empty();
        let was_waiting = self.hold.is_waiting();
        if self.hold.waits_for(missing, max, now) {
            // What comes is put beside what is built already.
            self.due = Relevance::Parts;
            return true;
        }
        if is_missing && was_waiting {
            // They are told when they come.
            tracing::warn!("objects that Ingresses name are still to come: serving without them");
        }
        false
    }

    /// Endpoints alone, where that is possible.
    fn build_endpoints(&mut self) {
        let started = Instant::now();
        let Some(current) = &mut self.current else { return self.build_all() };
        let build = || {
            // Without one, it is names whose addresses changed.
            if self.services.is_empty() || self.services.len() > CHANGED_MAX {
                return translate::endpoints_only(&self.objects, &self.settings, current);
            }
            translate::endpoints_of(&self.objects, &self.settings, current, &self.services)
        };
        match catch_unwind(AssertUnwindSafe(build)) {
            Ok(Some(endpoints)) => {
                self.memo.keep_endpoints(&endpoints);
                current.endpoints = endpoints;
            }
            Ok(None) => return self.build_parts(),
            Err(panic) => return self.failed_short(BuildKind::Endpoints, started, &*panic),
        }
        self.due = Relevance::None;
        self.changed.clear();
        self.services.clear();
        self.other_services.clear();
        self.publish_endpoints(started);
    }

    /// The endpoints of what is served, while what was built after it waits: an endpoint that has
    /// gone must not stay for somebody's certificate.
    fn pass_endpoints(&mut self) {
        let mut services = std::mem::take(&mut self.services);
        // By the ports that a Service had, slices of those that it has are none: they wait.
        services.retain(|service| !self.other_services.contains(service));
        let is_any = services.len().max(self.other_services.len()) <= CHANGED_MAX;
        let Some(current) = self.current.as_mut().filter(|_| is_any && !services.is_empty()) else {
            return;
        };
        let started = Instant::now();
        let build =
            || translate::endpoints_meanwhile(&self.objects, &self.settings, current, &services);
        match catch_unwind(AssertUnwindSafe(build)) {
            Ok(Some(endpoints)) => current.endpoints = endpoints,
            Ok(None) => return,
            Err(panic) => return self.failed_short(BuildKind::Endpoints, started, &*panic),
        }
        if !self.publish_endpoints(started) {
            // With what waited, which nobody would build any more.
            self.due = Relevance::Full;
        }
    }

    /// `false` when that panicked.
    fn publish_endpoints(&mut self, started: Instant) -> bool {
        let is_published = self.publish(Change::EndpointsOnly, started);
        if is_published {
            if let Some(generation) = self.generation {
                let telemetry = &self.outside.telemetry;
                telemetry.build_served(BuildKind::Endpoints, &generation.to_string(), self.took);
            }
            tracing::debug!(took_us = self.took.as_micros(), "serving other endpoints");
        }
        self.pace.built(false, started, Instant::now());
        is_published
    }

    /// A whole build, which does without what the short one went by, may succeed.
    fn failed_short(&mut self, kind: BuildKind, started: Instant, panic: &(dyn Any + Send)) {
        self.failed(kind, started, panic);
        self.due = Relevance::Full;
    }

    /// What is served stays. The next change builds everything, since this one is not in it.
    fn failed(&mut self, kind: BuildKind, started: Instant, panic: &(dyn Any + Send)) {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        tracing::error!(
            panic = said,
            "building the configuration failed: a defect of this program. The last configuration \
             keeps serving, and changes are not served until one of them can be built"
        );
        // It may be half-way through something.
        self.memo = Memo::default();
        self.due = Relevance::None;
        self.changed.clear();
        self.has_failed = true;
        self.outside.telemetry.build_failed(kind);
        self.pace.built(true, started, Instant::now());
    }

    /// Names that the Model asks about are resolved from now on; answers come as messages.
    fn ask_names(&mut self) {
        let Some(current) = &self.current else { return };
        let wanted: BTreeSet<Query> = Query::all(&current.model);
        self.known_names.retain(|query, _| wanted.contains(query));
        let Some(names) = &mut self.names else { return };
        for query in names.want(&wanted) {
            let problem = Some("too many names are asked for".to_owned());
            self.known_names.insert(query, Resolved { addresses: Vec::new(), problem });
        }
    }

    /// Has the current translation served, with the addresses of names in its endpoints; `false`
    /// when that panicked.
    fn publish(&mut self, change: Change, started: Instant) -> bool {
        let Some(current) = &mut self.current else { return false };
        self.from_names.clear();
        // What translation found is kept apart: it is what the next short build starts from.
        let mut unmerged = None;
        if !self.known_names.is_empty() {
            unmerged = Some(current.endpoints.clone());
            let (known, own) = (&self.known_names, &self.own_listeners);
            self.from_names = resolve::merge(&current.model, known, own, &mut current.endpoints);
        }
        let publish = &mut self.outside.publish;
        let published = catch_unwind(AssertUnwindSafe(|| publish(current, change)));
        self.took = started.elapsed();
        let merged = match unmerged {
            Some(unmerged) => Some(std::mem::replace(&mut current.endpoints, unmerged)),
            None => None,
        };
        self.outside.telemetry.serves_last_good(false);
        match published {
            Ok(observed) if change != Change::EndpointsOnly => self.from_publish = observed,
            Ok(_) => {}
            Err(panic) => {
                self.failed(change.build_kind(), started, &*panic);
                return false;
            }
        }
        if change == Change::EndpointsOnly {
            let endpoints = merged.unwrap_or_else(|| current.endpoints.clone());
            let report = self.full_report();
            self.outside.latest.amend(endpoints, report);
            self.report();
        } else {
            self.share(merged);
        }
        true
    }
}

fn seconds_now() -> Option<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(now.as_secs()).ok()
}

#[cfg(test)]
mod tests;

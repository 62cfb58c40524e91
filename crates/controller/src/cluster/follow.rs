//! One list and the watch after it, for ever: what is told goes to the compiler.
//!
//! ```text
//!          ┌──────────── 410, or the server keeps refusing ───────────┐
//!          ▼                                                          │
//!  list (streamed, or in pages) ─► watch from there ─► event ─► event ┴► end: watch again
//! ```
//!
//! Our own loop over the client's lists and watches, since it must be seen when a watch is open
//! again and when a bookmark came: only then is what is served known to be fresh.
//!
//! A list is told as a whole, with what it lacks: no state in between is ever seen. An error leaves
//! everything as it was told last.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, TryStreamExt as _};
use kube::api::{ListParams, WatchParams};
use kube::core::{DynamicObject, WatchEvent};
use kube::{Api, Error};
use model::Diagnostic;
use tokio::time::timeout;
use translate::{Object, ObjectKey, ObjectKind};

use super::backoff::Backoff;
use super::connect::chain;
use super::forbidden;
use super::line::ASKED_MAX;
use super::teller::Told;
use super::watched::{Item, key};
use crate::report::Observed;

/// How long one page, or the beginning of an answer, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Objects in a page where lists are not streamed.
const PAGE: u32 = 500;

/// How long a watch may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The server ends a watch after so many seconds, and so many more by chance. One that says
    /// nothing for longer has lost its connection: where the peer is gone without a word, that is
    /// found out sooner, and where somebody in between holds the line, by this alone.
    pub(super) watch_s: u32,
    pub(super) spread_s: u32,
    /// How much later than announced the end of a watch may come.
    pub(super) late: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { watch_s: 150, spread_s: 60, late: Duration::from_secs(10) }
    }
}

/// A watch that ends sooner than this is no success.
const SHORT: Duration = Duration::from_secs(1);

/// After so many refusals in a row a watch begins with a list.
const REFUSALS_MAX: u32 = 3;

/// A watch that is refused so many times in a row is forbidden, and not one whose server has just
/// started and does not know its own roles yet.
const FORBIDDEN_MIN: u32 = 3;

/// After so many, about 16 seconds, the start does not wait for a namespace that may not be read.
const EXCUSED_MIN: u32 = 6;

/// How often a kind that is not installed is looked for.
const ABSENT_LOOK: Duration = Duration::from_secs(10);

/// Which objects are followed, and who is told.
#[derive(Clone)]
pub(super) struct Follow {
    /// How the log calls it; unique among all watches.
    pub(super) name: Arc<str>,
    pub(super) kind: ObjectKind,
    /// A namespace, in words of RBAC.
    pub(super) namespace: Option<Arc<str>>,
    /// One object alone, by name.
    pub(super) object: Option<Arc<str>>,
    pub(super) fields: Option<String>,
    pub(super) labels: Option<String>,
    /// Without the right to it, things go on as if there were none.
    pub(super) is_optional: bool,
    pub(super) told: Arc<dyn Told>,
    /// What was told to be there.
    pub(super) known: Known,
    /// Who sees Ingresses as they come, with their status.
    pub(super) observed: Option<Arc<Observed>>,
    pub(super) limits: Limits,
}

/// The objects that a watch has told to be there; shared with whoever ends the watch.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<Mutex<HashSet<ObjectKey>>>);

impl Known {
    fn keys(&self) -> MutexGuard<'_, HashSet<ObjectKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What another watch told becomes this one's.
    pub(super) fn adopt(&self, keys: HashSet<ObjectKey>) {
        self.keys().extend(keys);
    }

    /// All of them, forgotten here.
    pub(super) fn take(&self) -> HashSet<ObjectKey> {
        std::mem::take(&mut *self.keys())
    }
}

/// Why a round ended.
enum End {
    /// The watch ended as watches do.
    Ended,
    /// The server has forgotten where the watch stood.
    Gone,
    /// An object does not fit its type.
    Unfit(String),
    /// Anything else, with the status that the server answered, if it did, and how long it wishes
    /// to be left alone.
    Failed { why: String, status: Option<u16>, wait: Option<Duration> },
    /// The right is missing.
    Forbidden(String),
    /// The server has no such kind.
    NoKind(String),
    /// The server cannot stream lists.
    CannotStream,
}

/// Where a watch stands.
#[derive(Default)]
struct Place {
    /// From which version on the watch goes; none begins with a list.
    version: Option<String>,
    /// The next list is one in pages. The one after it is asked for as a stream again: a server
    /// that cannot says so in one answer, and lists are seldom.
    pages: bool,
}

impl Follow {
    /// Follows until the task is ended. `typed` and `untyped` are the same resource.
    pub(super) async fn run<K: Item>(self, typed: Api<K>, untyped: Api<DynamicObject>)
    where
        K::DynamicType: Default,
    {
        let mut place = Place::default();
        let mut backoff = Backoff::default();
        let mut is_untyped = false;
        loop {
            let begun = tokio::time::Instant::now();
            let end = if is_untyped {
                self.round(&untyped, &mut place, &mut backoff).await
            } else {
                self.round(&typed, &mut place, &mut backoff).await
            };
            let wait = match end {
                End::Ended if begun.elapsed() >= SHORT => continue,
                End::Ended => backoff.next(None, fastrand::f64()),
                End::Gone => {
                    tracing::debug!(watch = &*self.name, "the place of the watch is gone: listing");
                    place.version = None;
                    if begun.elapsed() >= SHORT {
                        continue;
                    }
                    // A server that forgets at once is not asked for list after list.
                    backoff.next(None, fastrand::f64())
                }
                End::Unfit(why) => {
                    tracing::warn!(
                        watch = &*self.name,
                        why,
                        "an object does not fit its type: read as far as it goes"
                    );
                    place.version = None;
                    // Should it happen once more, it is a failure like any other.
                    if !std::mem::replace(&mut is_untyped, true) {
                        continue;
                    }
                    self.failed(&why, &mut backoff, None)
                }
                End::CannotStream => {
                    tracing::debug!(watch = &*self.name, "the server streams no lists: in pages");
                    place.pages = true;
                    continue;
                }
                End::Failed { why, status, wait } => {
                    let wait = self.failed(&why, &mut backoff, wait);
                    let is_refusal = status.is_some_and(|status| !is_busy(status));
                    if is_refusal && backoff.failures() >= REFUSALS_MAX {
                        // What cannot be streamed may come in pages, or the other way round.
                        place.pages = !place.pages && place.version.is_none();
                        place.version = None;
                        // One object that the server cannot give, such as a Secret that it cannot
                        // decrypt or a name that it cannot parse, must not hold up all others.
                        if matches!(status, Some(400 | 422 | 500)) {
                            self.told.gave_up(&self);
                        }
                    }
                    wait
                }
                End::NoKind(why) => {
                    place.version = None;
                    if self.is_optional {
                        self.is_absent(&why)
                    } else {
                        self.failed(&why, &mut backoff, None)
                    }
                }
                End::Forbidden(why) => {
                    place.version = None;
                    self.is_forbidden(&why, &mut backoff)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// A kind that somebody installs, or not: then what is known of it stays, and it is looked for
    /// again.
    fn is_absent(&self, why: &str) -> Duration {
        tracing::debug!(watch = &*self.name, why, "not installed: done without");
        self.told.done_without(self, None);
        ABSENT_LOOK
    }

    fn failed(&self, why: &str, backoff: &mut Backoff, asked: Option<Duration>) -> Duration {
        let wait = backoff.next(asked, fastrand::f64());
        if self.told.lost(self) {
            tracing::warn!(
                watch = &*self.name,
                why,
                "no contact with the API server: the last configuration keeps serving"
            );
        } else {
            tracing::debug!(watch = &*self.name, why, ?wait, "still no contact");
        }
        wait
    }

    /// What is known stays: servers that start refuse what they allow a moment later, and whoever
    /// takes a right away does not mean the traffic.
    fn is_forbidden(&self, why: &str, backoff: &mut Backoff) -> Duration {
        let wait = backoff.next(None, fastrand::f64());
        let is_news = self.told.lost(self);
        if backoff.failures() < FORBIDDEN_MIN {
            return wait;
        }
        let diagnostic = forbidden::diagnostic(self, why);
        if is_news || backoff.failures() == FORBIDDEN_MIN {
            if self.is_optional {
                tracing::info!(watch = &*self.name, why, "may not be read: done without");
            } else {
                let help = diagnostic.help.as_deref().unwrap_or_default();
                tracing::error!(watch = &*self.name, why, help, "may not be read");
            }
        }
        let is_silent = self.is_optional;
        self.told.done_without(self, if is_silent { None } else { Some(diagnostic) });
        if backoff.failures() >= EXCUSED_MIN && self.namespace.is_some() {
            self.told.excused(self);
        }
        wait
    }

    /// Lists where that is due, and watches until something ends it.
    async fn round<K: Item>(&self, api: &Api<K>, place: &mut Place, backoff: &mut Backoff) -> End {
        let watched = match &place.version {
            Some(version) => {
                let opened = self.open(api, &self.watch_params(false), version).await;
                self.follow(opened, place, backoff, None).await
            }
            None if place.pages => match self.list(api, place).await {
                Ok(()) => {
                    backoff.reset();
                    place.pages = false;
                    return self.again(api, place, backoff).await;
                }
                Err(error) => Err(error),
            },
            None => {
                let opened = self.open(api, &self.watch_params(true), "").await;
                // Who is only busy is not asked for more work instead.
                if let Err(End::Failed { status: Some(400 | 422), .. }) = &opened {
                    return End::CannotStream;
                }
                self.follow(opened, place, backoff, Some(Vec::new())).await
            }
        };
        match watched {
            Ok(()) => End::Ended,
            Err(end) => end,
        }
    }

    async fn again<K: Item>(&self, api: &Api<K>, place: &mut Place, backoff: &mut Backoff) -> End {
        let Some(version) = place.version.clone() else { return End::Gone };
        let opened = self.open(api, &self.watch_params(false), &version).await;
        match self.follow(opened, place, backoff, None).await {
            Ok(()) => End::Ended,
            Err(end) => end,
        }
    }

    fn field_selector(&self) -> Option<String> {
        let name = self.object.as_ref().map(|name| format!("metadata.name={name}"));
        name.or_else(|| self.fields.clone())
    }

    fn watch_params(&self, lists: bool) -> WatchParams {
        WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.field_selector(),
            timeout: Some(self.limits.watch_s + fastrand::u32(0..=self.limits.spread_s)),
            bookmarks: true,
            send_initial_events: lists,
        }
    }

    async fn open<K: Item>(
        &self,
        api: &Api<K>,
        params: &WatchParams,
        version: &str,
    ) -> Result<(impl Stream<Item = kube::Result<WatchEvent<K>>> + use<K>, Duration), End> {
        let announced = params.timeout.unwrap_or(self.limits.watch_s);
        let silence = Duration::from_secs(announced.into()) + self.limits.late;
        match timeout(ANSWER_TIMEOUT, api.watch(params, version)).await {
            Ok(Ok(stream)) => Ok((stream, silence)),
            Ok(Err(error)) => Err(end_of(error)),
            Err(_) => Err(no_answer()),
        }
    }

    /// Takes events in until the watch ends. `list` gathers the objects of a streamed list until it
    /// is complete.
    async fn follow<K: Item>(
        &self,
        opened: Result<(impl Stream<Item = kube::Result<WatchEvent<K>>>, Duration), End>,
        place: &mut Place,
        backoff: &mut Backoff,
        mut list: Option<Vec<(ObjectKey, Object)>>,
    ) -> Result<(), End> {
        let (stream, silence) = opened?;
        let mut stream = pin!(stream);
        let mut diagnostics: Vec<Diagnostic> = Vec::new();
        if list.is_none() {
            self.contact(backoff);
        }
        loop {
            let event = match timeout(silence, stream.try_next()).await {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) if list.is_some() => return Err(cut("the list was cut off")),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(end_of(error)),
                Err(_) => return Err(cut("the watch fell silent")),
            };
            match event {
                WatchEvent::Added(item) | WatchEvent::Modified(item) => {
                    let version = item.meta().resource_version.clone();
                    let key = key(self.kind, item.meta());
                    self.show(&item);
                    if list.is_some() && !self.told.wants(&key) {
                        continue;
                    }
                    let taken = item.take();
                    diagnostics.extend(taken.diagnostics.into_iter().map(|said| said.diagnostic));
                    match (&mut list, taken.object) {
                        (Some(list), Some(object)) => list.push((key, object)),
                        (Some(_), None) => {}
                        (None, Some(object)) => {
                            self.known.keys().insert(key.clone());
                            place.version = version;
                            self.told.applied(self, key, object);
                        }
                        (None, None) => place.version = version,
                    }
                }
                WatchEvent::Deleted(item) if list.is_none() => {
                    let key = key(self.kind, item.meta());
                    self.known.keys().remove(&key);
                    self.forget(&key);
                    place.version.clone_from(&item.meta().resource_version);
                    self.told.deleted(self, key);
                }
                // Gone while the list was still on its way.
                WatchEvent::Deleted(item) => {
                    let key = key(self.kind, item.meta());
                    self.forget(&key);
                    if let Some(list) = &mut list {
                        list.retain(|(listed, _)| *listed != key);
                    }
                }
                WatchEvent::Bookmark(bookmark) => {
                    let ends = bookmark.metadata.annotations.contains_key(LIST_ENDS);
                    if let Some(listed) = list.take_if(|_| ends) {
                        self.told_list(listed);
                        self.told.said(self, std::mem::take(&mut diagnostics));
                    }
                    // Half a list is no place to go on from.
                    if list.is_none() {
                        place.version = Some(bookmark.metadata.resource_version);
                        self.contact(backoff);
                    }
                }
                WatchEvent::Error(status) => return Err(end_of(Error::Api(status))),
            }
        }
    }

    /// Lists in pages.
    async fn list<K: Item>(&self, api: &Api<K>, place: &mut Place) -> Result<(), End> {
        let mut params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.field_selector(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut listed = Vec::new();
        let mut diagnostics = Vec::new();
        loop {
            let page = match timeout(ANSWER_TIMEOUT, api.list(&params)).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => return Err(end_of(error)),
                Err(_) => return Err(no_answer()),
            };
            for mut item in page.items {
                item.be_of(&page.types);
                let key = key(self.kind, item.meta());
                self.show(&item);
                if !self.told.wants(&key) {
                    continue;
                }
                let taken = item.take();
                diagnostics.extend(taken.diagnostics.into_iter().map(|said| said.diagnostic));
                listed.extend(taken.object.map(|object| (key, object)));
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                place.version = page.metadata.resource_version;
                break;
            }
        }
        self.told_list(listed);
        self.told.said(self, diagnostics);
        Ok(())
    }

    fn told_list(&self, listed: Vec<(ObjectKey, Object)>) {
        let there: HashSet<ObjectKey> = listed.iter().map(|(key, _)| key.clone()).collect();
        let mut known = self.known.keys();
        let gone: Vec<ObjectKey> = known.difference(&there).cloned().collect();
        *known = there;
        drop(known);
        for key in &gone {
            self.forget(key);
        }
        self.told.listed(self, listed, gone);
    }

    /// Shows an object to who reports, before anybody is told of what it asks for.
    fn show(&self, item: &impl Item) {
        if let Some(observed) = self.observed.as_ref().filter(|_| self.kind == ObjectKind::Ingress)
        {
            item.show(observed);
        }
    }

    fn forget(&self, key: &ObjectKey) {
        if let Some(observed) = self.observed.as_ref().filter(|_| key.kind == ObjectKind::Ingress) {
            observed.forget(&key.namespace, &key.name);
        }
    }

    fn contact(&self, backoff: &mut Backoff) {
        backoff.reset();
        self.told.contact(self);
    }
}

/// On the bookmark after the last object of a streamed list.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

fn cut(why: &str) -> End {
    End::Failed { why: why.to_owned(), status: None, wait: None }
}

fn no_answer() -> End {
    cut("no answer in time")
}

/// What an error means for a watch.
fn end_of(error: Error) -> End {
    let status = match error {
        Error::Api(status) => status,
        Error::SerdeError(error) => return End::Unfit(error.to_string()),
        other => return cut(&chain(&other)),
    };
    if status.code == 410 || status.reason == "Expired" {
        return End::Gone;
    }
    if status.code == 404 {
        return End::NoKind(format!("{} (404)", status.message));
    }
    if status.is_forbidden() {
        return End::Forbidden(status.message);
    }
    let asked = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    // Who is told 429 without a time waits a second, as other clients do.
    let asked = if status.code == 429 { asked.max(1) } else { asked };
    End::Failed {
        why: format!("{} ({})", status.message, status.code),
        status: Some(status.code),
        wait: (asked > 0).then(|| Duration::from_secs(asked.into()).min(ASKED_MAX)),
    }
}

/// Whether a server that answers so would do what it was asked for, at another time.
fn is_busy(status: u16) -> bool {
    matches!(status, 429 | 503)
}

#[cfg(test)]
mod tests;

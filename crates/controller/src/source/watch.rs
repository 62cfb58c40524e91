//! Keeps a directory source up to date: listens to the kernel, looks when it says something.
//!
//! Only what says that a write is finished counts: close after writing, move, creation of a link or
//! directory, deletion. A modification does not: half a file is no news. As a net below, everything
//! is compared by its metadata every [`POLL`], or every [`POLL_DEAF`] where nothing can be watched.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Batch;
use super::directory::{Directory, Hints};

/// How often everything is compared although the kernel is listened to.
const POLL: Duration = Duration::from_secs(10);

/// How often everything is compared where the kernel cannot be listened to.
const POLL_DEAF: Duration = Duration::from_secs(1);

/// How many events may wait. Beyond, they are forgotten and everything is compared instead.
const EVENTS_MAX: usize = 4_096;

/// The thread that watches. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    stop: Option<Sender<()>>,
    reads_standard_input: bool,
    thread: Option<JoinHandle<()>>,
}

impl Watching {
    /// Reads everything, watches from then on, and gives every batch to `tell` until that returns
    /// `false`.
    pub(crate) fn start(
        mut directory: Directory,
        mut tell: impl FnMut(Batch) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let reads_standard_input = directory.reads_standard_input();
        let thread = thread::Builder::new().name("manifests".into()).spawn(move || {
            if !directory.is_watchable() {
                tell(directory.start(std::io::stdin().lock()));
                return;
            }
            // Watched before it is read, so that nothing falls between the two.
            directory.survey();
            let mut following = Loop::new(directory);
            following.watch();
            if tell(following.directory.start(std::io::stdin().lock())) {
                following.run(&stopped, tell);
            }
        })?;
        Ok(Self { stop: Some(stop), reads_standard_input, thread: Some(thread) })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic there was printed when it happened. Reading standard input may never end: then
        // the thread ends with the process.
        if let Some(thread) = self.thread.take().filter(|_| !self.reads_standard_input) {
            let _ = thread.join();
        }
    }
}

struct Loop {
    directory: Directory,
    watcher: Option<RecommendedWatcher>,
    events: Receiver<Event>,
    /// Keeps `events` open where there is no watcher.
    _events_sender: Sender<Event>,
    has_lost_events: Arc<AtomicBool>,
    watched: HashSet<PathBuf>,
    is_deaf: bool,
}

impl Loop {
    fn new(directory: Directory) -> Self {
        let (sender, events) = bounded(EVENTS_MAX);
        let events_sender = sender.clone();
        let has_lost_events = Arc::new(AtomicBool::new(false));
        let lost = Arc::clone(&has_lost_events);
        let watcher =
            notify::recommended_watcher(move |event: notify::Result<Event>| match event {
                Ok(event) if event.need_rescan() => lost.store(true, Ordering::Release),
                Ok(event) if is_news(event.kind) => {
                    if sender.try_send(event).is_err() {
                        lost.store(true, Ordering::Release);
                    }
                }
                Ok(_) => {}
                Err(_) => lost.store(true, Ordering::Release),
            });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "manifests cannot be watched; polling"))
            .ok();
        let is_deaf = watcher.is_none();
        Self {
            directory,
            watcher,
            events,
            _events_sender: events_sender,
            has_lost_events,
            watched: HashSet::new(),
            is_deaf,
        }
    }

    fn run(mut self, stopped: &Receiver<()>, mut tell: impl FnMut(Batch) -> bool) {
        let mut hints = Hints::default();
        let mut last_poll = Instant::now();
        loop {
            if hints.poll {
                last_poll = Instant::now();
            }
            if let Some(batch) = self.directory.refresh(&hints, Instant::now())
                && !tell(batch)
            {
                return;
            }
            if self.watch() {
                // Something may have come into a directory before it was watched.
                hints = Hints { list: true, ..Hints::default() };
                continue;
            }
            let poll_at = last_poll + if self.is_deaf { POLL_DEAF } else { POLL };
            let wake_at = self.directory.next_look().map_or(poll_at, |look| look.min(poll_at));
            hints = Hints::default();
            select! {
                recv(stopped) -> _ => return,
                recv(self.events) -> event => {
                    if let Ok(event) = event {
                        self.gather(event, &mut hints);
                    }
                }
                default(wake_at.saturating_duration_since(Instant::now())) => {}
            }
            let has_lost = self.has_lost_events.swap(false, Ordering::AcqRel);
            hints.poll = has_lost || Instant::now() >= poll_at;
        }
    }

    /// Takes an event and all that wait behind it.
    fn gather(&mut self, first: Event, hints: &mut Hints) {
        for event in std::iter::once(first).chain(self.events.try_iter().take(EVENTS_MAX)) {
            let is_new_file = matches!(event.kind, EventKind::Create(CreateKind::File));
            for path in event.paths {
                if !self.directory.concerns(&path) {
                    continue;
                }
                // A directory that went, came or is another now: its watch is of the former one.
                if self.watched.remove(&path)
                    && let Some(watcher) = &mut self.watcher
                {
                    // It may have gone with the directory.
                    let _ = watcher.unwatch(&path);
                }
                if is_new_file && is_being_written(&path) {
                    hints.created.insert(path);
                } else {
                    hints.created.remove(&path);
                    hints.touched.insert(path);
                }
            }
        }
    }

    /// Watches what the last listing found, and nothing else; `true` when that is more than before.
    fn watch(&mut self) -> bool {
        let Some(watcher) = &mut self.watcher else { return false };
        let wanted: HashSet<PathBuf> = self.directory.directories().iter().cloned().collect();
        for gone in self.watched.difference(&wanted) {
            // Deleted directories have lost their watch already.
            let _ = watcher.unwatch(gone);
        }
        let mut failed = HashSet::new();
        for path in wanted.difference(&self.watched) {
            if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
                if !self.is_deaf {
                    tracing::warn!(path = %path.display(), %error, "cannot be watched; polling");
                }
                failed.insert(path.clone());
            }
        }
        self.is_deaf = !failed.is_empty();
        let now_watched = &wanted - &failed;
        let is_more = !now_watched.is_subset(&self.watched);
        self.watched = now_watched;
        is_more
    }
}

/// Whether an event says that something is finished.
fn is_news(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// Whether a file that has just been created is one that somebody holds open to write: not a link,
/// and not another name of a file that was there.
fn is_being_written(path: &std::path::Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1)
}

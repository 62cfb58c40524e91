//! Manifests on disk: files, directories (recursively), or `-` for standard input, read once.
//!
//! What is served survives what cannot be read (last good, per file): a file that is cut off,
//! denied or has a syntax error keeps the objects of its last good contents, and a diagnostic says
//! so. At the start there is no last good: such a file is left out and named. An absence counts as
//! deletion only where it was seen, in a directory that could be listed; and, as an editor may be
//! between taking the old file away and putting the new one there, only if it lasts for
//! [`SECOND_LOOK`].
//!
//! Nothing here knows how changes are noticed: [`Directory::refresh`] is told what may have
//! changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{Code, Diagnostic, Effect, FieldPath, ObjectRef};
use translate::manifests::{FileDiagnostic, Position};
use translate::{ObjectEvent, ObjectKey};

use super::claims::{Claimant, Claims};
use super::listing::{Listing, Stamp, is_hidden, is_manifest};
use super::manifest::{self, Manifest, Reading};
use super::{Batch, file_ref};

/// How long a file that shrank to nothing or vanished may be so before it is believed.
pub(crate) const SECOND_LOOK: Duration = Duration::from_millis(20);

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long ago a file must have been written to, for the slow poll to take it as finished.
const SETTLED_SECONDS: i64 = 1;

/// Stands for standard input among the files.
const STANDARD_INPUT: &str = "-";

/// A path that was given, and what it means wherever the process stands later.
#[derive(Clone, Debug)]
struct Root {
    given: PathBuf,
    absolute: PathBuf,
}

/// What may have changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hints {
    /// Paths that were written and closed, moved, created or deleted.
    pub(crate) touched: BTreeSet<PathBuf>,
    /// Regular files that were created and are probably being written.
    pub(crate) created: BTreeSet<PathBuf>,
    /// List everything anew.
    pub(crate) list: bool,
    /// The same, and trust no absence of hints about files that were written to in place.
    pub(crate) poll: bool,
}

/// One file as last read.
#[derive(Debug)]
struct File {
    /// As the user would name it: the path given, and what comes below.
    name: Arc<str>,
    stamp: Stamp,
    /// The last good contents; empty where there never were any.
    manifest: Manifest,
    /// Why the present contents are not these; empty when they are.
    unreadable: Vec<FileDiagnostic>,
    has_been_good: bool,
}

/// The files under some paths, and what they say.
#[derive(Debug)]
pub(crate) struct Directory {
    roots: Vec<Root>,
    has_standard_input: bool,
    /// Places of objects are kept, and what a file says although it cannot be read as a whole
    /// counts: for those who look, not for those who serve.
    is_for_reading: bool,
    files: BTreeMap<Arc<Path>, File>,
    paths: HashMap<Arc<str>, Arc<Path>>,
    claims: Claims,
    /// What could not be listed, as last seen.
    unlisted: Vec<FileDiagnostic>,
    /// Files that shrank to nothing or vanished, and when to believe it.
    doubted: BTreeMap<Arc<Path>, Instant>,
    /// Files being written for the first time: not read before they are closed.
    unfinished: BTreeSet<PathBuf>,
    /// The directories that were read last, to be watched.
    directories: BTreeSet<PathBuf>,
}

impl Directory {
    /// A source over these paths. Nothing is read yet.
    ///
    /// # Errors
    /// When a path does not exist: a mistyped path should not look like an empty directory.
    pub(crate) fn open(paths: &[PathBuf]) -> io::Result<Self> {
        let mut directory = Self {
            roots: Vec::new(),
            has_standard_input: false,
            is_for_reading: false,
            files: BTreeMap::new(),
            paths: HashMap::new(),
            claims: Claims::default(),
            unlisted: Vec::new(),
            doubted: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            directories: BTreeSet::new(),
        };
        for given in paths {
            if given == Path::new(STANDARD_INPUT) {
                directory.has_standard_input = true;
                continue;
            }
            std::fs::metadata(given).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", given.display()))
            })?;
            let absolute = std::path::absolute(given)?;
            directory.roots.push(Root { given: given.clone(), absolute });
        }
        Ok(directory)
    }

    /// The same, for commands that read once and want to know where everything stands.
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub(crate) fn open_for_reading(paths: &[PathBuf]) -> io::Result<Self> {
        Ok(Self { is_for_reading: true, ..Self::open(paths)? })
    }

    /// Finds the directories to watch, and reads no file.
    pub(crate) fn survey(&mut self) {
        self.directories = Listing::of(self.roots.iter().map(|root| &*root.absolute)).directories;
    }

    /// Reads everything for the first time. The batch ends with `Synced`.
    pub(crate) fn start(&mut self, standard_input: impl io::Read) -> Batch {
        let mut keys = BTreeSet::new();
        if self.has_standard_input {
            keys.extend(self.read_standard_input(standard_input));
        }
        keys.extend(self.list(&Hints { poll: true, ..Hints::default() }, Instant::now(), true));
        let mut batch = self.batch(&keys);
        batch.events.push(ObjectEvent::Synced);
        batch
    }

    /// Looks at what may have changed, and tells what did; `None` when nothing.
    pub(crate) fn refresh(&mut self, hints: &Hints, now: Instant) -> Option<Batch> {
        let diagnostics_before = self.diagnostics();
        self.unfinished.extend(hints.created.iter().cloned());
        let mut keys = BTreeSet::new();
        let mut needs_list = hints.poll || hints.list;
        for path in &hints.touched {
            self.unfinished.remove(path);
            match self.touch(path, now) {
                Some(touched) => keys.extend(touched),
                None => needs_list = true,
            }
        }
        if needs_list {
            keys.extend(self.list(hints, now, false));
        }
        keys.extend(self.look_again(now));
        let has_news = !keys.is_empty() || self.diagnostics() != diagnostics_before;
        has_news.then(|| self.batch(&keys))
    }

    /// When [`Self::refresh`] wants to be called again without any hint.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.doubted.values().min().copied()
    }

    /// The directories to watch.
    pub(crate) fn directories(&self) -> &BTreeSet<PathBuf> {
        &self.directories
    }

    /// Whether the start waits for standard input to end.
    pub(crate) fn reads_standard_input(&self) -> bool {
        self.has_standard_input
    }

    /// Whether anything can change after the start.
    pub(crate) fn is_watchable(&self) -> bool {
        !self.roots.is_empty()
    }

    /// Whether an event about `path` can matter: it lies under a root, or a root lies at it, or it
    /// is a link such as `..data` beside a file.
    pub(crate) fn concerns(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(&root.absolute))
            || self.directories.contains(path)
            || path.parent().is_some_and(|parent| self.directories.contains(parent))
    }

    /// Looks at one path. `None` when only a new listing can tell what happened.
    fn touch(&mut self, path: &Path, now: Instant) -> Option<BTreeSet<ObjectKey>> {
        let is_root = self.roots.iter().any(|root| root.absolute == path);
        let metadata = std::fs::symlink_metadata(path);
        match metadata {
            Ok(metadata) if metadata.is_file() => {
                let known = self.files.get_key_value(path).map(|(path, _)| Arc::clone(path));
                if known.is_none() && (!is_manifest(path) || !self.is_listed(path)) && !is_root {
                    return Some(BTreeSet::new());
                }
                let path = known.unwrap_or_else(|| path.into());
                Some(self.read(&path, Stamp::of(&metadata), now, false))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_root => {
                let Some((known, _)) = self.files.get_key_value(path) else {
                    // A directory, a link, or nothing of ours.
                    let has_files_below = self.files.keys().any(|file| file.starts_with(path));
                    let matters = has_files_below || is_hidden(path);
                    return if matters { None } else { Some(BTreeSet::new()) };
                };
                let known = Arc::clone(known);
                self.doubted.entry(known).or_insert(now + SECOND_LOOK);
                Some(BTreeSet::new())
            }
            _ => None,
        }
    }

    /// Whether `path` lies in a directory that is read, rather than one watched for a root in it.
    fn is_listed(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(&root.absolute))
            && path.parent().is_some_and(|parent| self.directories.contains(parent))
    }

    /// Lists all roots, reads what is new or another file, and doubts what is gone.
    fn list(&mut self, hints: &Hints, now: Instant, is_start: bool) -> BTreeSet<ObjectKey> {
        let listing = Listing::of(self.roots.iter().map(|root| &*root.absolute));
        let mut keys = BTreeSet::new();
        for (path, &stamp) in &listing.files {
            // The poll is for what was not heard of.
            let is_settled = hints.poll && is_settled(stamp);
            let is_new = match self.files.get(path) {
                // Written to in place: heard of when it is closed.
                Some(file) if file.stamp.is_same_file(&stamp) => file.stamp != stamp && is_settled,
                Some(_) | None => true,
            };
            let must_read = is_new && (is_settled || !self.unfinished.contains(&**path));
            if must_read {
                self.unfinished.remove(&**path);
                keys.extend(self.read(path, stamp, now, is_start));
            }
        }
        for path in self.files.keys() {
            let is_there = listing.files.contains_key(path) || **path == *Path::new(STANDARD_INPUT);
            let is_unseen = listing.unlisted.iter().any(|(unseen, _)| path.starts_with(unseen));
            if !is_there && !is_unseen {
                self.doubted.entry(Arc::clone(path)).or_insert(now + SECOND_LOOK);
            }
        }
        self.unfinished.retain(|path| path.exists());
        self.unlisted = listing
            .unlisted
            .iter()
            .map(|(path, error)| unreadable(&self.name(path), error))
            .collect();
        self.unlisted = manifest::with_effect(std::mem::take(&mut self.unlisted), !is_start);
        self.directories = listing.directories;
        keys
    }

    /// Looks again at what shrank to nothing or vanished, where the time has come.
    fn look_again(&mut self, now: Instant) -> BTreeSet<ObjectKey> {
        let due: Vec<_> = self
            .doubted
            .iter()
            .filter(|&(_, &due)| due <= now)
            .map(|(path, _)| Arc::clone(path))
            .collect();
        let mut keys = BTreeSet::new();
        for path in due {
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    if !self.unfinished.contains(&*path) {
                        keys.extend(self.read(&path, Stamp::of(&metadata), now, false));
                    }
                }
                Ok(_) => keys.extend(self.forget(&path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    keys.extend(self.forget(&path));
                }
                Err(_) => {}
            }
            self.doubted.remove(&path);
        }
        keys
    }

    fn forget(&mut self, path: &Arc<Path>) -> BTreeSet<ObjectKey> {
        let Some(file) = self.files.remove(path) else { return BTreeSet::new() };
        self.paths.remove(&file.name);
        self.claims.replace(&file.name, &[])
    }

    /// Reads one file and takes in what it says; what cannot be read changes no object.
    fn read(
        &mut self,
        path: &Arc<Path>,
        stamp: Stamp,
        now: Instant,
        is_start: bool,
    ) -> BTreeSet<ObjectKey> {
        let name = self.name(path);
        let text = read_text(path);
        if text.as_ref().is_ok_and(|text| text.trim().is_empty())
            && self.files.get(path).is_some_and(|file| !file.manifest.objects.is_empty())
            && self.doubted.get(path).is_none_or(|&due| now < due)
        {
            self.doubted.entry(Arc::clone(path)).or_insert(now + SECOND_LOOK);
            return BTreeSet::new();
        }
        self.doubted.remove(path);
        let read = match text {
            Ok(text) => manifest::read(&name, &text, self.is_for_reading),
            Err(error) => {
                Reading { unreadable: vec![unreadable(&name, &error)], ..Reading::default() }
            }
        };
        self.take(path, &name, stamp, read, !is_start)
    }

    fn take(
        &mut self,
        path: &Arc<Path>,
        name: &Arc<str>,
        stamp: Stamp,
        read: Reading,
        may_have_good: bool,
    ) -> BTreeSet<ObjectKey> {
        self.paths.entry(Arc::clone(name)).or_insert_with(|| Arc::clone(path));
        let file = self.files.entry(Arc::clone(path)).or_insert_with(|| File {
            name: Arc::clone(name),
            stamp,
            manifest: Manifest::default(),
            unreadable: Vec::new(),
            has_been_good: false,
        });
        file.stamp = stamp;
        let is_good = read.unreadable.is_empty();
        file.unreadable =
            manifest::with_effect(read.unreadable, may_have_good && file.has_been_good);
        file.has_been_good |= is_good;
        if !is_good && !self.is_for_reading {
            return BTreeSet::new();
        }
        file.manifest = read.manifest;
        self.claims.replace(name, &file.manifest.objects)
    }

    fn read_standard_input(&mut self, mut input: impl io::Read) -> BTreeSet<ObjectKey> {
        let name = Arc::from(STANDARD_INPUT);
        let mut text = String::new();
        let read = match input.by_ref().take(FILE_BYTES_MAX).read_to_string(&mut text) {
            Ok(_) => manifest::read(&name, &text, self.is_for_reading),
            Err(error) => {
                Reading { unreadable: vec![unreadable(&name, &error)], ..Reading::default() }
            }
        };
        self.take(&Arc::from(Path::new(STANDARD_INPUT)), &name, Stamp::none(), read, false)
    }

    /// A file as the user would name it: the path given, and what comes below.
    fn name(&self, path: &Path) -> Arc<str> {
        let root = self.roots.iter().find(|root| path.starts_with(&root.absolute));
        let given = root.and_then(|root| {
            let below = path.strip_prefix(&root.absolute).ok()?;
            let is_root = below.as_os_str().is_empty();
            Some(if is_root { root.given.clone() } else { root.given.join(below) })
        });
        given.as_deref().unwrap_or(path).display().to_string().into()
    }

    /// How many files cannot be read as a whole.
    pub(crate) fn unreadable_files(&self) -> usize {
        self.files.values().filter(|file| !file.unreadable.is_empty()).count() + self.unlisted.len()
    }

    /// All that is to be said now about files and the objects in them.
    pub(crate) fn diagnostics(&self) -> Vec<FileDiagnostic> {
        let mut all = self.unlisted.clone();
        for file in self.files.values() {
            all.extend(file.unreadable.iter().chain(&file.manifest.diagnostics).cloned());
        }
        all.extend(self.claims.duplicates().map(|(at, diagnostic)| FileDiagnostic {
            file: Arc::clone(&at.0),
            position: self.position(at, &FieldPath::default()).unwrap_or(Position::START),
            diagnostic,
        }));
        all
    }

    /// Where a field of an object stands; `None` for what is in none of these files, or where
    /// places are not kept.
    pub(crate) fn locate(
        &self,
        object: &ObjectRef,
        field: &FieldPath,
    ) -> Option<(Arc<str>, Position)> {
        let claimant = self.claims.locate(object)?;
        Some((Arc::clone(&claimant.0), self.position(claimant, field)?))
    }

    fn position(&self, (name, index): &Claimant, field: &FieldPath) -> Option<Position> {
        let file = self.files.get(self.paths.get(name)?)?;
        Some(file.manifest.positions.get(*index)?.of(field))
    }

    fn batch(&self, keys: &BTreeSet<ObjectKey>) -> Batch {
        let event = |key: &ObjectKey| match self.claims.holder(key) {
            Some(object) => ObjectEvent::Applied(object.clone()),
            None => ObjectEvent::Deleted(key.clone()),
        };
        let is_stale = |file: &&File| !file.unreadable.is_empty() && file.has_been_good;
        Batch {
            events: keys.iter().map(event).collect(),
            diagnostics: self.diagnostics().into_iter().map(placed).collect(),
            stale_files: self.files.values().filter(is_stale).count() + self.unlisted.len(),
        }
    }
}

/// A file that cannot be read at all.
fn unreadable(name: &Arc<str>, error: &io::Error) -> FileDiagnostic {
    let diagnostic = Diagnostic {
        severity: Code::UnreadableManifest.info().severity,
        code: Code::UnreadableManifest,
        object: file_ref(name),
        field: FieldPath::default(),
        message: error.to_string(),
        help: None,
        related: Vec::new(),
        effect: Effect::ObjectIgnored,
    };
    FileDiagnostic { file: Arc::clone(name), position: Position::START, diagnostic }
}

/// The diagnostic with its place in the sentence, where the place is not told by object and field.
fn placed(one: FileDiagnostic) -> Diagnostic {
    let FileDiagnostic { position, mut diagnostic, .. } = one;
    if diagnostic.code == Code::UnreadableManifest && position != Position::START {
        diagnostic.message = format!("line {}: {}", position.line, diagnostic.message);
    }
    diagnostic
}

/// Whether nobody is writing to a file any more, as far as its time of change tells.
fn is_settled(stamp: Stamp) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let age = i64::try_from(now).unwrap_or(i64::MAX) - stamp.modified_seconds();
    // A time in the future says nothing; waiting for it would be waiting for ever.
    !(0..=SETTLED_SECONDS).contains(&age)
}

fn read_text(path: &Path) -> io::Result<String> {
    let file = std::fs::File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("{bytes} bytes; at most {FILE_BYTES_MAX} are read")));
    }
    let mut text = String::with_capacity(usize::try_from(bytes).unwrap_or_default() + 1);
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;

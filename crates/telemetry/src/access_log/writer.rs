//! The thread that writes the access log, one write per batch.
//!
//! It sleeps until several batches wait or a worker's tick wakes it: on a busy core, waking a
//! thread for each batch costs more than writing the batch.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::{LogTarget, open};

/// How many batches may wait. At it batches are dropped, so that at most about 2 MiB wait.
const BATCHES_MAX: usize = 64;

/// With this many batches waiting the writer is woken; with fewer, at the next tick.
const BATCHES_WOKEN_FOR: usize = 4;

/// How many empty buffers are kept for reuse; more are freed.
const SPARES_MAX: usize = 2 * BATCHES_WOKEN_FOR;

enum Message {
    Batch(Vec<u8>),
    Flush(Sender<()>),
    Reopen,
}

/// The writer thread, seen from outside. It ends when this and all handles are gone.
#[derive(Debug)]
pub(crate) struct Writer {
    handle: Handle,
    failures: Arc<AtomicU64>,
}

/// What a worker hands its batches to.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    sender: Sender<Message>,
    spares: Receiver<Vec<u8>>,
    /// Below the sender: the writer must look again after the last sender has gone.
    writer: Sleeper,
}

/// The writer's thread, once there is one.
#[derive(Clone, Debug)]
struct Sleeper(Option<Thread>);

impl Sleeper {
    fn wake(&self) {
        if let Some(thread) = &self.0 {
            thread.unpark();
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.wake();
    }
}

impl Handle {
    /// Gives `batch` to the writer, or back when the writer is behind.
    pub(crate) fn send(&self, batch: Vec<u8>) -> Result<(), Vec<u8>> {
        match self.sender.try_send(Message::Batch(batch)) {
            Ok(()) => {
                if self.sender.len() >= BATCHES_WOKEN_FOR {
                    self.writer.wake();
                }
                Ok(())
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => match message
            {
                Message::Batch(batch) => Err(batch),
                Message::Flush(_) | Message::Reopen => Err(Vec::new()),
            },
        }
    }

    /// Has written what waits.
    pub(crate) fn wake(&self) {
        if !self.sender.is_empty() {
            self.writer.wake();
        }
    }

    /// A buffer that was written, to be filled again.
    pub(crate) fn spare(&self) -> Vec<u8> {
        self.spares.try_recv().unwrap_or_default()
    }
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(target: LogTarget) -> Self {
        let (sender, messages) = bounded(BATCHES_MAX);
        let (spare_sender, spares) = bounded(SPARES_MAX);
        let failures = Arc::new(AtomicU64::new(0));
        let mut sink = Sink::new(target, Arc::clone(&failures));
        let thread = thread::Builder::new().name("access-log".into());
        let started = thread.spawn(move || write_all(&messages, &spare_sender, &mut sink));
        let writer = match started {
            Ok(started) => Some(started.thread().clone()),
            Err(error) => {
                // Without the thread every batch is dropped, and counted as such.
                tracing::error!(%error, "the access log cannot be written: no thread");
                failures.fetch_add(1, Ordering::Relaxed);
                None
            }
        };
        Self { handle: Handle { sender, spares, writer: Sleeper(writer) }, failures }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Waits until all that was handed over is written; `false` when `timeout` passes before.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let (done, written) = bounded(1);
        let started = std::time::Instant::now();
        self.send(Message::Flush(done), timeout)
            && written.recv_timeout(timeout.saturating_sub(started.elapsed())).is_ok()
    }

    /// Has the file opened anew; forgotten when the writer is behind by a full channel.
    pub(crate) fn reopen(&self) {
        if !self.send(Message::Reopen, Duration::from_secs(1)) {
            tracing::warn!("the access log was not opened anew: its writer is behind");
        }
    }

    /// Waits for room, then has the message seen to at once.
    fn send(&self, message: Message, timeout: Duration) -> bool {
        self.handle.writer.wake();
        let sent = self.handle.sender.send_timeout(message, timeout).is_ok();
        self.handle.writer.wake();
        sent
    }
}

fn write_all(messages: &Receiver<Message>, spares: &Sender<Vec<u8>>, sink: &mut Sink) {
    loop {
        match messages.try_recv() {
            Ok(Message::Batch(mut batch)) => {
                sink.write(&batch);
                batch.clear();
                // Full: there are buffers enough.
                let _ = spares.try_send(batch);
            }
            // Whoever asked may have stopped waiting.
            Ok(Message::Flush(done)) => drop(done.try_send(())),
            Ok(Message::Reopen) => sink.reopen(),
            // A wake between the look and the sleep ends the sleep at once.
            Err(TryRecvError::Empty) => thread::park(),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

/// Where the batches go.
struct Sink {
    file: io::Result<File>,
    path: Option<PathBuf>,
    failures: Arc<AtomicU64>,
    /// Whether the last write failed: a series of failures is told once.
    is_failing: bool,
}

impl Sink {
    fn new(target: LogTarget, failures: Arc<AtomicU64>) -> Self {
        // A descriptor of our own, since the library's stream would split a batch at its buffer.
        let (file, path) = match target {
            LogTarget::Stdout => (io::stdout().as_fd().try_clone_to_owned().map(File::from), None),
            LogTarget::Stderr => (io::stderr().as_fd().try_clone_to_owned().map(File::from), None),
            LogTarget::File(log) => (Ok(log.file), Some(log.path)),
        };
        Self { file, path, failures, is_failing: false }
    }

    fn write(&mut self, batch: &[u8]) {
        let result = match &mut self.file {
            Ok(file) => file.write_all(batch),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        self.note(result);
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        let result = open(path).map(|file| self.file = Ok(file));
        self.note(result);
    }

    fn note(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.is_failing = false,
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if !self.is_failing {
                    tracing::error!(%error, "the access log cannot be written");
                }
                self.is_failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccessLog, AccessRecord, Telemetry, TelemetrySettings};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn telemetry(target: LogTarget) -> Arc<Telemetry> {
        Telemetry::new(TelemetrySettings {
            access_log: AccessLog::Text,
            target,
            ..TelemetrySettings::new(2)
        })
    }

    fn record() -> AccessRecord<'static> {
        AccessRecord { path: b"/cart", ..AccessRecord::new(0, "127.0.0.1:5000".parse().unwrap()) }
    }

    #[test]
    fn records_of_all_workers_are_in_the_file_after_a_tick_and_a_flush() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let telemetry = telemetry(LogTarget::file(&path).unwrap());
        let workers = [telemetry.worker(0), telemetry.worker(1)];
        for worker in &workers {
            for _ in 0..1_000 {
                worker.access(&record());
            }
            worker.flush_tick();
        }
        assert!(telemetry.flush(PATIENCE));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2_000);
        assert!(
            text.lines()
                .all(|line| line.ends_with(" scheme=http bytes_in=0 bytes_out=0 duration_us=0"))
        );
        assert!(
            telemetry.render_prometheus().contains("portcullis_access_log_records_total 2000\n")
        );
    }

    #[test]
    fn a_handle_that_goes_hands_over_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let telemetry = telemetry(LogTarget::file(&path).unwrap());
        telemetry.worker(0).access(&record());
        assert!(telemetry.flush(PATIENCE));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let telemetry = telemetry(LogTarget::file(&path).unwrap());
        std::fs::rename(&path, directory.path().join("access.log.1")).unwrap();
        telemetry.reopen_access_log();
        telemetry.worker(0).access(&record());
        assert!(telemetry.flush(PATIENCE));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_worker_never_waits_for_a_sink_that_hangs_and_counts_what_it_drops() {
        let (reader, stuck) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(stuck));
        let target = LogTarget::File(crate::LogFile { file, path: PathBuf::new() });
        let telemetry = telemetry(target);
        let worker = telemetry.worker(0);
        let line = 97;
        let total = (BATCHES_MAX + 8) * 32 * 1024 / line;
        for _ in 0..total {
            worker.access(&record());
        }
        worker.flush_tick();
        let page = telemetry.render_prometheus();
        let number = |name: &str| -> usize {
            let line = page.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        assert!(number("portcullis_access_log_dropped_total ") > 0);
        assert!(!telemetry.flush(Duration::from_millis(1)));
        drop(reader);
        assert!(telemetry.flush(PATIENCE));
        drop(worker);
        assert!(telemetry.flush(PATIENCE));
        let page = telemetry.render_prometheus();
        let number = |name: &str| -> usize {
            let line = page.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        let dropped = number("portcullis_access_log_dropped_total ");
        assert_eq!(number("portcullis_access_log_records_total ") + dropped, total);
        assert!(number("portcullis_access_log_write_failures_total ") > 0);
    }
}

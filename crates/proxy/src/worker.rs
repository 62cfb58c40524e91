//! One worker: a thread with a runtime, its listeners, connections, pools and clock.
//!
//! Everything here is this thread's own. It reads the published snapshot and shared counters; it
//! waits for nobody.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::ListenerId;
use rustls::ServerConfig;
use telemetry::{Gauge, RouteMetrics, WorkerMetrics};
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, mpsc};

use crate::downstream::accept;
use crate::exchange::{Pen, Work};
use crate::publish::{Phase, Published};
use crate::settings::ProxySettings;
use crate::snapshot::{ListenerFacts, Snapshot};
use crate::splice::{PIPES_KEPT_MAX, Pipe};
use crate::upstream::http1::ResponseWork;
use crate::upstream::pool::{Pools, SWEEP_TICKS};
use crate::upstream::tls::ClientConfigs;
use crate::watch::{TICK, Watches, ticks};
use crate::withdrawal::Withdrawal;

/// What bulk reads go through. One per worker, used between two waits only.
const SCRATCH_BYTES: usize = 256 * 1024;

/// Working memory of exchanges that is kept for the next ones: 32 KiB each for request and
/// response. More is freed.
const WORK_KEPT_MAX: usize = 512;

/// What exchanges that are cut get to record themselves.
const STOP_GRACE: Duration = Duration::from_millis(50);

/// What the control side tells a worker. At most a few per publication are under way.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept from this socket.
    Listen(ListenerFacts, TcpListener),
    /// Stop accepting, take what the queue holds, close.
    Unlisten(ListenerId),
    /// There is a newer snapshot: let go of the old one, and drain what it took away.
    Refresh(Option<Arc<Withdrawal>>),
    /// Stop accepting everywhere and end connections as they become idle.
    Drain,
    /// Cut what is left and end.
    Stop,
}

/// The control side's end of a worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    commands: mpsc::UnboundedSender<Command>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl WorkerHandle {
    /// Tells the worker; a worker that has ended hears nothing.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Waits for the thread's end.
    pub(crate) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// What a worker is started with.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) published: Arc<Published>,
    pub(crate) settings: Arc<ProxySettings>,
    pub(crate) metrics: Box<dyn FnOnce() -> WorkerMetrics + Send>,
    pub(crate) unrouted: Arc<RouteMetrics>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) client_tls: Arc<ClientConfigs>,
}

/// Starts a worker thread.
pub(crate) fn spawn(start: Start) -> io::Result<WorkerHandle> {
    let (commands, inbox) = mpsc::unbounded_channel();
    let (ready, started) = std::sync::mpsc::channel();
    let thread =
        std::thread::Builder::new().name(format!("worker-{}", start.index)).spawn(move || {
            let built = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default());
            match built {
                Ok(runtime) => {
                    let _ = ready.send(Ok(()));
                    let worker = Worker::new(start);
                    runtime.block_on(run(worker, inbox));
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended at once")))?;
    Ok(WorkerHandle { commands, thread: std::sync::Mutex::new(Some(thread)) })
}

/// A snapshot as one worker holds it: requests share a count that no other thread touches.
pub(crate) type Pinned = Rc<Arc<Snapshot>>;

/// All that a worker's tasks share.
#[expect(clippy::vec_box, reason = "working memory moves between pool and tasks by pointer")]
pub(crate) struct Worker {
    pub(crate) published: Arc<Published>,
    pub(crate) settings: Arc<ProxySettings>,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) unrouted: Arc<RouteMetrics>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) client_tls: Arc<ClientConfigs>,
    pub(crate) watches: Rc<Watches>,
    pub(crate) pools: Pools,
    /// What the accounts of HTTP/2 connections hold.
    pub(crate) held: Rc<Cell<usize>>,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) pen: RefCell<Pen>,
    pub(crate) rng: RefCell<fastrand::Rng>,
    pub(crate) date: RefCell<HttpDate>,
    pub(crate) wall_clock: Cell<WallClock>,
    work: RefCell<Vec<Box<Work>>>,
    response_work: RefCell<Vec<Box<ResponseWork>>>,
    pipes: RefCell<Vec<Pipe>>,
    pinned: RefCell<(u64, Pinned)>,
    gates: RefCell<HashMap<ListenerId, Rc<Gate>>>,
    /// Process log lines about client behaviour: at most one per second.
    last_notice: Cell<u32>,
}

/// Tells one accept loop to stop.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) closing: Cell<bool>,
    pub(crate) notify: Notify,
}

impl Worker {
    fn new(start: Start) -> Rc<Self> {
        let snapshot = Rc::new(start.published.load());
        let version = start.published.version();
        Rc::new(Self {
            published: start.published,
            settings: start.settings,
            metrics: (start.metrics)(),
            unrouted: start.unrouted,
            tls: start.tls,
            client_tls: start.client_tls,
            watches: Rc::default(),
            pools: Pools::default(),
            held: Rc::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            pen: RefCell::default(),
            rng: RefCell::new(fastrand::Rng::new()),
            date: RefCell::new(HttpDate::now()),
            wall_clock: Cell::new(WallClock::now()),
            work: RefCell::default(),
            response_work: RefCell::default(),
            pipes: RefCell::default(),
            pinned: RefCell::new((version, snapshot)),
            gates: RefCell::default(),
            last_notice: Cell::new(0),
        })
    }

    /// The snapshot of the moment, to be held for one exchange.
    pub(crate) fn pin(&self) -> Pinned {
        let version = self.published.version();
        let mut pinned = self.pinned.borrow_mut();
        if pinned.0 != version {
            *pinned = (version, Rc::new(self.published.load()));
        }
        pinned.1.clone()
    }

    /// Lets go of an outdated snapshot. The publisher holds it too, so nothing is freed here.
    fn refresh(&self, withdrawal: Option<&Withdrawal>) {
        let snapshot = self.pin();
        self.pools.retain(&snapshot);
        if let Some(withdrawal) = withdrawal {
            let end = self.watches.after(ticks(self.settings.limits.withdrawn_timeout));
            self.watches.withdraw(withdrawal, &snapshot, end);
        }
    }

    /// Working memory for one exchange.
    pub(crate) fn take_work(&self) -> Box<Work> {
        self.work.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives working memory back.
    pub(crate) fn give_work(&self, mut work: Box<Work>) {
        let mut kept = self.work.borrow_mut();
        if kept.len() < WORK_KEPT_MAX && work.reset() {
            kept.push(work);
        }
    }

    /// Buffers for one response.
    pub(crate) fn take_response_work(&self) -> Box<ResponseWork> {
        self.response_work.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives response buffers back.
    pub(crate) fn give_response_work(&self, mut work: Box<ResponseWork>) {
        let mut kept = self.response_work.borrow_mut();
        if kept.len() < WORK_KEPT_MAX && work.reset() {
            kept.push(work);
        }
    }

    /// A pipe for a bulk body; `None` when none can be had.
    pub(crate) fn take_pipe(&self) -> Option<Pipe> {
        self.pipes.borrow_mut().pop().or_else(|| Pipe::new().ok())
    }

    /// Gives a pipe back. One with bytes in it is closed.
    pub(crate) fn give_pipe(&self, pipe: Pipe) {
        let mut kept = self.pipes.borrow_mut();
        if pipe.is_empty() && kept.len() < PIPES_KEPT_MAX {
            kept.push(pipe);
        }
    }

    /// How far the process is on its way out.
    pub(crate) fn phase(&self) -> Phase {
        self.published.phase()
    }

    /// Whether a line about something clients can cause at will may be logged now.
    pub(crate) fn may_notice(&self) -> bool {
        let now = self.watches.now();
        let due = now >= self.last_notice.get().saturating_add(10) || self.last_notice.get() == 0;
        if due {
            self.last_notice.set(now.max(1));
        }
        due
    }

    fn gate(&self, id: ListenerId) -> Rc<Gate> {
        self.gates.borrow_mut().entry(id).or_default().clone()
    }

    fn close_gate(&self, id: ListenerId) {
        if let Some(gate) = self.gates.borrow_mut().remove(&id) {
            gate.closing.set(true);
            gate.notify.notify_one();
        }
    }

    fn close_gates(&self) {
        let ids: Vec<ListenerId> = self.gates.borrow().keys().copied().collect();
        for id in ids {
            self.close_gate(id);
        }
    }
}

async fn run(worker: Rc<Worker>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let clock = tokio::task::spawn_local(sweep(worker.clone()));
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Listen(facts, listener) => {
                let gate = worker.gate(facts.id);
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        tokio::task::spawn_local(accept::serve(
                            worker.clone(),
                            facts,
                            listener,
                            gate,
                        ));
                    }
                    Err(error) => {
                        tracing::error!(listener = %facts.id, %error, "cannot accept");
                    }
                }
            }
            Command::Unlisten(id) => worker.close_gate(id),
            Command::Refresh(withdrawal) => worker.refresh(withdrawal.as_deref()),
            Command::Drain => {
                worker.close_gates();
                // Twice in effect: connections that are idle now close, the others see the phase.
                worker.watches.wake_idle();
            }
            Command::Stop => {
                worker.close_gates();
                worker.watches.wake_all();
                // Every exchange ends with its record; then whatever is left goes with the runtime.
                tokio::time::sleep(STOP_GRACE).await;
                break;
            }
        }
    }
    clock.abort();
}

/// The worker's clock: deadlines, idle upstream connections, the log's batch, the date.
async fn sweep(worker: Rc<Worker>) {
    let start = Instant::now();
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let now = (start.elapsed().as_millis() / TICK.as_millis()) as u32;
        worker.watches.sweep(now);
        worker.metrics.set(Gauge::Http2BytesHeld, worker.held.get() as u64);
        worker.metrics.flush_tick();
        worker.wall_clock.set(WallClock::now());
        if now.is_multiple_of(SWEEP_TICKS) {
            worker.date.borrow_mut().refresh();
            worker.pools.sweep(&worker);
        }
        if worker.phase() >= Phase::Draining {
            worker.watches.wake_idle();
        }
    }
}

/// One moment on both clocks, so that the time of day of others needs no clock to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    moment: Instant,
    /// Since the epoch.
    time: Duration,
}

impl WallClock {
    fn now() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { moment: Instant::now(), time }
    }

    /// The time since the epoch at another moment.
    pub(crate) fn of(self, moment: Instant) -> Duration {
        let later = moment.saturating_duration_since(self.moment);
        (self.time + later).saturating_sub(self.moment.saturating_duration_since(moment))
    }
}

/// The `Date` field's line, kept fresh by the clock.
#[derive(Debug)]
pub(crate) struct HttpDate {
    second: u64,
    line: [u8; 37],
}

impl HttpDate {
    fn now() -> Self {
        let mut date = Self { second: 0, line: *b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" };
        date.refresh();
        date
    }

    fn refresh(&mut self) {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second {
            self.second = second;
            let text = httpdate::fmt_http_date(now);
            let text = text.as_bytes();
            let n = text.len().min(29);
            self.line[6..6 + n].copy_from_slice(&text[..n]);
        }
    }

    /// `Date: …` with its CRLF.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }
}

/// Counts a client connection while it lives.
pub(crate) struct Counted(Arc<Published>);

impl Counted {
    /// Counts one more, or answers `None` at the limit.
    pub(crate) fn try_new(published: &Arc<Published>, max: usize) -> Option<Self> {
        let before = published.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Self(published.clone());
        (before < max).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

//! What the process is told from outside: SIGTERM and SIGINT end it, SIGHUP reads its settings
//! anew, SIGUSR1 opens its logs anew.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that this program listens to. Made inside a runtime.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    reopen: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// End in good order; told again, end at once.
    End,
    /// Read the settings anew.
    Reload,
    /// Open log files anew, after they were moved away.
    Reopen,
}

impl Signals {
    /// Starts to listen: from here on a signal no longer kills the process.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next wish.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.reload.recv() => Wish::Reload,
            _ = self.reopen.recv() => Wish::Reopen,
        }
    }
}

/// Waits until the process is told to end.
pub fn wait_for_end() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        while signals.next().await != Wish::End {}
        Ok(())
    })
}

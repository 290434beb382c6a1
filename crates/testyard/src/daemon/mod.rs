//! What the programs that run on and on have in common: `serve` and `agent`.

pub(crate) mod claim;
pub(crate) mod lock;
pub(crate) mod log;
pub(crate) mod mounts;
pub(crate) mod notify;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that such a program hears, from when this is made: those that come while it still starts wait.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Read the configuration again.
    Reload,
    /// End.
    End,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be caught");
        Ok(Self {
            hangup: on(SignalKind::hangup())?,
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
        }
    }
}

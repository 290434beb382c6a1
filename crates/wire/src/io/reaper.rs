//! Closes packet sockets. The kernel waits for all processors at each (some 10 ms), so no worker may do it, and many are
//! closed at once: they share the wait.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::port::Port;

/// Threads that close, if there is that much to close.
const THREADS: usize = 64;
const STACK: usize = 64 << 10;

/// Takes sockets that are no longer needed.
#[derive(Debug)]
pub(crate) struct Reaper {
    sockets: Option<Sender<Port>>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (sockets, closed) = channel();
        let thread =
            std::thread::Builder::new().name("wire-close".to_owned()).spawn(move || work(&closed))?;
        Ok(Self { sockets: Some(sockets), thread: Some(thread) })
    }

    /// Where to send them.
    pub(crate) fn sockets(&self) -> Option<Sender<Port>> {
        self.sockets.clone()
    }
}

impl Drop for Reaper {
    /// Waits until all are closed that have been sent.
    fn drop(&mut self) {
        self.sockets = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(closed: &Receiver<Port>) {
    while let Ok(first) = closed.recv() {
        let mut all: Vec<Port> = std::iter::once(first).chain(closed.try_iter()).collect();
        let share = all.len().div_ceil(THREADS);
        std::thread::scope(|scope| {
            while all.len() > share {
                let some = all.split_off(all.len() - share);
                // Without another thread, this one closes them: they are dropped with what could not be started.
                let _ = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || drop(some));
            }
            drop(all);
        });
    }
}

//! The processes of the node: started here, reaped here, and nowhere else.
//!
//! Process 1 inherits every orphan of the node, so it must wait for any child; then no other code may wait for a
//! particular one. One table holds the children that somebody cares for. It is locked while a child is started, so
//! that a child cannot end unseen before it is in the table, and while children are reaped, so that no signal goes to a
//! number that belongs to somebody else by now.

use std::collections::HashMap;
use std::io;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::{self, End};

/// The children that somebody cares for.
#[derive(Default)]
pub(crate) struct Children {
    table: Mutex<HashMap<i32, Arc<Slot>>>,
}

/// A child; may be cloned and waited for by many.
#[derive(Clone)]
pub(crate) struct Process {
    pid: i32,
    slot: Arc<Slot>,
}

type Callback = Box<dyn FnOnce(End) + Send>;

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    changed: Condvar,
}

#[derive(Default)]
struct SlotState {
    end: Option<End>,
    then: Option<Callback>,
}

impl Children {
    /// Starts a process.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Process> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // Std waits for the child itself if exec fails; the lock keeps `reap` from being first.
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let slot = Arc::<Slot>::default();
        table.insert(pid, Arc::clone(&slot));
        Ok(Process { pid, slot })
    }

    /// Collects every child that has ended, ours or inherited, and tells those who wait.
    pub(crate) fn reap(&self) {
        let mut ended = Vec::new();
        {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some((pid, end)) = sys::reap_one() {
                if let Some(slot) = table.remove(&pid) {
                    ended.push((slot, end));
                }
            }
        }
        for (slot, end) in ended {
            slot.finish(end);
        }
    }

    /// Sends a signal to a child, unless it has ended.
    pub(crate) fn signal(&self, process: &Process, signal: i32) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.contains_key(&process.pid) {
            // It may be a zombie already; then there is nobody to tell.
            let _ = sys::kill(process.pid, signal);
        }
    }

    /// Sends a signal to a child and all of its process group, unless the child has ended.
    pub(crate) fn signal_group(&self, process: &Process, signal: i32) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.contains_key(&process.pid) {
            let _ = sys::kill(-process.pid, signal);
        }
    }
}

// === impl Process ===

impl Process {
    /// Waits until it has ended.
    pub(crate) fn wait(&self) -> End {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(end) = state.end {
                return end;
            }
            state = self.slot.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until it has ended, at most for `time`.
    pub(crate) fn wait_for(&self, time: Duration) -> Option<End> {
        let deadline = Instant::now() + time;
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.end.is_some() || left.is_zero() {
                return state.end;
            }
            state = self.slot.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has `then` called when it has ended, by the thread that reaps; at once if it has ended already.
    pub(crate) fn then(&self, then: impl FnOnce(End) + Send + 'static) {
        let mut state = self.slot.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.end {
            Some(end) => {
                drop(state);
                then(end);
            }
            None => state.then = Some(Box::new(then)),
        }
    }
}

impl Slot {
    fn finish(&self, end: End) {
        let then = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.end = Some(end);
            state.then.take()
        };
        self.changed.notify_all();
        if let Some(then) = then {
            then(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_reach_those_who_wait() {
        // The only test of this binary that starts processes: it reaps all children of the test's process.
        let children = Children::default();
        assert!(children.spawn(&mut Command::new("/nonexistent/program")).is_err());
        let good = children.spawn(Command::new("/bin/sh").args(["-c", "exit 7"])).unwrap();
        let killed = children.spawn(Command::new("/bin/sleep").arg("60")).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        killed.then(move |end| sender.send(end).unwrap());
        children.signal(&killed, libc::SIGRTMIN());
        let deadline = Instant::now() + Duration::from_secs(20);
        while (good.wait_for(Duration::ZERO).is_none() || killed.wait_for(Duration::ZERO).is_none())
            && Instant::now() < deadline
        {
            children.reap();
            testyard_fetch::backoff::pause(Duration::from_millis(2));
        }
        assert_eq!(good.wait(), End::Exited(7));
        assert_eq!(killed.wait(), End::Signalled(libc::SIGRTMIN()));
        assert_eq!(receiver.recv().unwrap(), End::Signalled(libc::SIGRTMIN()));
        children.signal(&killed, libc::SIGKILL);
    }
}

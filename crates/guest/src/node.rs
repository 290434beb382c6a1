//! What the guest's threads share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use testyard_guest_protocol::Desired;

use crate::board::Board;
use crate::children::{Children, Process};
use crate::facts::Desk;
use crate::text;

/// The stack of a thread in bytes; the deepest one decodes archives.
pub(crate) const STACK: usize = 512 << 10;

/// The node, as the guest's threads see it; lives as long as the guest.
pub(crate) struct Node {
    /// Where the node's files begin: `/`.
    pub(crate) root: PathBuf,
    pub(crate) board: Board,
    pub(crate) children: Children,
    pub(crate) desired: Inbox,
    /// What programs in the node may ask.
    pub(crate) facts: Desk,
    /// The image's own program, once it has been started.
    pub(crate) program: Mutex<Option<Process>>,
    /// The signal that asks the image's program to end.
    pub(crate) stop_signal: AtomicI32,
    stopping: AtomicBool,
}

impl Node {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self {
            root,
            board: Board::default(),
            children: Children::default(),
            desired: Inbox::default(),
            facts: Desk::default(),
            program: Mutex::default(),
            stop_signal: AtomicI32::new(libc::SIGTERM),
            stopping: AtomicBool::new(false),
        }
    }

    /// Whether the node is being stopped: nothing new begins.
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Says that the node is being stopped; whether this is the first to say so.
    pub(crate) fn begin_stopping(&self) -> bool {
        !self.stopping.swap(true, Ordering::SeqCst)
    }

    /// The image's own program, if it has been started.
    pub(crate) fn program(&self) -> Option<Process> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts a thread of the guest. A panic in it becomes a failure in the report: process 1 must not end.
pub(crate) fn thread(node: &'static Node, name: &'static str, work: impl FnOnce() + Send + 'static) {
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
            node.board
                .set_broken(format!("the guest's thread {name:?} has a defect; the node's log says more"));
        }
    };
    if let Err(error) = std::thread::Builder::new().name(name.into()).stack_size(STACK).spawn(guarded) {
        node.board.set_broken(format!(
            "the guest's thread {name:?} cannot be started: {}; then geni_restart",
            text::why_not_started(&error)
        ));
    }
}

/// A place for the newest of something: what nobody has taken yet is replaced.
pub(crate) struct Newest<T> {
    slot: Mutex<Option<T>>,
    changed: Condvar,
}

/// The newest desired state.
pub(crate) type Inbox = Newest<Box<Desired>>;

impl<T> Default for Newest<T> {
    fn default() -> Self {
        Self { slot: Mutex::default(), changed: Condvar::new() }
    }
}

impl<T> Newest<T> {
    pub(crate) fn put(&self, value: T) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.changed.notify_all();
    }

    /// Waits for one.
    pub(crate) fn take(&self) -> T {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = slot.take() {
                return value;
            }
            slot = self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

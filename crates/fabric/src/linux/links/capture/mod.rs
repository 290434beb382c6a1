//! Captures of a slice's links: a thread each, which listens at the halves of the interfaces that are asked for.
//!
//! ```text
//!   node A          fabric namespace of the slice           node B
//!  ┌──────┐      ┌──────────────────────────────────┐      ┌──────┐
//!  │ eth1 ┼──────┼ half ◄── impairment ──► half ────┼──────┼ eth1 │
//!  └──────┘      │  tap                     tap     │      └──────┘
//!                └───┼───────────────────────┼──────┘
//!      what A sends, and what gets to A    what B sends, and what gets to B
//! ```
//!
//! A half's two directions are its node's: what comes in at it the node has sent. Whoever makes halves, or takes them away,
//! calls [`Captures::follow`] before they carry anything, so that a node which restarts is captured from its first frame on.

mod budget;
mod reader;
mod tap;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use testyard_capture::filter::Program;
use testyard_model::id::SliceId;

use super::names;
use crate::FabricError;
use crate::capture::{
    CaptureError, CaptureRequest, CaptureStream, EndReason, MOST_CAPTURES, QUEUE, Sender, queue,
};
use crate::links::{HostLink, PortId};
use crate::linux::interface::kernel;
use crate::netlink::Routing;
pub(super) use budget::Budget;
use budget::Share;
use reader::{Command, Control, Reader};
use tap::Tap;

/// What the kernel may hold for a capture, shared by its taps; and for each at least.
const MEMORY: usize = 32 << 20;
const MEMORY_OF_ONE: usize = 256 << 10;

/// Those of one slice that run.
#[derive(Debug)]
pub(super) struct Captures {
    budget: Arc<Budget>,
    running: Vec<Running>,
}

/// Ends when dropped; its reader is told.
#[derive(Debug)]
struct Running {
    request: CaptureRequest,
    program: Program,
    control: Arc<Control>,
    /// The halves that are listened at.
    taps: HashMap<PortId, u32>,
    sender: Sender,
    memory: Share,
    thread: Option<JoinHandle<()>>,
}

/// A capture whose thread has not begun.
#[derive(Debug)]
pub(super) struct Beginning {
    running: Running,
    reader: Reader,
    stream: CaptureStream,
}

// === impl Captures ===

impl Captures {
    /// None yet; they may hold what the budget says.
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, running: Vec::new() }
    }

    /// Opens what a capture listens with. In the slice's namespace.
    pub(super) fn prepare(
        &mut self,
        slice: SliceId,
        request: CaptureRequest,
        program: Program,
        links: &[HostLink],
        host: &mut impl Routing,
    ) -> Result<Beginning, CaptureError> {
        self.forget();
        if self.running.len() >= MOST_CAPTURES {
            return Err(CaptureError::TooMany { slice });
        }
        let failed = |error| failed("preparing a capture", &error);
        let control = Arc::new(Control::new().map_err(failed)?);
        let woken = Arc::clone(&control);
        let (sender, stream) = queue(move || woken.wake());
        let reader = Reader::new(Arc::clone(&control), sender.clone(), request.clone());
        let taps = HashMap::new();
        let memory = self.budget.share();
        let mut running = Running { request, program, control, taps, sender, memory, thread: None };
        for captured in running.request.interfaces(links) {
            running.control.tell(Command::Watch(captured, None));
        }
        running.follow(links, host)?;
        Ok(Beginning { running, reader, stream })
    }

    /// Begins to capture. Not in the slice's namespace, which the thread would keep alive.
    pub(super) fn begin(&mut self, beginning: Beginning) -> Result<CaptureStream, FabricError> {
        let Beginning { mut running, reader, stream } = beginning;
        let thread = std::thread::Builder::new().name("testyard-capture".to_owned());
        let thread =
            thread.spawn(move || reader.run()).map_err(|error| failed("starting a capture", &error))?;
        running.thread = Some(thread);
        self.running.push(running);
        Ok(stream)
    }

    /// Listens at the halves that are there now. In the slice's namespace.
    pub(super) fn follow(&mut self, links: &[HostLink], host: &mut impl Routing) {
        self.forget();
        for running in &mut self.running {
            if !running.request.is_among(links) {
                running.control.end(EndReason::LinkGone);
            } else if let Err(error) = running.follow(links, host) {
                running.control.end(EndReason::Failed(error.to_string()));
            }
        }
    }

    /// Ends all, and waits until they let go of the namespace.
    pub(super) fn end(&mut self) {
        for running in &self.running {
            running.control.end(EndReason::Parted);
        }
        for mut running in self.running.drain(..) {
            if let Some(thread) = running.thread.take() {
                let _ = thread.join();
            }
        }
    }

    /// Those that nobody reads any more, or that have ended by themselves.
    fn forget(&mut self) {
        self.running.retain(|running| {
            let runs = running.thread.as_ref().is_some_and(|thread| !thread.is_finished());
            runs && !running.sender.is_abandoned()
        });
    }
}

// === impl Running ===

impl Running {
    fn follow(&mut self, links: &[HostLink], host: &mut impl Routing) -> Result<(), CaptureError> {
        let wanted: Vec<_> = self.request.interfaces(links).collect();
        let memory = (MEMORY / wanted.len().max(1)).max(MEMORY_OF_ONE);
        self.memory.resize(memory * wanted.len() + QUEUE)?;
        let mut old = std::mem::take(&mut self.taps);
        for captured in wanted {
            let half = names::half(&captured.port);
            let known = old.remove(&captured.port);
            let link = host.link(&half).map_err(|r| kernel(&format!("looking for {half}"), &r))?;
            let Some(link) = link else { continue };
            self.taps.insert(captured.port.clone(), link.index);
            if known != Some(link.index) {
                let tap = Tap::open(link.index, &self.program, memory)
                    .map_err(|error| failed(&format!("listening at {}", captured.name), &error))?;
                self.control.tell(Command::Watch(captured, Some(tap)));
            }
        }
        // On another link now, or on none.
        old.into_keys().for_each(|port| self.control.tell(Command::Leave(port)));
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.end(EndReason::Stopped);
    }
}

fn failed(action: &str, error: &std::io::Error) -> FabricError {
    FabricError::Kernel { action: action.to_owned(), detail: error.to_string() }
}

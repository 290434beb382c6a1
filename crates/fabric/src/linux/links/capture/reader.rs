//! The thread of a capture: reads taps, puts what they say in order, and gives blocks to the queue. It waits for nothing but
//! its taps and its wake-up; a reader that is slow only keeps it from reading.
//!
//! ```text
//!   taps ──frames──► order ──blocks, a round later──► queue ──► whoever reads the capture
//!    ▲ not read while the queue is full: the kernel drops, and counts
//! ```

use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use testyard_capture::order::Order;
use testyard_capture::pcapng::{self, Direction, InterfaceNumber, Packet, Section, Statistics};

use super::tap::{Buffers, Tap};
use crate::capture::{CaptureEnd, CaptureRequest, Captured, EndReason, Sender};
use crate::links::PortId;

/// After some packets: more come together, and each costs less.
const NAP_MS: u8 = 1;
/// Blocks that are read in a round, in bytes, of all taps; and of each at least.
const ROUND: usize = 2 << 20;
const ROUND_OF_ONE: usize = 64 << 10;
/// What the kernel holds at the end is read, but a sender that never stops does not keep it from ending.
const LAST_ROUNDS: usize = 64;

/// What the thread is told.
#[derive(Debug)]
pub(super) struct Control {
    told: Mutex<Told>,
    wake: EventFd,
}

#[derive(Debug, Default)]
struct Told {
    commands: Vec<Command>,
    end: Option<EndReason>,
}

/// A change of what is captured.
#[derive(Debug)]
pub(super) enum Command {
    /// An interface, which may not be there yet. A tap replaces the one before.
    Watch(Captured, Option<Tap>),
    /// It is not wanted any more.
    Leave(PortId),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    control: Arc<Control>,
    sender: Sender,
    request: CaptureRequest,
    section: Section,
    watched: Vec<Watched>,
    order: Order,
    buffers: Buffers,
}

#[derive(Debug)]
struct Watched {
    port: PortId,
    number: InterfaceNumber,
    tap: Option<Tap>,
    begin: u64,
    received: u64,
    dropped: u64,
    written: u64,
    /// Dropped, and not told yet.
    missing: u64,
}

/// What reading a tap has come to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Read {
    Nothing,
    Some,
    /// There is more.
    Enough,
}

// === impl Control ===

impl Control {
    pub(super) fn new() -> io::Result<Self> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { told: Mutex::default(), wake })
    }

    pub(super) fn tell(&self, command: Command) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).commands.push(command);
        self.wake();
    }

    /// The first reason counts.
    pub(super) fn end(&self, reason: EndReason) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).end.get_or_insert(reason);
        self.wake();
    }

    pub(super) fn wake(&self) {
        // It fails only when the thread has been woken more often than a counter of 64 bits holds.
        let _ = self.wake.write(1);
    }

    fn take(&self) -> Told {
        // Before the look: whoever tells something after it wakes again.
        let _ = self.wake.read();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        Told { commands: std::mem::take(&mut told.commands), end: told.end.clone() }
    }
}

// === impl Reader ===

impl Reader {
    /// Begins the section.
    pub(super) fn new(control: Arc<Control>, sender: Sender, request: CaptureRequest) -> Self {
        let mut header = Vec::new();
        let section = Section::begin(concat!("Testyard ", env!("CARGO_PKG_VERSION")), &mut header);
        sender.push(header);
        let buffers = Buffers::new(request.snap_length);
        Self { control, sender, request, section, watched: Vec::new(), order: Order::default(), buffers }
    }

    /// Until it is told to end, or nobody reads.
    pub(super) fn run(mut self) {
        loop {
            let told = self.control.take();
            told.commands.into_iter().for_each(|command| self.obey(command));
            if self.sender.is_abandoned() {
                return;
            }
            if let Some(reason) = told.end {
                return self.finish(reason);
            }
            let is_full = self.sender.is_full();
            let read = if is_full { Read::Nothing } else { self.round() };
            let waited = match read {
                Read::Enough => Ok(()),
                Read::Some => self.wait(false, PollTimeout::from(NAP_MS)),
                Read::Nothing => self.wait(!is_full, PollTimeout::NONE),
            };
            if let Err(error) = waited {
                return self.finish(EndReason::Failed(format!("waiting for packets: {error}")));
            }
        }
    }

    fn wait(&self, for_packets: bool, timeout: PollTimeout) -> io::Result<()> {
        let taps = self.watched.iter().filter_map(|watched| watched.tap.as_ref()).filter(|_| for_packets);
        let mut all: Vec<PollFd<'_>> = std::iter::once(self.control.wake.as_fd())
            .chain(taps.map(|tap| tap.as_fd()))
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        match poll(&mut all, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Watch(captured, tap) => self.watch(&captured, tap),
            Command::Leave(port) => {
                if let Some(index) = self.watched.iter().position(|watched| watched.port == port) {
                    self.replace(index, None);
                }
            }
        }
    }

    fn watch(&mut self, captured: &Captured, tap: Option<Tap>) {
        if let Some(index) = self.watched.iter().position(|watched| watched.port == captured.port) {
            if tap.is_some() {
                self.replace(index, tap);
            }
            return;
        }
        let mut described = Vec::new();
        let interface = pcapng::Interface {
            name: &captured.name,
            description: &captured.link,
            snap_length: self.request.snap_length,
            filter: self.request.expression(),
        };
        let number = self.section.interface(&interface, &mut described);
        self.sender.push(described);
        self.watched.push(Watched {
            port: captured.port.clone(),
            number,
            tap,
            begin: now(),
            received: 0,
            dropped: 0,
            written: 0,
            missing: 0,
        });
    }

    /// What the old tap still holds is read first.
    fn replace(&mut self, index: usize, tap: Option<Tap>) {
        for _ in 0..LAST_ROUNDS {
            if self.sender.is_full() || self.read(index, ROUND) != Read::Enough {
                break;
            }
        }
        self.watched[index].tap = tap;
    }

    /// Reads all taps, and gives what is in order.
    fn round(&mut self) -> Read {
        let each = (ROUND / self.watched.len().max(1)).max(ROUND_OF_ONE);
        let read = (0..self.watched.len()).map(|index| self.read(index, each)).max().unwrap_or(Read::Nothing);
        let blocks = if self.order.size() > ROUND { self.order.flush() } else { self.order.round() };
        self.sender.push(blocks);
        if self.order.is_empty() { read } else { read.max(Read::Some) }
    }

    /// Reads a tap, up to so many bytes of blocks. One whose interface has ended is read to its end, and closed.
    fn read(&mut self, index: usize, limit: usize) -> Read {
        let watched = &mut self.watched[index];
        let Some(tap) = &watched.tap else { return Read::Nothing };
        let (section, order) = (&self.section, &mut self.order);
        let start = order.size();
        let mut result = Read::Nothing;
        let is_over = loop {
            let (number, missing, written) = (watched.number, &mut watched.missing, &mut watched.written);
            let received = tap.receive(&mut self.buffers, |frame| {
                let time = frame.time.unwrap_or_else(now);
                let direction = if frame.is_for_node { Direction::In } else { Direction::Out };
                let missing = std::mem::take(missing);
                let packet = Packet { time, direction, length: frame.length, data: frame.data, missing };
                order.add(time, |out| section.packet(number, &packet, out));
                *written += 1;
            });
            match received {
                Ok(()) if order.size() - start >= limit => {
                    result = Read::Enough;
                    break false;
                }
                Ok(()) => result = Read::Some,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break !tap.is_attached(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It has gone down, or ended; said once.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(error) => {
                    tracing::warn!(%error, port = ?watched.port, "an interface cannot be captured any more");
                    break true;
                }
            }
        };
        if let Ok(counts) = tap.counts() {
            watched.received += counts.received;
            watched.dropped += counts.dropped;
            watched.missing += counts.dropped;
        }
        if is_over {
            watched.tap = None;
        }
        result
    }

    /// The rest of the packets, statistics, the reason. The taps are closed when this returns.
    fn finish(mut self, reason: EndReason) {
        for index in 0..self.watched.len() {
            self.replace(index, None);
        }
        let mut blocks = self.order.flush();
        let end = now();
        let mut total = CaptureEnd { reason, received: 0, dropped: 0 };
        for watched in &self.watched {
            let dropped = watched.received.saturating_sub(watched.written);
            let statistics = Statistics { begin: watched.begin, end, received: watched.received, dropped };
            self.section.statistics(watched.number, &statistics, &mut blocks);
            total.received += watched.received;
            total.dropped += dropped;
        }
        self.sender.push(blocks);
        self.sender.finish(total);
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

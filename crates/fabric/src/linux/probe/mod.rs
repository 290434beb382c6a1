//! Sends trains over links and tells what arrived: [`Links::probe`](crate::Links::probe) on Linux.
//!
//! ```text
//!  node's namespace                                              node's namespace
//!  ┌──────────────┐   label: run, number, time   ┌──────────────────────────────────┐
//!  │ packet socket├─ eth1 ══ the link ══ eth1 ───┤ packet socket, the kernel's time │
//!  └──────┬───────┘                              └────────────────┬─────────────────┘
//!    sending thread, at absolute times              receiving thread, until the last plus patience
//! ```
//!
//! Between hosts each has a half of it ([`halves`]).
//!
//! Sockets stay in the namespaces in which they were opened, so threads need not. Frames are raw Ethernet ([`frame`]):
//! no address is needed and no rule sees them.

mod clock;
mod counters;
mod ends;
mod frame;
mod halves;
mod socket;

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use testyard_model::probe::{Arrival, Lateness, Others, Probed, SHORTEST, Samples, Train};

use crate::links::probe::{FRAMES, ProbePath, ProbeRequest, ProbeTrain, TRAINS};
use clock::{Offset, now, sleep_until};
use frame::{Label, Template};
use socket::{BATCH, Sender};

/// So long after both ends are there the first frame leaves, and the next train's so much later: trains that begin
/// together meet each other at every frame.
const HEAD_START: u64 = 1_000_000;
const STAGGER: u64 = 137_000;
/// Frames that are further apart never catch up with their time: two at once would wait for each other.
const APART: u64 = 200_000;
/// No frame is longer: 64 KiB with its header.
const LONGEST: u16 = u16::MAX - 1;

/// Sends all trains at the same time. Runs on a thread of the fabric's.
pub(super) fn probe(request: &ProbeRequest) -> Vec<Probed> {
    thread::scope(|scope| {
        let running: Vec<_> = request
            .trains
            .iter()
            .enumerate()
            .map(|(place, train)| {
                let refused = refuse(place, train);
                // Of each train its own, so that one that comes late is not taken for another's.
                let run = request.run.wrapping_add(place as u32);
                let body = move || match refused {
                    Some(reason) => Err(reason),
                    None => match &train.path {
                        ProbePath::Link { .. } | ProbePath::Reference => {
                            one(train, run, HEAD_START + place as u64 * STAGGER)
                        }
                        ProbePath::Out { from, to, meeting } => {
                            halves::out(from, *to, &train.train, *meeting)
                        }
                        ProbePath::In { from, to, meeting } => {
                            halves::inward(*from, to, &train.train, *meeting)
                        }
                        ProbePath::Clock => halves::clock(),
                    },
                };
                thread::Builder::new().name("testyard-probe".to_owned()).spawn_scoped(scope, body)
            })
            .collect();
        let answer = |thread: io::Result<thread::ScopedJoinHandle<'_, Result<Samples, String>>>| {
            let thread = thread.map_err(|error| format!("starting a thread: {error}"))?;
            thread.join().unwrap_or_else(|_| Err("the measurement panicked; see the log".to_owned()))
        };
        running.into_iter().map(|thread| answer(thread).map_or_else(Probed::Failed, Probed::Sent)).collect()
    })
}

fn refuse(place: usize, train: &ProbeTrain) -> Option<String> {
    let Train { frames, length, .. } = train.train;
    if place >= TRAINS {
        Some(format!("more than {TRAINS} trains at a time"))
    } else if !(1..=FRAMES).contains(&frames) {
        Some(format!("a train of {frames} frames: 1 to {FRAMES}"))
    } else if !(SHORTEST..=LONGEST).contains(&length) {
        Some(format!("frames of {length} bytes: {SHORTEST} to {LONGEST}"))
    } else {
        None
    }
}

/// One train; the calling thread is of no use for anything else afterwards.
fn one(wanted: &ProbeTrain, run: u32, head_start: u64) -> Result<Samples, String> {
    let train = wanted.train;
    let mut ends = ends::open(wanted)?;
    let told = |error: io::Error| format!("measuring: {error}");
    let domain = clock::domain().map_err(told)?;
    let template = Template::new(ends.receiver.mac, ends.sender.mac, train.length);
    if let Some(greeter) = &ends.greeter {
        let greeting = Template::new(ends.sender.mac, ends.receiver.mac, SHORTEST);
        // Without it frames are flooded, which is no harm to the measurement.
        let _ = greeter.send(std::iter::once(greeting.bytes()));
    }
    let before = (ends.sent.read().map_err(told)?, ends.received.read().map_err(told)?);
    let offset = Offset::measure();
    let origin = now();
    let (over, sending) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| told(error.into()))?;
    let (sent, arrivals) = thread::scope(|scope| {
        let (sender, frames) = (&ends.sender, &template);
        let thread = thread::Builder::new().name("testyard-probe".to_owned());
        let sender = thread.spawn_scoped(scope, move || {
            let sent = send(sender, frames, &train, run, origin, origin + head_start);
            // Whoever receives sees its end.
            drop(sending);
            sent
        })?;
        let arrivals = receive(&mut ends.receiver, &template, &train, run, (origin, offset), &over);
        let sent = sender.join().map_err(|_| io::Error::other("the sender panicked"))?;
        Ok((sent, arrivals?))
    })
    .map_err(told)?;
    let after = (ends.sent.read().map_err(told)?, ends.received.read().map_err(told)?);
    let (sent_packets, sent_bytes) = after.0.sent_beside(before.0, sent.taken(), train.length);
    let (received_packets, received_bytes) =
        after.1.received_beside(before.1, arrivals.len() as u64, train.length);
    Ok(Samples {
        sent: sent.at,
        arrivals,
        refused: sent.refused,
        overrun: ends.receiver.overrun().map_err(told)?,
        late: Lateness::of(sent.late),
        clock_was_set: offset.was_set(),
        others: Others { sent_packets, sent_bytes, received_packets, received_bytes },
        ..Samples::none(domain)
    })
}

/// What became of the sending.
#[derive(Debug, Default)]
struct Sent {
    at: Vec<u64>,
    refused: u32,
    /// How late each wake-up was.
    late: Vec<u64>,
}

impl Sent {
    /// Frames that the interface took.
    fn taken(&self) -> u64 {
        self.at.len() as u64 - u64::from(self.refused)
    }
}

/// Sends a train from `start` on. Times are told from `origin`.
fn send(sender: &Sender, template: &Template, train: &Train, run: u32, origin: u64, start: u64) -> Sent {
    let mut sent = Sent { at: Vec::with_capacity(train.frames as usize), refused: 0, late: Vec::new() };
    // Or the kernel adds 50 µs to every sleep, to save power. Without it, frames leave a little later.
    let _ = nix::sys::prctl::set_timerslack(1);
    let mut frames = vec![template.bytes().to_vec(); BATCH];
    let (interval, mut start) = (train.interval.as_nanos(), start);
    loop {
        let number = sent.at.len() as u64;
        let left = u64::from(train.frames) - number;
        if left == 0 {
            return sent;
        }
        let time = now();
        let next = start.saturating_add(number * interval);
        if time < next {
            sleep_until(next);
            continue;
        }
        let late = time - next;
        let due = if interval == 0 {
            left
        } else if interval >= APART {
            sent.late.push(late);
            // All that follows is late as well.
            start += if late > interval / 4 { late } else { 0 };
            1
        } else {
            late / interval + 1
        };
        let count = due.min(left).min(BATCH as u64) as usize;
        for (place, frame) in frames[..count].iter_mut().enumerate() {
            Label { run, number: number as u32 + place as u32, sent: time }.write(frame);
        }
        let taken = match sender.send(frames[..count].iter().map(Vec::as_slice)) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // This one is not taken: no carrier, no room. The next may be.
            Err(_) => {
                sent.refused += 1;
                1
            }
        };
        sent.at.extend(std::iter::repeat_n(time.saturating_sub(origin), taken));
    }
}

/// Takes what arrives until the sender is done and has been waited for.
fn receive(
    receiver: &mut socket::Receiver,
    template: &Template,
    train: &Train,
    run: u32,
    (origin, offset): (u64, Offset),
    over: &OwnedFd,
) -> io::Result<Vec<Arrival>> {
    let mut arrivals = Vec::with_capacity(train.frames as usize);
    let mut until = None;
    loop {
        while receiver.receive(|frame, came| {
            let Some(label) = Label::read(frame, run).filter(|label| label.number < train.frames) else {
                return;
            };
            let at = came.map_or_else(now, |came| offset.monotonic(came)).saturating_sub(origin);
            let damaged = template.is_damaged(frame, &label);
            arrivals.push(Arrival { number: label.number, at, damaged });
        })? {}
        let left = match until {
            None => PollTimeout::NONE,
            Some(until) => match u64::saturating_sub(until, now()) {
                0 => return Ok(arrivals),
                left => PollTimeout::try_from(left.div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX),
            },
        };
        let waiting = PollFd::new(receiver.as_fd(), PollFlags::POLLIN);
        let ended = PollFd::new(over.as_fd(), PollFlags::POLLIN);
        let mut both = [waiting, ended];
        let watched = if until.is_none() { &mut both[..] } else { &mut both[..1] };
        match poll(watched, left) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        if until.is_none() && both[1].any() == Some(true) {
            until = Some(now().saturating_add(train.patience.as_nanos()));
        }
    }
}

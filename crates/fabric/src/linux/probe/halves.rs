//! Halves of a train between two hosts: one sends, the other receives, and neither knows when the other begins.
//!
//! ```text
//!  sender's host                               receiver's host
//!        waits ◄───────────── hello ────────────── its socket is there
//!        waits ◄───────────── hello ────────────── every 20 ms
//!        frame 0 ────────────────────────────────► no hello any more
//!        …
//! ```
//!
//! Hellos go over the link itself, so a switch knows then where the receiver is. Times are those of each host's own clock.

use std::io;
use std::os::fd::AsFd as _;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use testyard_model::mac::Mac;
use testyard_model::probe::{Arrival, Lateness, Others, SHORTEST, Samples, Train};

use super::clock::{Offset, domain, now};
use super::ends::{self, Half};
use super::frame::{Label, Template};
use super::socket::{Receiver, Sender};
use super::{HEAD_START, send};
use crate::links::probe::ProbeEnd;

/// How long the other host is waited for: it may have been asked later, and links may be slow.
const MEETING: u64 = 10_000_000_000;
/// From one hello to the next.
const HELLO: u64 = 20_000_000;
/// A place that no frame of a train has.
const HELLO_NUMBER: u32 = u32::MAX;
/// What still comes after a train should be over is waited for as long as it comes at such intervals: senders may be late.
const LULL: u64 = 1_000_000_000;

/// Only the time.
pub(super) fn clock() -> Result<Samples, String> {
    Ok(Samples { sent: vec![now()], ..nothing()? })
}

/// Sends a train to another host, when that is ready.
pub(super) fn out(from: &ProbeEnd, to: Mac, train: &Train, run: u32) -> Result<Samples, String> {
    let Half { sender, mut receiver, mut counters } = ends::half(from, SHORTEST)?;
    await_hello(&mut receiver, run)?;
    drop(receiver);
    let template = Template::new(to.bytes(), sender.mac, train.length);
    let before = counters.read().map_err(told)?;
    let offset = Offset::measure();
    // A thread of its own, since it changes how exact its sleeps are.
    let sent = thread::scope(|scope| {
        let work = || send(&sender, &template, train, run, 0, now() + HEAD_START);
        scope.spawn(work).join().map_err(|_| "the sender panicked".to_owned())
    })?;
    let after = counters.read().map_err(told)?;
    let (sent_packets, sent_bytes) = after.sent_beside(before, sent.taken(), train.length);
    let others = Others { sent_packets, sent_bytes, ..Others::default() };
    let (refused, late) = (sent.refused, Lateness::of(sent.late));
    Ok(Samples { sent: sent.at, refused, late, clock_was_set: offset.was_set(), others, ..nothing()? })
}

/// Takes what another host sends.
pub(super) fn inward(from: Mac, to: &ProbeEnd, train: &Train, run: u32) -> Result<Samples, String> {
    let Half { sender, mut receiver, mut counters } = ends::half(to, train.length)?;
    let template = Template::new(receiver.mac, from.bytes(), train.length);
    let before = counters.read().map_err(told)?;
    let offset = Offset::measure();
    let mut hello = Template::new(from.bytes(), sender.mac, SHORTEST).bytes().to_vec();
    Label { run, number: HELLO_NUMBER, sent: now() }.write(&mut hello);
    let arrivals = receive(&mut receiver, &sender, &hello, &template, train, run, offset).map_err(told)?;
    let after = counters.read().map_err(told)?;
    let (received_packets, received_bytes) =
        after.received_beside(before, arrivals.len() as u64, train.length);
    let others = Others { received_packets, received_bytes, ..Others::default() };
    let overrun = receiver.overrun().map_err(told)?;
    Ok(Samples { arrivals, overrun, clock_was_set: offset.was_set(), others, ..nothing()? })
}

fn await_hello(receiver: &mut Receiver, run: u32) -> Result<(), String> {
    let until = now() + MEETING;
    loop {
        let mut is_heard = false;
        while receiver
            .receive(|frame, _| {
                is_heard |= Label::read(frame, run).is_some_and(|label| label.number == HELLO_NUMBER);
            })
            .map_err(told)?
        {}
        if is_heard {
            return Ok(());
        }
        let left = until.saturating_sub(now());
        if left == 0 {
            return Err(format!(
                "nothing was heard from the other host within {} s",
                MEETING / 1_000_000_000
            ));
        }
        wait(receiver, left).map_err(told)?;
    }
}

/// Says hello until the train comes, and takes it until it should be over.
fn receive(
    receiver: &mut Receiver,
    greeter: &Sender,
    hello: &[u8],
    template: &Template,
    train: &Train,
    run: u32,
    offset: Offset,
) -> io::Result<Vec<Arrival>> {
    let mut arrivals: Vec<Arrival> = Vec::with_capacity(train.frames as usize);
    let (mut next_hello, mut newest) = (now(), 0);
    // Without a single frame: as long as the sender may wait, and then send.
    let mut over = now().saturating_add(MEETING + LULL).saturating_add(train.lasts().as_nanos());
    loop {
        let time = now();
        if arrivals.is_empty() && time >= next_hello {
            // Without carrier there may be some later.
            let _ = greeter.send(std::iter::once(hello));
            next_hello = time + HELLO;
        }
        let had = arrivals.len();
        while receiver.receive(|frame, came| {
            let Some(label) = Label::read(frame, run).filter(|label| label.number < train.frames) else {
                return;
            };
            let at = came.map_or_else(now, |came| offset.monotonic(came));
            let damaged = template.is_damaged(frame, &label);
            arrivals.push(Arrival { number: label.number, at, damaged });
        })? {}
        let time = now();
        if arrivals.len() > had {
            newest = time;
        }
        if let (0, Some(first)) = (had, arrivals.first()) {
            let rest = u64::from(train.frames - first.number).saturating_mul(train.interval.as_nanos());
            over = time.saturating_add(rest).saturating_add(train.patience.as_nanos());
        }
        let until = over.max(newest + if arrivals.is_empty() { 0 } else { LULL });
        if time >= until {
            return Ok(arrivals);
        }
        let pause = if arrivals.is_empty() { next_hello.min(until) } else { until };
        wait(receiver, pause.saturating_sub(time))?;
    }
}

fn wait(receiver: &Receiver, nanoseconds: u64) -> io::Result<()> {
    let timeout = PollTimeout::try_from(nanoseconds.div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(receiver.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Samples of this host's clock, with nothing in them.
fn nothing() -> Result<Samples, String> {
    Ok(Samples::none(domain().map_err(told)?))
}

fn told(error: impl std::fmt::Display) -> String {
    format!("measuring: {error}")
}

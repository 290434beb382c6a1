//! A thread that moves frames of its pipes: one epoll, one timer, no lock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use testyard_packet::Received;

use super::clock::{Alarm, Moment, Patience, now};
use super::port::{BATCH, Port};
use super::way::Way;
use crate::emulator::{Nanos, Packet as _};
use crate::frame::{Frame, LONGEST, join};
use crate::pipe::{Direction, Pipe};
use crate::protocol::ObservedDirection;

/// Which pipe, for supervisor and workers.
pub(crate) type PipeId = u64;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Another pipe, without interfaces yet.
    Add(PipeId, Box<Pipe>),
    /// An interface of a pipe, or that it is gone.
    Port(PipeId, usize, Option<Port>),
    /// Whether anything gets through, and what is done.
    Change(PipeId, bool, Box<[Direction; 2]>),
    /// No longer.
    Remove(PipeId),
    /// Answer when all before this is done.
    Settle(Sender<()>),
    /// Answer what each pipe did.
    Observe(Sender<Vec<(PipeId, [ObservedDirection; 2])>>),
    /// End.
    Stop,
}

const WAKE: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;
/// How long before a deadline the thread is awake; more than a timer usually comes late.
const EARLY: Nanos = 60_000;
/// How long after a frame the next one is awaited on the spot.
const LINGER: Nanos = 20_000;
/// Free buffers that are kept while frames come, and while none do.
const SPARE: usize = 512;
const SPARE_IDLE: usize = 2 * BATCH;

#[derive(Debug)]
struct Held {
    up: bool,
    ports: [Option<Port>; 2],
    ways: [Way; 2],
}

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
    /// Closes sockets.
    closing: Option<Sender<Port>>,
    epoll: Epoll,
    alarm: Alarm,
    pipes: HashMap<PipeId, Held>,
    deadlines: BinaryHeap<Reverse<(Nanos, PipeId, usize)>>,
    buffers: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    got: Vec<Received>,
    out: Vec<Frame>,
    /// Bytes that wait, and how many may.
    waiting: u64,
    memory: u64,
}

impl Worker {
    pub(crate) fn new(
        commands: Receiver<Command>,
        wake: Arc<EventFd>,
        closing: Option<Sender<Port>>,
        memory: u64,
    ) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let alarm = Alarm::new()?;
        epoll.add(&*wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        epoll.add(&alarm, EpollEvent::new(EpollFlags::EPOLLIN, ALARM))?;
        Ok(Self {
            commands,
            wake,
            closing,
            epoll,
            alarm,
            pipes: HashMap::new(),
            deadlines: BinaryHeap::new(),
            buffers: Vec::new(),
            spare: Vec::new(),
            got: Vec::new(),
            out: Vec::new(),
            waiting: 0,
            memory,
        })
    }

    /// Works until told to end.
    ///
    /// # Errors
    /// It cannot wait for frames any more.
    pub(crate) fn run(mut self) -> nix::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        let mut time = now();
        let (mut patience, mut last_frame) = (Patience::new(time), 0);
        loop {
            self.serve_deadlines(time);
            let next = self.deadlines.peek().map(|Reverse((at, ..))| *at);
            let near = next.is_some_and(|at| at <= time + EARLY);
            let timeout = if patience.spins(near || time < last_frame + LINGER) {
                EpollTimeout::ZERO
            } else if near {
                // No time left to spin: the timer alone.
                self.alarm.set(next);
                EpollTimeout::NONE
            } else {
                if next.is_none() {
                    self.spare.truncate(SPARE_IDLE);
                }
                self.alarm.set(next.map(|at| at - EARLY));
                EpollTimeout::NONE
            };
            let ready = match self.epoll.wait(&mut events, timeout) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error),
            };
            time = now();
            patience.pass(time);
            for event in &events[..ready] {
                match event.data() {
                    WAKE => {
                        let _ = self.wake.read();
                        if !self.obey(time) {
                            return Ok(());
                        }
                    }
                    ALARM => self.alarm.fired(),
                    key => {
                        self.receive(key >> 1, (key & 1) as usize);
                        last_frame = time;
                    }
                }
            }
            if ready > 0 {
                time = now();
            }
        }
    }

    /// Whether to go on.
    fn obey(&mut self, time: Nanos) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Add(id, pipe) => {
                    let Pipe { up, seed, directions, .. } = *pipe;
                    let ways = [0, 1].map(|way| Way::new(&directions[way], seed, way as u64));
                    self.pipes.insert(id, Held { up, ports: [None, None], ways });
                }
                Command::Port(id, port, fd) => self.plug(id, port, fd),
                Command::Change(id, up, directions) => self.change(time, id, up, &directions),
                Command::Remove(id) => {
                    if let Some(held) = self.pipes.remove(&id) {
                        self.waiting -= held.ways.iter().map(Way::waiting_bytes).sum::<u64>();
                        held.ports.into_iter().flatten().for_each(|fd| self.close(fd));
                    }
                }
                // Who asked may be gone; that is no concern here.
                Command::Settle(reply) => drop(reply.send(())),
                Command::Observe(reply) => {
                    let all =
                        self.pipes.iter().map(|(id, held)| (*id, held.ways.each_ref().map(Way::observed)));
                    let _ = reply.send(all.collect());
                }
                Command::Stop => {
                    let all = std::mem::take(&mut self.pipes);
                    all.into_values().flat_map(|held| held.ports).flatten().for_each(|fd| self.close(fd));
                    return false;
                }
            }
        }
        true
    }

    fn plug(&mut self, id: PipeId, port: usize, fd: Option<Port>) {
        let Some(held) = self.pipes.get_mut(&id) else { return };
        if let Some(fd) = &fd
            && let Err(error) =
                self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, id << 1 | port as u64))
        {
            tracing::error!(%error, "an interface's frames cannot be awaited");
        }
        if let Some(old) = std::mem::replace(&mut held.ports[port], fd) {
            self.close(old);
        }
    }

    /// Not here: it takes long.
    fn close(&self, fd: Port) {
        if let Err(error) = self.epoll.delete(&fd) {
            tracing::error!(%error, "an interface's frames are still awaited");
        }
        if let Some(closing) = &self.closing {
            // Without a thread that closes it, it is closed here after all.
            let _ = closing.send(fd);
        }
    }

    fn change(&mut self, time: Nanos, id: PipeId, up: bool, directions: &[Direction; 2]) {
        let Some(held) = self.pipes.get_mut(&id) else { return };
        held.up = up;
        for (way, does) in directions.iter().enumerate() {
            let Some(held) = self.pipes.get_mut(&id) else { return };
            let before = held.ways[way].waiting_bytes();
            held.ways[way].change(time, does, &mut self.out);
            if !up {
                held.ways[way].cut();
            }
            self.waiting = self.waiting - before + held.ways[way].waiting_bytes();
            self.flush(id, way);
        }
    }

    /// What is due goes.
    fn serve_deadlines(&mut self, time: Nanos) {
        while let Some(Reverse((at, id, way))) =
            self.deadlines.peek().copied().filter(|Reverse((at, ..))| *at <= time)
        {
            self.deadlines.pop();
            let Some(held) = self.pipes.get_mut(&id).filter(|held| held.ways[way].noted == Some(at)) else {
                continue;
            };
            let before = held.ways[way].waiting_bytes();
            held.ways[way].due(time, &mut self.out);
            held.ways[way].noted = None;
            self.waiting = self.waiting - before + held.ways[way].waiting_bytes();
            self.flush(id, way);
        }
    }

    /// What has arrived at an interface is taken, one batch of it.
    fn receive(&mut self, id: PipeId, port: usize) {
        // The buffers that were used last are taken first, at both places: they are still in the processor's cache.
        self.buffers.resize_with(BATCH, Vec::new);
        for buffer in self.buffers.iter_mut().rev().filter(|buffer| buffer.is_empty()) {
            *buffer = self.spare.pop().unwrap_or_else(|| vec![0; LONGEST]);
        }
        let Some(held) = self.pipes.get_mut(&id) else { return };
        let (way, up) = (&mut held.ways[port], held.up);
        let Some(fd) = &held.ports[port] else { return };
        for _ in 0..BATCH {
            match fd.receive(&mut self.buffers, &mut self.got) {
                Ok(()) => break,
                // The kernel threw away a frame that it cannot describe; there may be others behind it.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => way.unreadable += 1,
                // Nothing there, or the interface went down, which the supervisor hears of.
                Err(_) => break,
            }
        }
        let moment = Moment::this();
        let before = way.waiting_bytes();
        for (buffer, got) in self.buffers.iter_mut().zip(self.got.drain(..)) {
            let buffer = std::mem::take(buffer);
            let free = match Frame::received(buffer, got.length, got.vlan) {
                Ok(frame) if !got.truncated => {
                    let room = self.memory.saturating_sub(self.waiting - before + way.waiting_bytes());
                    way.take(moment.of(got.came), frame, up, room, &mut self.out)
                }
                Ok(frame) => {
                    way.unreadable += 1;
                    Some(frame.into_buffer())
                }
                Err(buffer) => {
                    way.unreadable += 1;
                    Some(buffer)
                }
            };
            if let Some(buffer) = free.filter(|buffer| buffer.len() >= LONGEST && self.spare.len() < SPARE) {
                self.spare.push(buffer);
            }
        }
        // They came a moment ago: some may be due by now.
        way.due(moment.of(None), &mut self.out);
        self.waiting = self.waiting - before + way.waiting_bytes();
        self.flush(id, port);
    }

    /// Sends what came out of a direction, and notes its next deadline.
    fn flush(&mut self, id: PipeId, way: usize) {
        let Some(held) = self.pipes.get_mut(&id) else { return };
        join(&mut self.out);
        let mut sent = 0;
        while sent < self.out.len() {
            let result = match &held.ports[1 - way] {
                Some(fd) => fd.send(self.out[sent..].iter().map(Frame::wire)),
                None => Err(std::io::ErrorKind::NotFound.into()),
            };
            match result {
                Ok(count) => sent += count.max(1),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // This one is not taken; the next may be shorter.
                Err(_) => {
                    held.ways[way].refused += u64::from(self.out[sent].packets());
                    sent += 1;
                }
            }
        }
        for frame in self.out.drain(..) {
            let buffer = frame.into_buffer();
            if buffer.len() >= LONGEST && self.spare.len() < SPARE {
                self.spare.push(buffer);
            }
        }
        let way_held = &mut held.ways[way];
        let deadline = way_held.deadline();
        if deadline != way_held.noted {
            way_held.noted = deadline;
            if let Some(at) = deadline {
                self.deadlines.push(Reverse((at, id, way)));
            }
        }
    }
}

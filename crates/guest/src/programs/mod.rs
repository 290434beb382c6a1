//! Programs that the events of a schedule start and stop, each with its output and status in files.
//!
//! ```text
//! waiting ──► running ──► exited / signalled          by itself, by its timeout, by a stop (SIGTERM, later SIGKILL)
//!    │           └──► interrupted                     by the end of the boot; only another start begins it again
//!    └──► failed                                      it could not be begun
//! ```
//!
//! The steward says what should be ([`Programs::want`]), services that the installs are done ([`Programs::open`]); one
//! thread makes the moves that follow from counters ([`ScheduledProgram::next`]), and one for each program that runs waits
//! for its end.

mod registry;
mod run;

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use testyard_guest_protocol::{Desired, ScheduledMove, ScheduledProgram, ScheduledStand, ServiceState};

use crate::children::Process;
use crate::node::{Node, thread};
use crate::program::signal_number;
use crate::text;
use registry::{Known, Registry};
use run::{Begun, Ended, Ready};

/// How long a program that is to end may take.
const GRACE: Duration = Duration::from_secs(5);

/// A limit of more than this is none.
const MAX_LIMIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The programs of the node.
pub(crate) struct Programs {
    node: &'static Node,
    state: Mutex<State>,
    changed: Condvar,
    thread: Once,
}

struct State {
    registry: Registry,
    /// What should be, as far as it is about programs.
    desired: Desired,
    /// The installs are done.
    open: bool,
    running: BTreeMap<String, Running>,
}

/// A program that runs.
struct Running {
    process: Process,
    run: Option<u32>,
    /// When it has run for too long.
    deadline: Option<Instant>,
    /// When it is killed, once it has been told to end.
    kill: Option<Instant>,
    why: Why,
}

/// Why a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    ByItself,
    Stopped,
    TooLong,
}

/// What the thread does next.
enum Turn {
    Begin(Box<ScheduledProgram>),
    /// Nothing, until then or until something changes.
    Wait(Option<Instant>),
}

impl Programs {
    pub(crate) fn new(node: &'static Node) -> Self {
        let registry = Registry::load(&node.root).unwrap_or_else(|error| {
            text::log(&text::chain(&error));
            Registry::unreadable()
        });
        let state = State { registry, desired: Desired::default(), open: false, running: BTreeMap::new() };
        Self { node, state: Mutex::new(state), changed: Condvar::new(), thread: Once::new() }
    }

    /// Says what should be.
    pub(crate) fn want(&'static self, desired: &Desired) {
        let mut state = self.lock();
        let desired = Desired {
            go: desired.go,
            disk: desired.disk.clone(),
            program: desired.program.clone(),
            environment: desired.environment.clone(),
            run: desired.run,
            scheduled: desired.scheduled.clone(),
            ..Desired::default()
        };
        if state.desired == desired {
            return;
        }
        state.registry.enter(&desired.disk, desired.run, &desired.scheduled);
        state.desired = desired;
        self.tell(&state);
        let nothing = state.desired.scheduled.is_empty() && state.running.is_empty();
        drop(state);
        self.changed.notify_all();
        if !nothing {
            self.thread.call_once(|| thread(self.node, "programs", move || self.work()));
        }
    }

    /// Says that the installs are done.
    pub(crate) fn open(&self) {
        self.lock().open = true;
        self.changed.notify_all();
    }

    fn work(&'static self) -> ! {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            match state.turn(self.node, now) {
                Turn::Begin(program) => {
                    let (run, desired) = (state.desired.run, state.desired.clone());
                    self.tell(&state);
                    drop(state);
                    self.begin(run, &desired, &program);
                    state = self.lock();
                }
                Turn::Wait(until) => {
                    self.tell(&state);
                    state = match until {
                        None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                        Some(until) => {
                            let pause = until.saturating_duration_since(now);
                            self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0
                        }
                    };
                }
            }
        }
    }

    fn begin(&'static self, run: Option<u32>, desired: &Desired, program: &ScheduledProgram) {
        let name = &program.name;
        // On the disk before it begins: whatever happens to the guest now, it does not begin twice.
        if let Err(error) = self.lock().registry.save(&self.node.root) {
            let reason = format!("the program {name} cannot be started: {}", text::chain(&error));
            return self.failed(run, program, reason, String::new());
        }
        let ready = match Ready::new(self.node, desired, program) {
            Ok(ready) => ready,
            Err((reason, files)) => return self.failed(run, program, reason, files),
        };
        let files = ready.files();
        let begun = match ready.begin(self.node) {
            Ok(begun) => begun,
            Err(reason) => return self.failed(run, program, reason, files),
        };
        let limit = program.max_seconds.map(Duration::from_secs).filter(|limit| *limit <= MAX_LIMIT);
        {
            let mut state = self.lock();
            state.registry.set(run, name, |known| {
                (known.began, known.files) = (Some(begun.began), files);
            });
            let running = Running {
                process: begun.process.clone(),
                run,
                deadline: limit.map(|limit| Instant::now() + limit),
                kill: None,
                why: Why::ByItself,
            };
            state.running.insert(name.clone(), running);
            self.tell(&state);
        }
        let program = program.clone();
        thread(self.node, "program", move || self.wait(run, &program, begun));
        self.save();
    }

    /// Waits for the end of a program, and tells it.
    fn wait(&self, run: Option<u32>, program: &ScheduledProgram, begun: Begun) {
        begun.process.wait();
        let why = self.lock().running.get(&program.name).map_or(Why::ByItself, |running| running.why);
        let remark = (why == Why::TooLong).then(|| {
            format!("it was ended after {} s, its timeout", program.max_seconds.unwrap_or_default())
        });
        let Ended { mut state, detail, ended } = begun.end(self.node, remark);
        if self.node.stopping() {
            state = ServiceState::Interrupted;
        }
        let mut all = self.lock();
        all.running.remove(&program.name);
        all.registry.set(run, &program.name, |known| {
            (known.state, known.detail, known.ended) = (state, detail, Some(ended));
            known.stopped = why == Why::Stopped;
        });
        self.tell(&all);
        drop(all);
        self.changed.notify_all();
        self.save();
    }

    fn failed(&self, run: Option<u32>, program: &ScheduledProgram, reason: String, files: String) {
        text::log(&reason);
        let mut state = self.lock();
        state.registry.set(run, &program.name, |known| {
            (known.state, known.detail, known.files) = (ServiceState::Failed, reason, files);
        });
        self.tell(&state);
        drop(state);
        self.save();
    }

    /// Writes down, to the disk itself, what is known.
    fn save(&self) {
        let saved = self.lock().registry.save(&self.node.root);
        if let Err(error) = saved.and_then(|()| Registry::sync(&self.node.root)) {
            text::log(&text::chain(&error));
        }
    }

    fn tell(&self, state: &State) {
        self.node.board.set_scheduled(state.registry.reports(&state.desired.scheduled));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Makes every move that is made at once, and says what is next.
    fn turn(&mut self, node: &Node, now: Instant) -> Turn {
        let run = self.desired.run;
        for (name, running) in &mut self.running {
            let wanted =
                running.run == run && self.desired.scheduled.iter().any(|program| program.name == *name);
            if !wanted {
                running.end(node, now, Why::Stopped);
            } else if running.deadline.is_some_and(|deadline| deadline <= now) {
                running.end(node, now, Why::TooLong);
            }
            if running.kill.is_some_and(|kill| kill <= now) {
                running.kill = Some(now + GRACE);
                node.children.signal_group(&running.process, libc::SIGKILL);
            }
        }
        if node.stopping() {
            return Turn::Wait(None);
        }
        for program in &self.desired.scheduled {
            let running = self.running.get_mut(&program.name);
            let stand = match &running {
                None if !self.open || !self.desired.go || run.is_none() => continue,
                None => ScheduledStand::Idle,
                Some(running) if running.kill.is_some() => ScheduledStand::Ending,
                Some(_) => ScheduledStand::Running,
            };
            let known = self.registry.known(&program.name);
            match (program.next(&mut known.done, stand), running) {
                (ScheduledMove::Begin, _) => {
                    let done = known.done;
                    *known = Known { done, start: program.starts, ..Known::new(ServiceState::Running) };
                    return Turn::Begin(Box::new(program.clone()));
                }
                (ScheduledMove::End, Some(running)) => running.end(node, now, Why::Stopped),
                (ScheduledMove::Signal(names), Some(running)) => {
                    for name in names {
                        match signal_number(name) {
                            Some(signal) => node.children.signal_group(&running.process, signal),
                            None => text::log(&format!("there is no signal {name:?} for {}", program.name)),
                        }
                    }
                }
                (ScheduledMove::End | ScheduledMove::Signal(_), None) | (ScheduledMove::Rest, _) => {}
            }
        }
        let due = |running: &Running| running.kill.or(running.deadline);
        Turn::Wait(self.running.values().filter_map(due).min())
    }
}

impl Running {
    /// Asks it to end, once.
    fn end(&mut self, node: &Node, now: Instant, why: Why) {
        if self.kill.is_none() {
            (self.kill, self.why) = (Some(now + GRACE), why);
            node.children.signal_group(&self.process, libc::SIGTERM);
        }
    }
}

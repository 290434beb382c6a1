//! Who tells the workers what to be: compares what is desired with what is, opens interfaces, closes what is gone.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::port::Port;
use super::reaper::Reaper;
use super::worker::{Command, PipeId, Worker};
use crate::pipe::{Desired, DesiredError, Direction, Pipe, PipeName, PortName, STAGES};
use crate::protocol::{Alteration, Change, Observed, ObservedPipe, PortState};
use crate::thread;

/// All workers, and what they have been told.
#[derive(Debug)]
pub(crate) struct Supervisor {
    workers: Vec<Told>,
    revision: Option<u64>,
    pipes: BTreeMap<PipeName, Held>,
    interfaces: HashMap<String, u32>,
    next: PipeId,
    reaper: Option<Reaper>,
}

/// A worker, from outside.
#[derive(Debug)]
struct Told {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    pipes: usize,
}

#[derive(Debug)]
struct Held {
    id: PipeId,
    worker: usize,
    pipe: Pipe,
    ports: [PortState; 2],
}

/// Why no worker could be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// No thread.
    #[error("no thread can be started")]
    Thread(#[from] std::io::Error),
    /// Nothing to wait with.
    #[error("the kernel gives no epoll, timer or event")]
    Kernel(#[from] nix::Error),
}

impl Told {
    fn tell(&self, command: Command) {
        // A worker ends only when told to, or after it said why.
        let _ = self.commands.send(command);
    }

    fn wake(&self) {
        let _ = self.wake.write(1);
    }
}

impl Supervisor {
    /// Starts workers in the calling thread's network namespace; together they keep at most so many bytes of frames.
    pub(crate) fn start(workers: usize, memory: u64, real_time: bool) -> Result<Self, StartError> {
        let reaper = Reaper::start()?;
        let mut all = Vec::new();
        for index in 0..workers {
            let (commands, orders) = channel();
            let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
            let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
            let worker = Worker::new(orders, Arc::clone(&wake), reaper.sockets(), memory / workers as u64)?;
            let body = move || {
                if real_time && let Err(error) = thread::real_time() {
                    tracing::warn!(%error, "no real-time scheduling: delays are less exact on a busy machine");
                }
                worker.run()
            };
            let thread =
                std::thread::Builder::new().name(format!("wire-{index}")).spawn(move || vital(body))?;
            all.push(Told { commands, wake, thread: Some(thread), pipes: 0 });
        }
        let (pipes, interfaces) = (BTreeMap::new(), HashMap::new());
        Ok(Self { workers: all, revision: None, pipes, interfaces, next: 0, reaper: Some(reaper) })
    }

    /// Makes it so. What stays keeps its sockets and all that waits in it.
    pub(crate) fn apply(&mut self, desired: Desired) -> Result<(), DesiredError> {
        desired.check()?;
        if let Some(had) = self.revision.filter(|had| *had > desired.revision) {
            return Err(DesiredError::Revision { offered: desired.revision, had });
        }
        self.revision = Some(desired.revision);
        let mut wanted: BTreeMap<PipeName, Pipe> =
            desired.pipes.into_iter().map(|pipe| (pipe.name.clone(), pipe)).collect();
        // First what goes: its interfaces may be wanted by what comes.
        let gone: Vec<PipeName> = self
            .pipes
            .iter()
            .filter(|(name, held)| {
                wanted.get(*name).is_none_or(|new| new.ports != held.pipe.ports || new.seed != held.pipe.seed)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(held) = self.pipes.remove(&name) {
                self.workers[held.worker].pipes -= 1;
                self.workers[held.worker].tell(Command::Remove(held.id));
            }
        }
        for (name, held) in &mut self.pipes {
            if let Some(new) = wanted.remove(name).filter(|new| *new != held.pipe) {
                held.pipe = new;
                self.workers[held.worker].tell(held.change());
            }
        }
        for (name, pipe) in wanted {
            self.next += 1;
            let least = self.workers.iter().enumerate().min_by_key(|(_, worker)| worker.pipes);
            let Some((worker, _)) = least else { break };
            self.workers[worker].pipes += 1;
            self.workers[worker].tell(Command::Add(self.next, Box::new(pipe.clone())));
            let held = Held { id: self.next, worker, pipe, ports: [PortState::Missing, PortState::Missing] };
            self.pipes.insert(name, held);
        }
        self.look_for_interfaces();
        self.settle();
        Ok(())
    }

    /// Changes pipes in place, all or none.
    pub(crate) fn change(&mut self, changes: Vec<Change>) -> Result<(), DesiredError> {
        let mut new: BTreeMap<PipeName, Pipe> = BTreeMap::new();
        for Change { pipe: name, to } in changes {
            let Some(held) = self.pipes.get(&name) else { return Err(DesiredError::NoPipe(name)) };
            let pipe = new.entry(name).or_insert_with(|| held.pipe.clone());
            alter(pipe, to)?;
            pipe.check()?;
        }
        for (name, pipe) in new {
            if let Some(held) = self.pipes.get_mut(&name) {
                held.pipe = pipe;
                self.workers[held.worker].tell(held.change());
            }
        }
        self.settle();
        Ok(())
    }

    /// Takes up interfaces that appeared, and waits until frames pass.
    pub(crate) fn look(&mut self) {
        self.look_for_interfaces();
        self.settle();
    }

    /// Takes up interfaces that appeared and lets go of those that are gone.
    pub(crate) fn look_for_interfaces(&mut self) {
        match nix::net::if_::if_nameindex() {
            Ok(list) => {
                let names = list.iter().map(|one| (one.name().to_string_lossy().into_owned(), one.index()));
                self.interfaces = names.collect();
            }
            Err(error) => {
                tracing::error!(%error, "the interfaces cannot be listed");
                return;
            }
        }
        let workers = &self.workers;
        for held in self.pipes.values_mut() {
            for (port, name) in held.pipe.ports.iter().enumerate() {
                let index = self.interfaces.get(name.as_str()).copied();
                let state = &mut held.ports[port];
                let is_open = match state {
                    PortState::Open { index } => Some(*index),
                    PortState::Missing | PortState::Failed { .. } => None,
                };
                match index {
                    Some(index) if is_open == Some(index) => {}
                    Some(index) => {
                        let fd = open(name, index);
                        *state = match &fd {
                            Ok(_) => PortState::Open { index },
                            Err(error) => PortState::Failed { reason: error.to_string() },
                        };
                        workers[held.worker].tell(Command::Port(held.id, port, fd.ok()));
                    }
                    None => {
                        if is_open.is_some() {
                            workers[held.worker].tell(Command::Port(held.id, port, None));
                        }
                        *state = PortState::Missing;
                    }
                }
            }
        }
        for worker in workers {
            worker.wake();
        }
    }

    /// What is.
    pub(crate) fn observe(&self) -> Observed {
        let mut did = HashMap::new();
        for worker in &self.workers {
            let (reply, answer) = channel();
            worker.tell(Command::Observe(reply));
            worker.wake();
            did.extend(answer.recv().unwrap_or_default());
        }
        let pipes = self.pipes.values().map(|held| ObservedPipe {
            name: held.pipe.name.clone(),
            up: held.pipe.up,
            ports: held.ports.clone(),
            directions: did.remove(&held.id).unwrap_or_default(),
        });
        Observed { revision: self.revision, pipes: pipes.collect() }
    }

    /// Waits until the workers have done what they were told.
    fn settle(&self) {
        let replies: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let (reply, answer) = channel();
                worker.tell(Command::Settle(reply));
                worker.wake();
                answer
            })
            .collect();
        for answer in replies {
            // An error means that the worker has ended, and it said why.
            let _ = answer.recv();
        }
    }
}

/// Ends the process if this ends unasked: pipes without their worker are dead, and only a wire that has ended is started again.
fn vital(work: impl FnOnce() -> nix::Result<()>) {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => tracing::error!(%error, "a worker cannot wait for frames any more: the wire ends"),
        // What panics has said where and why.
        Err(_) => tracing::error!("a worker has panicked: the wire ends"),
    }
    std::process::abort();
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Supervisor {
    /// Ends the workers, and waits until all sockets are closed. What is asked afterwards has no effect.
    pub(crate) fn stop(&mut self) {
        for worker in &mut self.workers {
            worker.tell(Command::Stop);
            worker.wake();
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
        self.reaper = None;
    }
}

impl Held {
    fn change(&self) -> Command {
        Command::Change(self.id, self.pipe.up, Box::new(self.pipe.directions.clone()))
    }
}

fn alter(pipe: &mut Pipe, to: Alteration) -> Result<(), DesiredError> {
    match to {
        Alteration::Up(up) => pipe.up = up,
        Alteration::Direction { direction, does } => {
            let no_stage = DesiredError::NoStage { direction, stage: 0 };
            *pipe.directions.get_mut(direction).ok_or(no_stage)? = does;
        }
        Alteration::Settings { direction, stage, settings } => {
            let no_stage = || DesiredError::NoStage { direction, stage };
            let Direction { stages } = pipe.directions.get_mut(direction).ok_or_else(no_stage)?;
            if stage >= STAGES {
                return Err(no_stage());
            }
            if stages.len() <= stage {
                stages.resize_with(stage + 1, Default::default);
            }
            for setting in settings {
                setting.apply(&mut stages[stage]);
            }
        }
    }
    Ok(())
}

/// Opens an interface and keeps the namespace's own stack from speaking through it: without IPv6 there is nothing that it
/// would say, as long as nobody gives the interface an address.
fn open(name: &PortName, index: u32) -> std::io::Result<Port> {
    let port = Port::open(index)?;
    let file = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    if let Err(error) = fs::write(&file, "1")
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, file, "IPv6 stays on: the host may speak on this link");
    }
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which end of a worker this process is to have, for the test below.
    const END: &str = "TESTYARD_TEST_WORKER_ENDS";

    #[test]
    fn a_worker_that_ends_unasked_ends_the_wire() {
        match std::env::var(END).as_deref() {
            Ok("told") => return vital(|| Ok(())),
            Ok("failed") => return vital(|| Err(nix::errno::Errno::EBADF)),
            Ok("panicked") => return vital(|| panic!("as told")),
            _ => {}
        }
        let name = std::thread::current().name().expect("a test's thread has its name").to_owned();
        for (end, lives) in [("told", true), ("failed", false), ("panicked", false)] {
            let itself = std::env::current_exe().expect("a test is a file");
            let status = std::process::Command::new(itself)
                .args(["--exact", &name])
                .env(END, end)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .expect("a test can be started");
            assert_eq!(status.success(), lives, "{end}: {status}");
        }
    }
}

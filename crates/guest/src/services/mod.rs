//! Services: installs, then executes, in their order, each once in the life of a disk.
//!
//! ```text
//! install   waiting ──► running ──► exited(0)             interrupted: from the beginning at the next boot
//!                          └──► failed                    tried again at the next boot; no execute is begun
//! execute   waiting ──► running ──► exited / signalled
//!              │           └──► interrupted               by the end of the boot; never begun again
//!              └──► failed                                it could not be begun
//! ```

mod execute;
mod install;
mod log;
mod registry;

use std::sync::{Mutex, PoisonError};

use testyard_guest_protocol::{Desired, ServiceId, ServiceReport, ServiceState};

use crate::node::{Newest, Node, thread};
use crate::{sys, text};
use registry::Registry;

/// The services of the node.
pub(crate) struct Services {
    node: &'static Node,
    /// What was done on this disk, and what an earlier boot left unfinished.
    registry: Mutex<Registry>,
    /// The list that is to be worked on.
    list: Newest<List>,
    started: Mutex<Option<List>>,
}

/// What the thread needs of the desired state.
#[derive(Clone, PartialEq)]
struct List {
    desired: Desired,
}

/// How many characters of an output are reported.
pub(crate) const DETAIL: usize = 500;

impl Services {
    pub(crate) fn new(node: &'static Node) -> Self {
        let registry = Registry::load(&node.root).unwrap_or_else(|error| {
            // Without it nobody knows what has run; a command must not run twice.
            node.board.set_services_trouble(Some(text::chain(&error)));
            Registry::unreadable()
        });
        Self { node, registry: Mutex::new(registry), list: Newest::default(), started: Mutex::default() }
    }

    /// How the services of a desired state stand.
    pub(crate) fn reports(&self, desired: &Desired) -> Vec<ServiceReport> {
        let mut registry = self.lock();
        registry.set_disk(&desired.disk);
        let installs =
            desired.installs.iter().enumerate().map(|(i, install)| registry.install(index(i), install));
        let executes =
            desired.executes.iter().enumerate().map(|(i, execute)| registry.execute(index(i), execute));
        installs.chain(executes).collect()
    }

    /// Works on the services of this state, unless it does so already.
    pub(crate) fn run(&'static self, desired: &Desired) {
        let list = List {
            desired: Desired {
                resolver: desired.resolver.clone(),
                hosts: desired.hosts.clone(),
                program: desired.program.clone(),
                installs: desired.installs.clone(),
                executes: desired.executes.clone(),
                ..Desired::default()
            },
        };
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let same = started.as_ref().is_some_and(|old| {
            old.desired.installs == list.desired.installs && old.desired.executes == list.desired.executes
        });
        let nothing = list.desired.installs.is_empty() && list.desired.executes.is_empty();
        if same || (nothing && started.is_none()) {
            return;
        }
        let first = started.replace(list.clone()).is_none();
        self.list.put(list);
        if first {
            thread(self.node, "services", move || {
                loop {
                    let list = self.list.take();
                    self.work(&list.desired);
                    sys::return_memory();
                }
            });
        }
    }

    fn work(&self, desired: &Desired) {
        let node = self.node;
        node.board.set_services_trouble(None);
        for (i, install) in desired.installs.iter().enumerate() {
            if node.stopping() {
                return;
            }
            let (index, id) = (index(i), ServiceId::Install(index(i)));
            if self.lock().install(index, install).state == ServiceState::Exited(0) {
                continue;
            }
            node.board.set_service(id, ServiceState::Running, String::new());
            match install::run(node, desired, index, install) {
                Ok(detail) => {
                    let state = ServiceState::Exited(0);
                    if let Err(error) =
                        self.record(|registry| registry.set_install(index, install, detail.clone()))
                    {
                        // It will be done once more at the next boot, which does no harm.
                        text::log(&error);
                    }
                    node.board.set_service(id, state, detail);
                }
                Err(reason) => {
                    text::log(&reason);
                    node.board.set_service(id, ServiceState::Failed, reason.clone());
                    node.board.set_services_trouble(Some(reason));
                    return;
                }
            }
        }
        for (i, execute) in desired.executes.iter().enumerate() {
            if node.stopping() {
                return;
            }
            let index = index(i);
            if self.lock().execute(index, execute).state == ServiceState::Waiting {
                self.execute(desired, index, execute);
            }
        }
    }

    fn execute(&self, desired: &Desired, index: u32, execute: &testyard_guest_protocol::Execute) {
        let node = self.node;
        let id = ServiceId::Execute(index);
        let begun = match execute::prepare(node, desired, index, execute) {
            Ok(begun) => begun,
            Err(reason) => {
                text::log(&reason);
                node.board.set_service(id, ServiceState::Failed, reason);
                return;
            }
        };
        // On the disk before it begins: whatever happens now, it does not begin twice.
        if let Err(error) =
            self.record(|registry| registry.set_execute(index, execute, ServiceState::Running, ""))
        {
            node.board.set_service(id, ServiceState::Failed, error);
            return;
        }
        node.board.set_service(id, ServiceState::Running, String::new());
        let (mut state, detail) = begun.run(node);
        if node.stopping() {
            state = ServiceState::Interrupted;
        }
        let recorded = self.record(|registry| {
            // A command that never began may be tried again at the next boot.
            if state == ServiceState::Failed {
                registry.forget_execute(index);
            } else {
                registry.set_execute(index, execute, state, &detail);
            }
        });
        if let Err(error) = recorded {
            text::log(&error);
        }
        node.board.set_service(id, state, detail);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, change: impl FnOnce(&mut Registry)) -> Result<(), String> {
        let mut registry = self.lock();
        change(&mut registry);
        registry.save(&self.node.root).map_err(|error| text::chain(&error))
    }
}

/// The agent sends a few; the list of a message of [`testyard_guest_protocol::MAX_MESSAGE`] bytes has fewer than 2³².
fn index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

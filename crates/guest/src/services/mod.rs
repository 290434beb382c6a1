//! Services: installs, then executes, in their order, each once in the life of a disk.
//!
//! ```text
//! install   waiting ──► running ──► exited(0)             interrupted: from the beginning at the next boot
//!                          └──► failed                    tried again at the next boot; no execute is begun
//! execute   waiting ──► running ──► exited / signalled
//!              │           └──► interrupted               by the end of the boot; never begun again
//!              └──► failed                                it could not be begun; tried again at the next boot
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | [`install`], [`execute`] | one of them |
//! | [`registry`] | what was done on this disk, what is being done in this boot |
//! | [`log`], [`kept`] | their files; an output that is too long for one |
//! | [`shell`] | the shell and the environment of commands |
//! | [`checksum`], [`reason`] | whether a download is the right one; why a script was not run |

mod checksum;
mod execute;
mod install;
pub(crate) mod kept;
pub(crate) mod log;
mod reason;
mod registry;
pub(crate) mod shell;

use std::sync::{Mutex, PoisonError};

use testyard_guest_protocol::{Desired, ServiceReport, ServiceState};

pub(crate) use reason::{of_file as trouble_of_script, reason as trouble_of_status};
pub(crate) use registry::state_folder;

use crate::node::{Newest, Node, thread};
use crate::programs::Programs;
use crate::{sys, text};
use registry::{Now, Registry};

/// The services of the node.
pub(crate) struct Services {
    node: &'static Node,
    /// What waits for the installs.
    programs: &'static Programs,
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
    pub(crate) fn new(node: &'static Node, programs: &'static Programs) -> Self {
        let registry = Registry::load(&node.root).unwrap_or_else(|error| {
            // Without it nobody knows what has run; a command must not run twice.
            node.board.set_services_trouble(Some(text::chain(&error)));
            Registry::unreadable()
        });
        Self {
            node,
            programs,
            registry: Mutex::new(registry),
            list: Newest::default(),
            started: Mutex::default(),
        }
    }

    /// How the services of a desired state stand.
    pub(crate) fn reports(&self, desired: &Desired) -> Vec<ServiceReport> {
        let mut registry = self.lock();
        registry.set_disk(&desired.disk);
        Self::all(&registry, desired)
    }

    fn all(registry: &Registry, desired: &Desired) -> Vec<ServiceReport> {
        let installs =
            desired.installs.iter().enumerate().map(|(i, install)| registry.install(index(i), install));
        let executes =
            desired.executes.iter().enumerate().map(|(i, execute)| registry.execute(index(i), execute));
        installs.chain(executes).collect()
    }

    /// Works on the services of this state, unless it does so already.
    pub(crate) fn run(&'static self, desired: &Desired) {
        {
            // What has changed since [`Self::reports`] was told to somebody who did not know of it yet.
            let registry = self.lock();
            Self::all(&registry, desired).into_iter().for_each(|report| self.node.board.set_service(report));
        }
        if desired.installs.is_empty() {
            self.programs.open();
        }
        let list = List {
            desired: Desired {
                resolver: desired.resolver.clone(),
                hosts: desired.hosts.clone(),
                program: desired.program.clone(),
                environment: desired.environment.clone(),
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
        self.lock().forget_tries();
        for (i, install) in desired.installs.iter().enumerate() {
            if node.stopping() {
                return;
            }
            let index = index(i);
            if self.lock().install(index, install).state == ServiceState::Exited(0) {
                continue;
            }
            let set = |now: Now| self.set(|registry| registry.set_install(index, install, now));
            let run = install::Run::new(node, desired, index, install);
            let folder = run.folder();
            set(Now { folder, ..Now::new(ServiceState::Running) });
            match run.run() {
                Ok(detail) => {
                    set(Now { state: ServiceState::Exited(0), detail, folder });
                    if let Err(error) = self.save() {
                        // It will be done once more at the next boot, which does no harm.
                        text::log(&error);
                    }
                }
                Err(install::Failure { reason, told }) => {
                    text::log(&told);
                    set(Now { state: ServiceState::Failed, detail: reason, folder });
                    node.board.set_services_trouble(Some(told));
                    return;
                }
            }
        }
        self.programs.open();
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
        let set = |now: Now| self.set(|registry| registry.set_execute(index, execute, now));
        let fail = |detail: String, folder| {
            text::log(&detail);
            set(Now { state: ServiceState::Failed, detail, folder });
        };
        let ready = match execute::prepare(node, desired, index, execute) {
            Ok(ready) => ready,
            Err((reason, folder)) => return fail(reason, folder),
        };
        let folder = ready.folder();
        // On the disk before it begins: whatever happens now, it does not begin twice.
        set(Now { folder, ..Now::new(ServiceState::Running) });
        if let Err(error) = self.save() {
            return fail(format!("execute {} cannot be started: {error}", index + 1), folder);
        }
        let (mut state, detail) = ready.run(node);
        if node.stopping() {
            state = ServiceState::Interrupted;
        }
        set(Now { state, detail, folder });
        if let Err(error) = self.save() {
            text::log(&error);
        }
    }

    /// Changes what is known of a service, and tells it. Both under one lock, so that nobody tells what was before.
    fn set(&self, change: impl FnOnce(&mut Registry) -> ServiceReport) {
        let mut registry = self.lock();
        self.node.board.set_service(change(&mut registry));
    }

    fn save(&self) -> Result<(), String> {
        self.lock().save(&self.node.root).map_err(|error| text::chain(&error))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent sends a few; the list of a message of [`testyard_guest_protocol::MAX_MESSAGE`] bytes has fewer than 2³².
fn index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

//! The steward: makes the inside of the node what the agent wants it to be, again with every message.
//!
//! ```text
//! Desired ──► names, keys, accounts, folders ► Report(Prepared), once a boot: SSH ──► go? ──► once a boot: the image's program
//!    ▲                                                                               always: the list of services
//!    └──────────────── waits for the next ◄───────────────────────────────────────────────┘
//! ```
//!
//! The programs of the schedule are told of it before all that.
//!
//! SSH needs no interface to start, and nobody reaches it before there is one; so it starts while the agent makes them.
//! Where the image's program is the SSH server itself, both wait.

use std::panic::{AssertUnwindSafe, catch_unwind};

use testyard_guest_protocol::Desired;

use crate::node::{Node, thread};
use crate::programs::Programs;
use crate::services::Services;
use crate::ssh::{People, Ssh, is_sshd};
use crate::{accounts, files, folders, host_keys, names, program, skeleton, sudo, text};

/// Serves the agent's wishes; never returns.
pub(crate) fn run(node: &'static Node) {
    let ssh: &'static Ssh = Box::leak(Box::default());
    let programs: &'static Programs = Box::leak(Box::new(Programs::new(node)));
    let services: &'static Services = Box::leak(Box::new(Services::new(node, programs)));
    skeleton::make(&node.root);
    let mut boot = Boot::default();
    loop {
        let desired = node.desired.take();
        if node.stopping() {
            continue;
        }
        let revision = desired.revision;
        // Before all else: events have their time, and what follows takes some.
        programs.want(&desired);
        // A defect in one of these must neither end the steward nor keep the node from being reached.
        let work = AssertUnwindSafe(|| prepare(node, ssh, services, &desired));
        if catch_unwind(work).is_err() {
            let text = "the guest has a defect; the node's log says more".to_owned();
            node.board.set_prepared(revision, desired.go, services.reports(&desired), Some(text), None);
        }
        boot.go_on(node, ssh, &desired);
        if desired.go {
            services.run(&desired);
        }
    }
}

fn prepare(node: &'static Node, ssh: &'static Ssh, services: &Services, desired: &Desired) {
    let root = &node.root;
    let mut failures = Vec::new();
    let mut notices = Vec::new();
    match names::apply(root, &desired.hostname, &desired.hosts, &desired.resolver) {
        Ok(notice) => notices.extend(notice),
        Err(error) => failures.push(text::chain(&error)),
    }
    match host_keys::apply(root, &desired.host_keys) {
        Ok((paths, changed)) => ssh.set_host_keys(node, paths, changed),
        Err(error) => failures.push(text::chain(&error)),
    }
    let outcome = accounts::apply(root, &desired.accounts);
    failures.extend(outcome.failures);
    sudo::publish(&outcome.members);
    let people = People {
        members: outcome.members,
        env: desired.program.env.clone(),
        own_sudo_first: !outcome.in_files && accounts::has_own_sudo(root),
    };
    ssh.set_people(people, outcome.in_files);
    // SSH and all else go on without them.
    notices.extend(folders::apply(root, &desired.folders));
    for failure in &failures {
        text::log(failure);
    }
    notices.extend(outcome.notice);
    let notice = (!notices.is_empty()).then(|| notices.join("; "));
    let failure = (!failures.is_empty()).then(|| failures.join("; "));
    node.board.set_prepared(desired.revision, desired.go, services.reports(desired), failure, notice);
    files::sync_later(outcome.changed);
}

/// What happens once a boot.
#[derive(Default)]
struct Boot {
    /// SSH has been started; whether by a listener of ours, before the image's program could have one.
    claimed: Option<bool>,
    program: bool,
}

impl Boot {
    fn go_on(&mut self, node: &'static Node, ssh: &'static Ssh, desired: &Desired) {
        let first = desired.program.argv.first().map_or("", String::as_str);
        if self.claimed.is_none() && (desired.go || !is_sshd(first)) {
            let claimed = ssh.claim(&node.root, first);
            self.claimed = Some(claimed);
            if claimed || !is_sshd(first) {
                thread(node, "ssh", move || ssh.run(node, None));
            }
        }
        if desired.go && !self.program {
            self.program = true;
            let claimed = self.claimed == Some(true);
            let own = program::start(node, ssh, &desired.program, claimed);
            if !claimed && is_sshd(first) {
                thread(node, "ssh", move || ssh.run(node, own));
            }
        }
    }
}

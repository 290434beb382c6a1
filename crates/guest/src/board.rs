//! What is known about the node: threads write on it what they know, the link reports it whenever it changes.

use std::sync::{Condvar, Mutex, PoisonError};

use testyard_guest_protocol::{
    ProgramState, Report, ScheduledReport, ServiceId, ServiceReport, ServiceState, SshServer, Stage,
};

/// The board.
#[derive(Default)]
pub(crate) struct Board {
    facts: Mutex<Numbered>,
    changed: Condvar,
}

#[derive(Default)]
struct Numbered {
    facts: Facts,
    number: u64,
}

/// What the threads know.
#[derive(Clone, Debug, Default, PartialEq)]
struct Facts {
    revision: u64,
    prepared: bool,
    go: bool,
    /// Who answers on port 22.
    ssh: Option<SshServer>,
    /// SSH has answered since the boot; a later pause does not take the stage back.
    ssh_seen: bool,
    program: Option<ProgramState>,
    program_note: Option<String>,
    services: Vec<ServiceReport>,
    scheduled: Vec<ScheduledReport>,
    trouble: Trouble,
    notices: Notices,
}

/// What works otherwise than the image means it, by who reports it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Notices {
    prepare: Option<String>,
    ssh: Option<String>,
}

/// Failures by who reports them, so that each can take back its own.
#[derive(Clone, Debug, Default, PartialEq)]
struct Trouble {
    prepare: Option<String>,
    ssh: Option<String>,
    services: Option<String>,
    broken: Option<String>,
}

impl Board {
    fn update(&self, change: impl FnOnce(&mut Facts)) {
        let mut numbered = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = numbered.facts.clone();
        change(&mut numbered.facts);
        if numbered.facts != before {
            numbered.number += 1;
            self.changed.notify_all();
        }
    }

    /// The state of this revision is in place, except for what `failure` says.
    pub(crate) fn set_prepared(
        &self,
        revision: u64,
        go: bool,
        services: Vec<ServiceReport>,
        failure: Option<String>,
        notice: Option<String>,
    ) {
        self.update(|facts| {
            facts.revision = revision;
            facts.prepared = true;
            facts.go |= go;
            facts.services = services;
            facts.trouble.prepare = failure;
            facts.notices.prepare = notice;
        });
    }

    /// Says who answers on port 22, if anybody does.
    pub(crate) fn set_ssh(&self, server: Option<SshServer>) {
        self.update(|facts| {
            facts.ssh = server;
            facts.ssh_seen |= server.is_some();
            if server.is_some() {
                facts.trouble.ssh = None;
            }
        });
    }

    /// Says why the image's own server is not the one that answers.
    pub(crate) fn set_ssh_notice(&self, text: String) {
        self.update(|facts| facts.notices.ssh = Some(text));
    }

    pub(crate) fn set_ssh_trouble(&self, text: String) {
        self.update(|facts| facts.trouble.ssh = Some(text));
    }

    /// How the image's program stands, and what is known of the reason.
    pub(crate) fn set_program(&self, state: ProgramState, note: Option<String>) {
        self.update(|facts| (facts.program, facts.program_note) = (Some(state), note));
    }

    pub(crate) fn set_service(&self, report: ServiceReport) {
        self.update(|facts| {
            if let Some(service) = facts.services.iter_mut().find(|service| service.id == report.id) {
                *service = report;
            }
        });
    }

    /// How the programs of the schedule stand.
    pub(crate) fn set_scheduled(&self, reports: Vec<ScheduledReport>) {
        self.update(|facts| facts.scheduled = reports);
    }

    pub(crate) fn set_services_trouble(&self, text: Option<String>) {
        self.update(|facts| facts.trouble.services = text);
    }

    pub(crate) fn set_broken(&self, text: String) {
        self.update(|facts| facts.trouble.broken = Some(text));
    }

    /// The newest report with its number, as soon as it is another than `seen`; nothing if `open` says, when it is
    /// asked after a wake-up, that nobody wants it any more.
    pub(crate) fn wait(&self, seen: Option<u64>, open: impl Fn() -> bool) -> Option<(u64, Report)> {
        let mut numbered = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if !open() {
                return None;
            }
            if seen != Some(numbered.number) {
                return Some((numbered.number, numbered.facts.report()));
            }
            numbered = self.changed.wait(numbered).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes those who wait, so that they ask their `open` again.
    pub(crate) fn wake(&self) {
        drop(self.facts.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

// === impl Facts ===

impl Facts {
    fn report(&self) -> Report {
        let trouble = &self.trouble;
        let told: Vec<&str> = [&trouble.broken, &trouble.prepare, &trouble.ssh, &trouble.services]
            .into_iter()
            .filter_map(Option::as_deref)
            .collect();
        let noted: Vec<&str> =
            [&self.notices.prepare, &self.notices.ssh].into_iter().filter_map(Option::as_deref).collect();
        Report {
            revision: self.revision,
            stage: self.stage(),
            failure: (!told.is_empty()).then(|| told.join("; ")),
            ssh: self.ssh.is_some(),
            ssh_server: self.ssh,
            notice: (!noted.is_empty()).then(|| noted.join("; ")),
            program: self.program.unwrap_or(ProgramState::None),
            program_note: self.program_note.clone(),
            services: self.services.clone(),
            scheduled: self.scheduled.clone(),
        }
        .bounded()
    }

    fn stage(&self) -> Stage {
        let of = |install: bool| {
            self.services.iter().filter(move |s| matches!(s.id, ServiceId::Install(_)) == install)
        };
        if !self.prepared {
            Stage::Booted
        } else if !self.go || !self.ssh_seen {
            Stage::Prepared
        } else if of(true).any(|s| s.state != ServiceState::Exited(0))
            || of(false).next().is_some_and(|s| s.state == ServiceState::Waiting)
        {
            Stage::Installing
        } else {
            Stage::Ready
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(id: ServiceId) -> ServiceReport {
        ServiceReport { id, state: ServiceState::Waiting, detail: String::new(), folder: String::new() }
    }

    fn now(board: &Board) -> Report {
        board.wait(None, || true).unwrap().1
    }

    #[test]
    fn stages_follow_the_facts() {
        let (install, execute) = (ServiceId::Install(0), ServiceId::Execute(0));
        let board = Board::default();
        assert_eq!(now(&board).stage, Stage::Booted);
        let services = vec![service(install), service(execute)];
        board.set_prepared(1, false, services.clone(), None, None);
        assert_eq!((now(&board).stage, now(&board).revision), (Stage::Prepared, 1));
        board.set_prepared(2, true, services, None, None);
        assert_eq!(now(&board).stage, Stage::Prepared);
        board.set_ssh(Some(SshServer::Image));
        assert_eq!(now(&board).stage, Stage::Installing);
        board.set_service(ServiceReport { state: ServiceState::Exited(0), ..service(install) });
        assert_eq!(now(&board).stage, Stage::Installing);
        board.set_service(ServiceReport { state: ServiceState::Running, ..service(execute) });
        assert_eq!(now(&board).stage, Stage::Ready);
        // What happens to an execute later, and a pause of sshd, do not take the node back.
        board.set_service(ServiceReport { state: ServiceState::Exited(3), ..service(execute) });
        board.set_ssh(None);
        assert_eq!((now(&board).stage, now(&board).ssh), (Stage::Ready, false));
    }

    #[test]
    fn a_failed_install_is_never_ready() {
        let board = Board::default();
        board.set_prepared(1, true, vec![service(ServiceId::Install(0))], None, None);
        board.set_ssh(Some(SshServer::Image));
        board.set_service(ServiceReport { state: ServiceState::Failed, ..service(ServiceId::Install(0)) });
        assert_eq!(now(&board).stage, Stage::Installing);
    }

    #[test]
    fn failures_are_told_together_and_taken_back_one_by_one() {
        let board = Board::default();
        board.set_prepared(1, true, vec![], Some("no ann".into()), Some("as it is".into()));
        board.set_ssh_trouble("no sshd".into());
        assert_eq!(now(&board).failure.unwrap(), "no ann; no sshd");
        board.set_ssh(Some(SshServer::Image));
        assert_eq!(now(&board).failure.unwrap(), "no ann");
        assert_eq!(
            (now(&board).notice.unwrap(), now(&board).ssh_server),
            ("as it is".into(), Some(SshServer::Image))
        );
        board.set_prepared(2, true, vec![], None, None);
        assert_eq!((now(&board).failure, now(&board).notice), (None, None));
    }

    #[test]
    fn only_changes_are_reported() {
        let board = Board::default();
        let (number, _) = board.wait(None, || true).unwrap();
        board.set_ssh(None);
        board.set_services_trouble(None);
        let asked = std::sync::atomic::AtomicU32::new(0);
        let (next, report) = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                board.wait(Some(number), || asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 1000)
            });
            board.set_ssh(Some(SshServer::Image));
            waiting.join().unwrap()
        })
        .unwrap();
        assert!(next == number + 1 && report.ssh);
        assert!(board.wait(Some(next), || false).is_none());
    }
}

//! The messages.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::facts::{Ask, Facts, Told};
use crate::schedule::{ScheduledProgram, ScheduledReport};

/// From the agent to the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", content = "value", rename_all = "snake_case")]
pub enum ToGuest {
    /// What the inside of the node should be; replaces what was said before.
    Desired(Box<Desired>),
    /// End the services and the image's program (its own stop signal first), sync, and exit within this time.
    Stop {
        /// Milliseconds until what still runs is killed.
        grace_ms: u64,
    },
    /// The answer to a question; only who has asked is told.
    Told(Told),
}

/// From the guest to the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", content = "value", rename_all = "snake_case")]
pub enum FromGuest {
    /// The first message on every stream.
    Hello(Hello),
    /// How things stand in the node; replaces what was said before.
    Report(Box<Report>),
    /// A question; only an agent whose [`Facts::asks`] names it is asked.
    Ask(Ask),
}

/// Who the guest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL`] of the guest.
    pub protocol: u32,
    /// The guest's version.
    pub version: String,
    /// Random, new at each boot of the node: tells a new boot from a new stream.
    pub boot: String,
}

/// What the inside of a node should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// Grows with every change; reports carry it back.
    pub revision: u64,
    /// Interfaces, addresses and routes are there: SSH, the image's program and the services may start.
    pub go: bool,
    /// Which disk this is. What was done on another one, from which this one was copied, was not done here. An empty
    /// one, of an older agent, is any disk.
    #[serde(default)]
    pub disk: String,
    /// The node's own name.
    pub hostname: String,
    /// Lines of /etc/hosts beside those of localhost.
    pub hosts: Vec<HostsLine>,
    /// Name resolution.
    pub resolver: Resolver,
    /// SSH host keys; the same over restarts and reloads.
    pub host_keys: Vec<HostKey>,
    /// Accounts: exactly these beside the image's own. One that is not listed any more is locked, its home kept.
    pub accounts: Vec<Account>,
    /// Folders that are to be there, absolute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    /// The image's own program.
    pub program: Program,
    /// Archives, fetched and unpacked in order before anything below starts.
    pub installs: Vec<Install>,
    /// Commands, run in order once the installs are done.
    pub executes: Vec<Execute>,
    /// Variables of the environment of executes and of the programs of a schedule, `NAME=value`; they go before those of
    /// the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
    /// Which run of the schedule [`Self::scheduled`] is about: what another one has begun is ended. None: nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
    /// Programs that events start and stop; none begins before the installs are done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduled: Vec<ScheduledProgram>,
    /// What programs in the node may know about it; absent if the agent tells nothing.
    #[serde(default)]
    pub facts: Option<Facts>,
}

/// A line of /etc/hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsLine {
    /// The address.
    pub address: IpAddr,
    /// Its names, the chief one first.
    pub names: Vec<String>,
}

/// What goes into /etc/resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Name servers; none leaves the image's file alone.
    pub servers: Vec<IpAddr>,
    /// Domains to search.
    pub search: Vec<String>,
}

/// An SSH host key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKey {
    /// `ed25519` or `ecdsa`: the file is `/etc/ssh/ssh_host_<algorithm>_key`.
    pub algorithm: String,
    /// In OpenSSH's private key format.
    pub private: Secret,
    /// In the one-line format of `.pub` files.
    pub public: String,
}

/// A text that logs and error texts must not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An account in the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name; the sender has checked the form, the guest checks that it is no system account of the image.
    pub login: String,
    /// Lines of authorized_keys, exactly these.
    pub keys: Vec<String>,
    /// Whether it gets passwordless sudo (the image's, or Testyard's where it has none).
    pub sudo: bool,
}

/// The image's own program: ENTRYPOINT and CMD put together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Program and arguments; empty if the image has none.
    pub argv: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// WORKDIR; `/` if empty.
    pub workdir: String,
    /// USER: name, uid, `name:group` or `uid:gid`; root if empty.
    pub user: String,
    /// STOPSIGNAL as the image says it (`SIGQUIT`, `3`); SIGTERM if empty.
    pub stop_signal: String,
}

/// An archive to fetch and unpack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Install {
    /// `http` or `https`.
    pub url: String,
    /// The absolute folder to unpack in.
    pub path: String,
    /// The most bytes to download.
    pub max_download: u64,
    /// The most bytes to unpack.
    pub max_unpacked: u64,
    /// What the download must have: `sha256:` or `sha512:` and hex digits; none if nothing was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execute {
    /// `sh` or `bash`.
    pub shell: String,
    /// The text that the shell reads.
    pub command: String,
    /// The most seconds that it may run; as long as it likes if nothing was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<u64>,
}

/// How things stand in the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The revision of the [`Desired`] that this is about.
    pub revision: u64,
    /// How far the guest has come with it.
    pub stage: Stage,
    /// Why it cannot go on, and what to do about it; SSH may work all the same.
    pub failure: Option<String>,
    /// SSH answers, with the accounts of this revision.
    pub ssh: bool,
    /// Which server that is; absent while none answers, and from older guests.
    #[serde(default)]
    pub ssh_server: Option<SshServer>,
    /// What works otherwise than the image means it, and why; the node is no worse for it.
    #[serde(default)]
    pub notice: Option<String>,
    /// The image's own program.
    pub program: ProgramState,
    /// Why the program is not started, or why it may have ended, with what to do: goes on where "the image's program
    /// could not be started" or "has ended" stops. Absent where that is not known, and from older guests.
    #[serde(default)]
    pub program_note: Option<String>,
    /// One for each install and execute, in their order.
    pub services: Vec<ServiceReport>,
    /// One for each program of the schedule, in their order; older guests run none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduled: Vec<ScheduledReport>,
}

/// Who answers on port 22 of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SshServer {
    /// The image's own sshd or dropbear.
    Image,
    /// Testyard's, where the image has none or its own cannot be used.
    Embedded,
    /// One that something in the node has started.
    Other,
}

/// How far the guest has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Booted; nothing done yet.
    Booted,
    /// Names, accounts and keys are in place; waits for `go`.
    Prepared,
    /// SSH answers; installs are running.
    Installing,
    /// SSH answers, installs are done, executes have been started.
    Ready,
}

/// The image's own program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramState {
    /// The image has none, or it is not started yet.
    None,
    /// It runs.
    Running,
    /// It has ended with this status; the node stays up.
    Exited(i32),
    /// A signal has ended it; the node stays up.
    Signalled(i32),
    /// It could not be started (the error number).
    NotStarted(i32),
}

/// Which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceId {
    /// The install with this index, from 0.
    Install(u32),
    /// The execute with this index, from 0.
    Execute(u32),
}

/// How a service stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Which.
    pub id: ServiceId,
    /// How it stands.
    pub state: ServiceState,
    /// The end of its output, or the reason of its failure, for people; a few hundred characters.
    pub detail: String,
    /// The folder of its files in the node where that is not `/tmp`, which is then read-only or full; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub folder: String,
}

/// How a service or a program of the schedule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Not begun.
    Waiting,
    /// At work.
    Running,
    /// Done; an execute with this exit status.
    Exited(i32),
    /// A signal has ended it.
    Signalled(i32),
    /// It could not be done; the detail says why.
    Failed,
    /// The node was stopped while it ran; it is not begun again.
    Interrupted,
}

impl Report {
    /// The longest text of a report that the agent keeps.
    pub const MAX_TEXT: usize = 2000;
    /// The most services of a report that the agent keeps, and the most programs of a schedule.
    pub const MAX_SERVICES: usize = 1000;
    /// The most bytes of all its texts together that the agent keeps.
    pub const MAX_TEXTS: usize = 256 << 10;

    /// The same report with every text and list cut to what the agent keeps: a guest may say anything.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let mut left = Self::MAX_TEXTS;
        let mut cut = |text: &mut String| {
            let kept = text.chars().filter(|c| !c.is_control() || *c == '\n').take(Self::MAX_TEXT);
            *text = kept
                .take_while(|c| left.checked_sub(c.len_utf8()).inspect(|rest| left = *rest).is_some())
                .collect();
        };
        self.failure.as_mut().map(&mut cut);
        self.notice.as_mut().map(&mut cut);
        self.program_note.as_mut().map(&mut cut);
        self.services.truncate(Self::MAX_SERVICES);
        self.services.iter_mut().for_each(|service| {
            cut(&mut service.detail);
            cut(&mut service.folder);
        });
        self.scheduled.truncate(Self::MAX_SERVICES);
        self.scheduled.iter_mut().for_each(|program| {
            cut(&mut program.name);
            cut(&mut program.detail);
            cut(&mut program.files);
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_logs() {
        let key =
            HostKey { algorithm: "ed25519".into(), private: Secret("hidden".into()), public: "shown".into() };
        let text = format!("{key:?}");
        assert!(text.contains("shown") && !text.contains("hidden"));
    }

    #[test]
    fn a_guest_cannot_say_too_much() {
        let service = ServiceReport {
            id: ServiceId::Execute(0),
            state: ServiceState::Running,
            detail: "x\u{1b}".repeat(10_000),
            folder: String::new(),
        };
        let program = ScheduledReport {
            name: "n".repeat(10_000),
            run: Some(1),
            start: 1,
            state: ServiceState::Running,
            stopped: false,
            began_ms: Some(i64::MAX),
            ended_ms: None,
            detail: "d".repeat(10_000),
            files: "f".repeat(10_000),
        };
        let report = Report {
            revision: 1,
            stage: Stage::Ready,
            failure: Some("y".repeat(100_000)),
            ssh: true,
            ssh_server: Some(SshServer::Image),
            notice: Some("z".repeat(100_000)),
            program: ProgramState::None,
            program_note: Some("p".repeat(100_000)),
            services: vec![service; 5000],
            scheduled: vec![program; 5000],
        };
        let report = report.bounded();
        let texts =
            report.services.iter().map(|service| service.detail.len()).sum::<usize>() + 3 * Report::MAX_TEXT;
        let more = report
            .scheduled
            .iter()
            .map(|program| program.name.len() + program.detail.len() + program.files.len());
        let texts = texts + more.sum::<usize>();
        assert!(texts <= Report::MAX_TEXTS, "{texts} bytes are kept");
        assert_eq!(report.services.len(), Report::MAX_SERVICES);
        assert_eq!(report.scheduled.len(), Report::MAX_SERVICES);
        assert_eq!(report.failure.unwrap().len(), Report::MAX_TEXT);
        assert_eq!(report.notice.unwrap().len(), Report::MAX_TEXT);
        assert_eq!(report.program_note.unwrap().len(), Report::MAX_TEXT);
        assert!(!report.services[0].detail.contains('\u{1b}'));
    }
}

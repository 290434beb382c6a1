//! SSH: keeps the image's own server running where it works, and Testyard's everywhere else.
//!
//! ```text
//! image's server ──► start ──► probe port 22: 2, 4, 4 … ms ──► answers ──► wait for its end ──► back-off ──┐
//!    ▲  │                └► it ends, or stays silent ──► three times so ──► embedded, until the next boot  │
//!    │  └► the image's program is sshd: the same with that process                                         │
//!    └──────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! none in the image, or one that cannot know the users ──► embedded
//! embedded ──► takes port 22 before the image's program starts ──► sessions are processes of their own
//!        └──► the port is taken: somebody else answers, perhaps; looked at again and again
//! ```

mod dropbear;
mod embedded;
mod helpers;
mod probe;
mod server;

pub(crate) use dropbear::convert;
pub(crate) use embedded::{People, scp, session, sftp_server};
pub(crate) use server::is_sshd;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use testyard_guest_protocol::SshServer;
use testyard_sshd::Listener;

use crate::children::Process;
use crate::node::{Node, thread};
use crate::output::Output;
use crate::program::PATH;
use crate::sys::End;
use crate::{sys, text};
use server::{Kind, Server};
use testyard_fetch::backoff::{Backoff, pause};

/// A server that ran this long was all right: what ended it is no defect of its configuration.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// So many ends in a row, each soon after the start, and the image's server is given up.
const QUICK_ENDS: u32 = 3;

/// How long a server may leave port 22 silent before it is given up.
const SILENCE: Duration = Duration::from_secs(20);

/// How much of what a server said last is told, in characters.
const MAX_WORDS: usize = 300;

/// The SSH server of the node.
#[derive(Default)]
pub(crate) struct Ssh {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    host_keys: Vec<PathBuf>,
    people: People,
    /// The image's server, while it runs.
    process: Option<Process>,
    /// The image's server would know none of the users.
    strangers: bool,
    /// Port 22, taken before the image's program began.
    listener: Option<Listener>,
}

impl Ssh {
    /// Says where the host keys are. A server that runs with other ones is started again.
    pub(crate) fn set_host_keys(&self, node: &Node, paths: Vec<PathBuf>, changed: bool) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = changed || shared.host_keys != paths;
        shared.host_keys = paths;
        if let Some(process) = shared.process.take_if(|_| changed) {
            node.children.signal(&process, libc::SIGTERM);
        }
        if changed {
            embedded::tell(&shared.host_keys, &shared.people);
        }
    }

    /// Says who may come in. `in_files`: the image's own programs know it too.
    pub(crate) fn set_people(&self, people: People, in_files: bool) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.strangers = !in_files;
        if shared.people != people {
            shared.people = people;
            embedded::tell(&shared.host_keys, &shared.people);
        }
    }

    /// Takes port 22 where the image's server will not be the one that listens there; to be called before the image's
    /// program begins, which might have a server of its own. Says whether it is so.
    pub(crate) fn claim(&self, root: &Path, program: &str) -> bool {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let images = Server::find(root).is_some() || is_sshd(program);
        if images && !shared.strangers {
            return false;
        }
        match embedded::bind() {
            Ok(listener) => shared.listener = Some(listener),
            Err(error) => text::log(&format!("cannot listen on port 22: {error}")),
        }
        true
    }

    /// Makes what an sshd needs before it starts.
    pub(crate) fn prepare(&self, root: &Path) {
        let folder = root.join("run/sshd");
        let made = std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)));
        if let Err(error) = made {
            text::log(&format!("cannot make /run/sshd: {error}"));
        }
    }

    /// The options that every OpenSSH server here runs with.
    pub(crate) fn enforced(&self) -> Vec<String> {
        server::enforced(&self.shared.lock().unwrap_or_else(PoisonError::into_inner).host_keys)
    }

    /// Keeps SSH up; never returns before the node is stopped. `own` is the image's program if that is an sshd.
    pub(crate) fn run(&self, node: &'static Node, own: Option<Process>) {
        let claimed = self.shared.lock().unwrap_or_else(PoisonError::into_inner).listener.take();
        if claimed.is_none()
            && let Some(reason) = self.run_images(node, own)
        {
            text::log(&reason);
            node.board.set_ssh_notice(format!("{reason}; Testyard's SSH server answers in its place"));
        }
        if !node.stopping() {
            run_embedded(node, claimed);
        }
    }

    /// Keeps the image's server up, until it is given up: the reason, if it has one.
    fn run_images(&self, node: &'static Node, own: Option<Process>) -> Option<String> {
        let mut own = own;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut quick = 0;
        while !node.stopping() {
            let began = Instant::now();
            let started = match own.take() {
                Some(process) => Started { process, errors: None, name: "the image's program".into() },
                None => match self.start(node) {
                    Ok(started) => started?,
                    Err(reason) => return Some(reason),
                },
            };
            let end = watch(node, &started);
            if node.stopping() {
                return None;
            }
            let Some(end) = end else {
                let name = started.name;
                return Some(format!("{name} runs, but nothing answers on port 22 of 127.0.0.1 or ::1"));
            };
            // Perhaps it has gone to the background, or the image's program has begun one of its own.
            if probe::answers() {
                others(node);
                continue;
            }
            node.board.set_ssh(None);
            if began.elapsed() >= LONG_ENOUGH {
                quick = 0;
                backoff.reset();
            } else {
                quick += 1;
            }
            if quick >= QUICK_ENDS {
                let errors = started.errors.map_or_else(Vec::new, |errors| errors.tail());
                return Some(gives_up(&started.name, end, &text::tail(&errors, MAX_WORDS)));
            }
            pause(backoff.step());
        }
        None
    }

    /// Starts the image's server, if it has one.
    fn start(&self, node: &'static Node) -> Result<Option<Started>, String> {
        let Some(server) = Server::find(&node.root) else { return Ok(None) };
        self.prepare(&node.root);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = Command::new(&server.path);
        match server.kind {
            Kind::OpenSsh => command.args(["-D", "-e"]).args(server::enforced(&shared.host_keys)),
            Kind::Dropbear => {
                let keys = dropbear::write_keys(&node.root, &shared.host_keys)
                    .map_err(|error| format!("dropbear cannot get its host keys: {}", text::chain(&error)))?;
                helpers::link(&node.root);
                command.args(server::dropbear_arguments(&keys))
            }
        };
        command.env_clear().env("PATH", PATH).current_dir("/");
        let name = server.path.display().to_string();
        let failed = |error| {
            format!("the image's SSH server {name} cannot be started: {}", text::why_not_started(&error))
        };
        let (errors_out, errors_in) = std::io::pipe().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(errors_in);
        sys::detach(&mut command, None);
        let process = node.children.spawn(&mut command).map_err(failed)?;
        // Our end for writing goes with it.
        drop(command);
        shared.process = Some(process.clone());
        // All of it goes to the node's log.
        let errors = Output::follow(errors_out, std::io::stderr()).ok();
        Ok(Some(Started { process, errors, name }))
    }
}

struct Started {
    process: Process,
    errors: Option<Arc<Output>>,
    name: String,
}

/// That a server does not stay up, with its last words if it had any.
fn gives_up(name: &str, end: End, words: &str) -> String {
    let colon = if words.is_empty() { "" } else { ": " };
    format!("{name} ends as soon as it is started ({}){colon}{words}", how(end))
}

fn how(end: End) -> String {
    match end {
        End::Exited(status) => format!("status {status}"),
        End::Signalled(signal) => format!("signal {signal}"),
    }
}

/// Says when it answers, and waits for its end; none if it never answers, and then it is ended.
fn watch(node: &Node, started: &Started) -> Option<End> {
    let began = Instant::now();
    // As long as nothing listens a probe costs some microseconds; what is waited too long here, users wait too.
    let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(4));
    loop {
        if probe::answers() {
            node.board.set_ssh(Some(SshServer::Image));
            return Some(started.process.wait());
        }
        if let Some(end) = started.process.wait_for(backoff.step()) {
            return Some(end);
        }
        if began.elapsed() > SILENCE {
            node.children.signal(&started.process, libc::SIGTERM);
            return None;
        }
    }
}

/// Watches a server that is not our child, until it does not answer any more.
fn others(node: &Node) {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(2));
    while !node.stopping() {
        let answers = probe::answers();
        node.board.set_ssh(answers.then_some(SshServer::Other));
        if !answers {
            return;
        }
        pause(backoff.step());
    }
}

/// Testyard's server, on port 22 as soon as that is free.
fn run_embedded(node: &'static Node, claimed: Option<Listener>) {
    let mut claimed = claimed;
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));
    while !node.stopping() {
        match claimed.take().map_or_else(embedded::bind, Ok) {
            Ok(listener) => {
                thread(node, "ssh-probe", move || ask_embedded(node));
                embedded::serve(node, listener);
            }
            Err(_) if probe::answers() => others(node),
            Err(error) => node.board.set_ssh_trouble(format!(
                "port 22 of the node cannot be listened on, and nothing answers there: {error}"
            )),
        }
        pause(backoff.step());
    }
}

/// Says when it answers.
fn ask_embedded(node: &Node) {
    let began = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(250));
    while !node.stopping() {
        if probe::answers() {
            node.board.set_ssh(Some(SshServer::Embedded));
            return;
        }
        if began.elapsed() > SILENCE {
            node.board
                .set_ssh_trouble("Testyard's SSH server does not answer; the node's log says more".into());
        }
        pause(backoff.step());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_told_if_there_were_any() {
        let told = |words| gives_up("/usr/sbin/sshd", End::Signalled(9), words);
        assert_eq!(told(""), "/usr/sbin/sshd ends as soon as it is started (signal 9)");
        assert_eq!(told("no keys"), "/usr/sbin/sshd ends as soon as it is started (signal 9): no keys");
    }
}

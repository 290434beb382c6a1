//! SSH: keeps the image's own server running and knows whether it answers.
//!
//! ```text
//! look ──► start sshd ──► probe port 22: 2, 4, 8 … ms ──► answers ──► wait for its end ──► back-off ─┐
//!  ▲  │                                └► it ends ───────────────────────────────────────► back-off ─┤
//!  │  └► the image's program is sshd: the same with that process                                      │
//!  │  └► no server in the image: somebody else may answer; else say what to do                        │
//!  └──────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod dropbear;
mod probe;
mod server;

pub(crate) use dropbear::convert;
pub(crate) use server::is_sshd;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::backoff::{Backoff, pause};
use crate::children::Process;
use crate::node::Node;
use crate::output::Output;
use crate::program::PATH;
use crate::sys::End;
use crate::{sys, text};
use server::{Kind, Server};

/// A server that ran this long was all right: what ended it is no defect of its configuration.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// So many ends in a row, each soon after the start, are told as a failure; we go on trying.
const QUICK_ENDS: u32 = 3;

/// How long a server, or the image's program where the image has no server, may leave port 22 silent before it is
/// told as a failure.
const SILENCE: Duration = Duration::from_secs(20);
const SILENCE_WITHOUT_SERVER: Duration = Duration::from_secs(3);

/// How much of what a server said last is told, in characters.
const MAX_WORDS: usize = 300;

const NO_SERVER: &str = "the image has no SSH server: install openssh-server (or dropbear) in the image, \
    or use an image that has one";

/// The SSH server of the node.
#[derive(Default)]
pub(crate) struct Ssh {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    host_keys: Vec<PathBuf>,
    process: Option<Process>,
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
        let mut own = own;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let mut quick = 0;
        while !node.stopping() {
            let began = Instant::now();
            let started = match own.take() {
                Some(process) => Started { process, errors: None, name: "the image's program".into() },
                None => match self.start(node) {
                    Ok(Some(started)) => started,
                    Ok(None) => {
                        others(node, SILENCE_WITHOUT_SERVER, NO_SERVER);
                        continue;
                    }
                    Err(reason) => {
                        node.board.set_ssh_trouble(reason);
                        pause(backoff.next());
                        continue;
                    }
                },
            };
            let end = watch(node, &started);
            if node.stopping() {
                return;
            }
            // Perhaps it has gone to the background, or the image's program has begun one of its own.
            if probe::answers() {
                others(node, SILENCE, "the SSH server of the image's program does not answer any more");
                continue;
            }
            node.board.set_ssh(false);
            if began.elapsed() >= LONG_ENOUGH {
                quick = 0;
                backoff.reset();
            } else {
                quick += 1;
            }
            if quick >= QUICK_ENDS {
                let errors = started.errors.map_or_else(Vec::new, |errors| errors.tail());
                let (name, end, errors) = (started.name, how(end), text::tail(&errors, MAX_WORDS));
                node.board.set_ssh_trouble(format!("{name} ends as soon as it is started ({end}): {errors}"));
            }
            pause(backoff.next());
        }
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
                command.args(server::dropbear_arguments(&keys))
            }
        };
        command.env_clear().env("PATH", PATH).current_dir("/");
        let name = server.path.display().to_string();
        let failed = |error| format!("the image's SSH server {name} cannot be started: {error}");
        let (errors_out, errors_in) = std::io::pipe().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(errors_in);
        sys::detach(&mut command, None);
        let process = node.children.spawn(&mut command).map_err(failed)?;
        // Our end for writing goes with it.
        drop(command);
        shared.process = Some(process.clone());
        // All of it goes to the node's log.
        let errors = Output::follow(errors_out, std::io::stderr(), u64::MAX).ok();
        Ok(Some(Started { process, errors, name }))
    }
}

struct Started {
    process: Process,
    errors: Option<Arc<Output>>,
    name: String,
}

fn how(end: End) -> String {
    match end {
        End::Exited(status) => format!("status {status}"),
        End::Signalled(signal) => format!("signal {signal}"),
    }
}

/// Says when it answers, and waits for its end.
fn watch(node: &Node, started: &Started) -> End {
    let began = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(250));
    loop {
        if probe::answers() {
            node.board.set_ssh(true);
            return started.process.wait();
        }
        if let Some(end) = started.process.wait_for(backoff.next()) {
            return end;
        }
        if began.elapsed() > SILENCE {
            let name = &started.name;
            node.board
                .set_ssh_trouble(format!("{name} runs, but nothing answers on port 22 of 127.0.0.1 or ::1"));
        }
    }
}

/// Watches a server that is not our child. Returns when nothing has answered for a while, so that we look again
/// whether the image has a server by now.
fn others(node: &Node, patience: Duration, trouble: &str) {
    let mut silent_since = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(2));
    while !node.stopping() {
        let answers = probe::answers();
        node.board.set_ssh(answers);
        if answers {
            silent_since = Instant::now();
        } else if silent_since.elapsed() >= patience || node.program().is_none() {
            node.board.set_ssh_trouble(trouble.into());
            pause(Duration::from_secs(2));
            return;
        }
        pause(backoff.next());
    }
}

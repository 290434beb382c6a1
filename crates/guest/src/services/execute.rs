//! One command: its text in a file, read by the shell that was asked for, as root, in a session of its own.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use testyard_guest_protocol::{Desired, Execute, ServiceState};

use super::DETAIL;
use super::kept::{Kept, Sizes};
use super::log::Files;
use super::reason::reason;
use super::shell;
use crate::children::Process;
use crate::node::Node;
use crate::output::Output;
use crate::sys::{self, End};
use crate::text;

/// How long a command that has run for too long may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// A limit of more than this is none.
const MAX_LIMIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A command that is ready to begin.
pub(super) struct Ready {
    files: Files,
    script: String,
    shell: PathBuf,
    name: String,
    env: Vec<(String, String)>,
    output: Kept,
    limit: Option<Duration>,
}

/// Writes the script and finds the shell. Where it cannot: the reason, and the folder of its files if not /tmp.
pub(super) fn prepare(
    node: &Node,
    desired: &Desired,
    index: u32,
    execute: &Execute,
) -> Result<Ready, (String, &'static str)> {
    let number = index + 1;
    let files = Files::new(&node.root, format!("startup-{number}"))
        .map_err(|error| (format!("execute {number} cannot be started: {}", text::chain(&error)), ""))?;
    let refuse = |reason: String| {
        // The log is for people in the node; the reason is in the report in any case.
        let _ = files.log(&reason);
        let _ = files.status(127);
        (format!("execute {number} cannot be started: {reason}"), files.elsewhere())
    };
    let name = match execute.shell.as_str() {
        "sh" | "/bin/sh" => "sh",
        "bash" | "/bin/bash" | "/usr/bin/bash" => "bash",
        other => return Err(refuse(format!("{other:?} is no shell that is known here; use sh or bash"))),
    };
    let env = shell::environment(desired);
    let shell = shell::find(&node.root, &env, name).map_err(&refuse)?;
    let script = shell::script(&execute.command);
    let write = || -> std::io::Result<Kept> {
        files.remove("status")?;
        files.create("sh", 0o755)?.write_all(script.as_bytes())?;
        Kept::new(files.clone(), "txt", Sizes::EXECUTE)
    };
    let output = write().map_err(|error| {
        refuse(format!("{} and what belongs to it cannot be written: {error}", files.path("sh")))
    })?;
    let limit = execute.max_seconds.map(Duration::from_secs).filter(|limit| *limit <= MAX_LIMIT);
    Ok(Ready { files, script, shell, name: name.to_owned(), env, output, limit })
}

impl Ready {
    /// The folder of its files, if it is not /tmp; else empty.
    pub(super) fn folder(&self) -> &'static str {
        self.files.elsewhere()
    }

    /// Runs it to its end; how it ended and the end of its output.
    pub(super) fn run(self, node: &Node) -> (ServiceState, String) {
        let Self { files, script, shell, name, env, output, limit } = self;
        let file = files.path("sh");
        let start = || -> std::io::Result<_> {
            let (reader, writer) = std::io::pipe()?;
            let mut command = Command::new(shell);
            command.arg0(&name).arg(&file).env_clear().envs(env).current_dir("/");
            command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
            sys::detach(&mut command, None);
            let output = Output::follow(reader, output)?;
            Ok((node.children.spawn(&mut command)?, output))
        };
        let (process, output) = match start() {
            Ok(started) => started,
            Err(error) => {
                let reason = format!("{name} cannot be started: {}", text::why_not_started(&error));
                let _ = files.log(&reason);
                let _ = files.status(127);
                return (ServiceState::Failed, reason);
            }
        };
        let (end, late) = wait(node, &process, limit);
        // A shell reports a signal as 128 and its number; scripts that read the file expect that.
        let (state, status, told) = match end {
            End::Exited(status) => (ServiceState::Exited(status), status, format!("exit status {status}")),
            End::Signalled(signal) => {
                (ServiceState::Signalled(signal), 128 + signal, format!("ended by signal {signal}"))
            }
        };
        let said = output.tail();
        let mut detail = text::tail(&said, DETAIL);
        let remarks = [
            text::is_binary(&said).then(|| format!("its output is not text; it is in {}", files.path("txt"))),
            late.map(|limit| format!("it was ended after {}, its timeout", seconds(limit))),
            reason(&node.root, &name, &script, status),
            output.trouble().map(|error| format!("some of its output could not be written: {error}")),
            (!files.elsewhere().is_empty())
                .then(|| format!("/tmp cannot be written, its output is in {}", files.path("txt"))),
        ];
        for remark in remarks.into_iter().flatten() {
            let gap = if detail.is_empty() { "" } else { "\n" };
            detail = format!("{detail}{gap}[testyard: {remark}]");
        }
        if !node.stopping()
            && let Err(error) =
                files.status(status).and_then(|()| files.log(&format!("{name} {file}: {told}")))
        {
            text::log(&format!("cannot write the status of {file}: {error}"));
        }
        (state, detail)
    }
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        1 => "1 second".to_owned(),
        more => format!("{more} seconds"),
    }
}

/// Waits for the end of a command, and brings it about once it has run for too long; then the limit is given back.
fn wait(node: &Node, process: &Process, limit: Option<Duration>) -> (End, Option<Duration>) {
    let Some(limit) = limit else { return (process.wait(), None) };
    if let Some(end) = process.wait_for(limit) {
        return (end, None);
    }
    // What has left its process group has left the command, as with timeout(1).
    node.children.signal_group(process, libc::SIGTERM);
    if let Some(end) = process.wait_for(GRACE) {
        return (end, Some(limit));
    }
    node.children.signal_group(process, libc::SIGKILL);
    (process.wait(), Some(limit))
}

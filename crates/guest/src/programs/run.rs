//! One start of a program: `sh` reads its text from a file, as root, in a session of its own.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use testyard_guest_protocol::{Desired, ScheduledProgram, ServiceState};

use crate::children::Process;
use crate::node::Node;
use crate::output::Output;
use crate::services::kept::{Kept, Sizes};
use crate::services::log::Files;
use crate::services::{DETAIL, shell, trouble_of_status};
use crate::sys::{self, End};
use crate::text;

/// The longest name in a file's name.
const MAX_NAME: usize = 64;

/// A program that is ready to begin.
pub(super) struct Ready {
    files: Files,
    script: String,
    shell: PathBuf,
    env: Vec<(String, String)>,
    directory: PathBuf,
    outputs: [Kept; 2],
}

/// A program that has begun.
pub(super) struct Begun {
    pub(super) process: Process,
    /// In milliseconds since 1970.
    pub(super) began: i64,
    files: Files,
    script: String,
    outputs: [Arc<Output>; 2],
}

/// A program that has ended.
pub(super) struct Ended {
    pub(super) state: ServiceState,
    pub(super) detail: String,
    /// In milliseconds since 1970.
    pub(super) ended: i64,
}

/// A program's name in the names of its files: what could mean something else there becomes `_`, and a sum keeps such names
/// apart.
fn stem(name: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.chars().all(fine) && name.len() <= MAX_NAME {
        return format!("program-{name}");
    }
    let shown: String = name.chars().map(|c| if fine(c) { c } else { '_' }).take(MAX_NAME).collect();
    let sum: String = Sha256::digest(name).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("program-{shown}-{sum}")
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Ready {
    /// Writes the script, puts the outputs of the start before aside and finds the shell. Where it cannot: the reason, and
    /// its files as far as there are any.
    pub(super) fn new(
        node: &Node,
        desired: &Desired,
        program: &ScheduledProgram,
    ) -> Result<Self, (String, String)> {
        let name = &program.name;
        let files = Files::new(&node.root, stem(name)).map_err(|error| {
            (format!("the program {name} cannot be started: {}", text::chain(&error)), String::new())
        })?;
        let refuse = |reason: String| {
            let _ = files.status(127);
            (format!("the program {name} cannot be started: {reason}"), files.base())
        };
        let env = shell::environment(desired);
        let shell = shell::find(&node.root, &env, "sh").map_err(&refuse)?;
        let directory = if program.directory.is_empty() { "/" } else { &program.directory };
        if !directory.starts_with('/') || !Path::new(directory).is_dir() {
            return Err(refuse(format!(
                "there is no folder {directory:?} in the node: make it before, or leave it out"
            )));
        }
        let script = shell::script(&program.command);
        let write = || -> io::Result<[Kept; 2]> {
            files.remove("status")?;
            for extension in ["out", "err"] {
                match files.rename(extension, &format!("before.{extension}")) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            files.create("sh", 0o755)?.write_all(script.as_bytes())?;
            let keep = |extension| Kept::new(files.clone(), extension, Sizes::PROGRAM);
            Ok([keep("out")?, keep("err")?])
        };
        let outputs = write().map_err(|error| {
            refuse(format!("{} and what belongs to it cannot be written: {error}", files.path("sh")))
        })?;
        let directory = PathBuf::from(directory);
        Ok(Self { files, script, shell, env, directory, outputs })
    }

    /// Its files without their extensions.
    pub(super) fn files(&self) -> String {
        self.files.base()
    }

    /// Begins it. Where it cannot: the reason.
    pub(super) fn begin(self, node: &Node) -> Result<Begun, String> {
        let Self { files, script, shell, env, directory, outputs: [out, err] } = self;
        let start = || -> io::Result<_> {
            let ((out_reader, out_writer), (err_reader, err_writer)) = (io::pipe()?, io::pipe()?);
            let mut command = Command::new(shell);
            command.arg0("sh").arg(files.path("sh")).env_clear().envs(env).current_dir(directory);
            command.stdin(Stdio::null()).stdout(out_writer).stderr(err_writer);
            sys::detach(&mut command, None);
            let outputs = [Output::follow(out_reader, out)?, Output::follow(err_reader, err)?];
            let began = now();
            Ok((node.children.spawn(&mut command)?, began, outputs))
        };
        match start() {
            Ok((process, began, outputs)) => Ok(Begun { process, began, files, script, outputs }),
            Err(error) => {
                let _ = files.status(127);
                Err(format!("sh cannot be started: {}", text::why_not_started(&error)))
            }
        }
    }
}

impl Begun {
    /// What has become of it, once it has ended.
    pub(super) fn end(self, node: &Node, remark: Option<String>) -> Ended {
        let Self { process, files, script, outputs, .. } = self;
        let end = process.wait();
        let ended = now();
        // As a shell would have told it.
        let (state, status) = match end {
            End::Exited(status) => (ServiceState::Exited(status), status),
            End::Signalled(signal) => (ServiceState::Signalled(signal), 128 + signal),
        };
        let [out, err] = outputs.each_ref().map(|output| output.tail());
        // What it complains of says more than what it has to say.
        let said = if err.is_empty() { out } else { err };
        let mut detail = text::tail(&said, DETAIL);
        let trouble = outputs.iter().find_map(|output| output.trouble());
        let remarks = [
            text::is_binary(&said)
                .then(|| format!("its output is not text; it is in {}.out and .err", files.base())),
            remark,
            trouble_of_status(&node.root, "sh", &script, status),
            trouble.map(|error| format!("some of its output could not be written: {error}")),
        ];
        for remark in remarks.into_iter().flatten() {
            let gap = if detail.is_empty() { "" } else { "\n" };
            detail = format!("{detail}{gap}[testyard: {remark}]");
        }
        if !node.stopping()
            && let Err(error) = files.status(status)
        {
            text::log(&format!("cannot write {}: {error}", files.path("status")));
        }
        Ended { state, detail, ended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_names_of_files() {
        assert_eq!(stem("load-1_a"), "program-load-1_a");
        for name in ["../x", "a b", "a.b", &"x".repeat(65), "ä"] {
            let stem = stem(name);
            assert!(
                stem.len() <= 82 && stem.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)),
                "{stem}"
            );
        }
        assert_ne!(stem("a b"), stem("a.b"));
    }
}

//! One command: its text in a file, read by the shell that was asked for, as root, in a session of its own.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use testyard_guest_protocol::{Desired, Execute, ServiceState};

use super::DETAIL;
use super::log::Files;
use crate::node::Node;
use crate::output::Output;
use crate::program::{PATH, environment, find};
use crate::sys::{self, End};
use crate::text;

/// The most bytes of a command's output that are kept.
const MAX_OUTPUT: u64 = 64 << 20;

/// A command that is ready to begin.
pub(super) struct Ready {
    files: Files,
    script: String,
    shell: PathBuf,
    name: String,
    env: Vec<(String, String)>,
    output: File,
}

/// Writes the script and finds the shell.
pub(super) fn prepare(
    node: &Node,
    desired: &Desired,
    index: u32,
    execute: &Execute,
) -> Result<Ready, String> {
    let number = index + 1;
    let failed = |what: &str, error: &dyn std::error::Error| {
        format!("execute {number} cannot be started: {what}: {}", text::chain(error))
    };
    let files =
        Files::new(&node.root, format!("startup-{number}")).map_err(|error| failed("no /tmp", &error))?;
    let refuse = |reason: String| {
        // The log is for people in the node; the reason is in the report in any case.
        let _ = files.log(&reason);
        let _ = files.status(127);
        format!("execute {number} cannot be started: {reason}")
    };
    let name = match execute.shell.as_str() {
        "sh" | "/bin/sh" => "sh",
        "bash" | "/bin/bash" | "/usr/bin/bash" => "bash",
        other => return Err(refuse(format!("{other:?} is no shell that is known here; use sh or bash"))),
    };
    let env = environment(&desired.program.env, &[]);
    let path = env.iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, path)| path.as_str());
    let root = &node.root;
    let Some(shell) =
        find(root, root, "/bin:/usr/bin:/usr/local/bin", name).or_else(|| find(root, root, path, name))
    else {
        return Err(refuse(format!("the image has no {name}; install it in the image or use another shell")));
    };
    let script = script(&execute.command);
    let write = || -> std::io::Result<File> {
        files.remove("status")?;
        files.create("sh", 0o755)?.write_all(script.as_bytes())?;
        files.create("txt", 0o644)
    };
    let output = write().map_err(|error| failed("its files in /tmp cannot be written", &error))?;
    let script = format!("/tmp/startup-{number}.sh");
    let env = overridden(env, &[("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root")]);
    Ok(Ready { files, script, shell, name: name.to_owned(), env, output })
}

/// Line ends as shells want them: a script that was written on Windows means the same.
fn script(command: &str) -> String {
    let mut text = command.replace("\r\n", "\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn overridden(mut env: Vec<(String, String)>, values: &[(&str, &str)]) -> Vec<(String, String)> {
    env.retain(|(name, _)| values.iter().all(|(own, _)| name != own));
    env.extend(values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    env
}

impl Ready {
    /// Runs it to its end; how it ended and the end of its output.
    pub(super) fn run(self, node: &Node) -> (ServiceState, String) {
        let Self { files, script, shell, name, env, output } = self;
        let start = || -> std::io::Result<_> {
            let (reader, writer) = std::io::pipe()?;
            let mut command = Command::new(shell);
            command.arg0(&name).arg(&script).env_clear().envs(env).current_dir("/");
            command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
            sys::detach(&mut command, None);
            let output = Output::follow(reader, output, MAX_OUTPUT)?;
            Ok((node.children.spawn(&mut command)?, output))
        };
        let (process, output) = match start() {
            Ok(started) => started,
            Err(error) => {
                let reason = format!("{name} cannot be started: {error}");
                let _ = files.log(&reason);
                return (ServiceState::Failed, reason);
            }
        };
        let end = process.wait();
        let detail = text::tail(&output.tail(), DETAIL);
        // A shell reports a signal as 128 and its number; scripts that read the file expect that.
        let (state, status, told) = match end {
            End::Exited(status) => (ServiceState::Exited(status), status, format!("exit status {status}")),
            End::Signalled(signal) => {
                (ServiceState::Signalled(signal), 128 + signal, format!("ended by signal {signal}"))
            }
        };
        if !node.stopping()
            && let Err(error) =
                files.status(status).and_then(|()| files.log(&format!("{name} {script}: {told}")))
        {
            text::log(&format!("cannot write the status of {script}: {error}"));
        }
        (state, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_windows_mean_the_same() {
        assert_eq!(script("echo a\r\necho b"), "echo a\necho b\n");
        assert_eq!(script("printf 'a\rb'\n"), "printf 'a\rb'\n");
    }

    #[test]
    fn root_is_root_whatever_the_image_says() {
        let env =
            overridden(vec![("HOME".into(), "/srv".into()), ("A".into(), "1".into())], &[("HOME", "/root")]);
        assert_eq!(env, [("A".into(), "1".into()), ("HOME".into(), "/root".into())]);
    }
}

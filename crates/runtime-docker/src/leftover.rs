//! Tasks that the engine has lost.
//!
//! An engine that is killed while it starts a container can come back without knowing of the task that containerd has
//! made for it: the container counts as stopped, every further start says that the task exists already, and removing
//! the container leaves its processes running. The engine's API has no word for this, so the task is ended here: the
//! shim that carries exactly this container's id (64 hex digits, never used twice) and its children. Containerd
//! notices and forgets the task.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Whether an error of a start says that the engine has lost the task.
pub(crate) fn is_meant(text: &str) -> bool {
    (text.contains("task") && text.contains("already exists")) || text.contains("id already in use")
}

/// Ends the task of a container that does not run as far as the engine knows. Gives whether there was one.
pub(crate) async fn end(container: String) -> bool {
    tokio::task::spawn_blocking(move || end_now(&container)).await.unwrap_or(false)
}

fn end_now(container: &str) -> bool {
    let shims: Vec<Pid> = processes().filter(|pid| is_shim_of(&arguments(*pid), container)).collect();
    for shim in &shims {
        for child in processes().filter(|pid| parent(*pid) == Some(*shim)) {
            let _ = kill(child, Signal::SIGKILL);
        }
        let _ = kill(*shim, Signal::SIGKILL);
        tracing::warn!(container, "ended a task that the engine had lost");
    }
    !shims.is_empty()
}

/// The processes that a container is being started with, or runs with: the shim's children and theirs.
pub(crate) fn starters(container: &str) -> Vec<Pid> {
    let all: Vec<(Pid, Pid)> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let children = |of: &[Pid]| -> Vec<Pid> {
        all.iter().filter(|(_, parent)| of.contains(parent)).map(|(pid, _)| *pid).collect()
    };
    let shims: Vec<Pid> = processes().filter(|pid| is_shim_of(&arguments(*pid), container)).collect();
    let first = children(&shims);
    let second = children(&first);
    [first, second].concat()
}

fn is_shim_of(arguments: &[String], container: &str) -> bool {
    let program = arguments.first().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    program.starts_with("containerd-shim")
        && container.len() == 64
        && arguments.windows(2).any(|pair| pair[0] == "-id" && pair[1] == container)
}

fn processes() -> impl Iterator<Item = Pid> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

fn arguments(pid: Pid) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shim_of_this_container() {
        let id = "ab".repeat(32);
        let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_shim_of(
            &line(&format!("/usr/bin/containerd-shim-runc-v2 -namespace moby -id {id}")),
            &id
        ));
        assert!(!is_shim_of(
            &line(&format!("/usr/bin/containerd-shim-runc-v2 -namespace moby -id {id}0")),
            &id
        ));
        assert!(!is_shim_of(&line(&format!("vi -id {id}")), &id));
        assert!(!is_shim_of(&line("/usr/bin/containerd-shim-runc-v2 -id x"), "x"));
        assert!(is_meant("task 385a: already exists: unknown") && is_meant("id already in use"));
        assert!(!is_meant("port is already in use"));
        assert_eq!(parent(Pid::this()), Some(Pid::parent()));
    }
}

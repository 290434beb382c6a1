//! Tasks that the engine has lost.
//!
//! An engine that is killed while it starts a container can come back without knowing of the task that containerd has
//! made for it: the container counts as stopped, every further start says that the task exists already, and removing
//! the container leaves its processes running. The engine's API has no word for this, so the task is ended here: the
//! shim that carries exactly this container's id (64 hex digits, never used twice) and its children. Containerd
//! notices and forgets the task.
//!
//! Containerd, for its part, can lose a task that ends while it is coming back: the task's folder is left, and every further
//! start says that the folder exists. What is in it are a few files of containerd's; where there is more, it stays.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Words of containerd around the name of a folder that is in its way.
const NO_FOLDER: (&str, &str) = ("failed to start shim: mkdir ", ": file exists");

/// Whether an error of a start says that the engine has lost the task.
pub(crate) fn is_meant(text: &str) -> bool {
    (text.contains("task") && text.contains("already exists"))
        || text.contains("id already in use")
        || folder_in(text).is_some()
}

/// Ends the task of a container that does not run as far as the engine knows, or, where there is none, removes the folder
/// that this error of its start is about.
pub(crate) async fn end(container: String, error: Option<String>) {
    let work = move || {
        if !end_now(&container)
            && let Some(folder) =
                error.as_deref().and_then(folder_in).filter(|folder| is_of(folder, &container))
        {
            match clear(folder) {
                Ok(()) => tracing::warn!(container, "removed the folder of a task that containerd had lost"),
                Err(error) => tracing::warn!(
                    container, %error, folder = %folder.display(), "the folder of a lost task is in the way"
                ),
            }
        }
    };
    // It says what it does, and the next start says whether it helped.
    let _ = tokio::task::spawn_blocking(work).await;
}

fn folder_in(text: &str) -> Option<&Path> {
    let (_, rest) = text.split_once(NO_FOLDER.0)?;
    let (path, _) = rest.split_once(NO_FOLDER.1)?;
    Some(Path::new(path))
}

/// Whether a folder is that of a container's task: below containerd's tasks, and called like the container.
fn is_of(folder: &Path, container: &str) -> bool {
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    let names = [container, "moby", "io.containerd.runtime.v2.task"];
    folder.is_absolute()
        && folder.components().all(is_plain)
        && container.len() == 64
        && folder.iter().rev().take(names.len()).eq(names)
}

/// Removes a folder of files and empty folders. What is mounted in it, or holds anything, is left, with the folder.
fn clear(folder: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        // Containerd has come to it at last.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        gone(if entry.file_type()?.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) })?;
    }
    gone(fs::remove_dir(folder))
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
    fn only_the_folder_of_this_container() {
        let id = "ab".repeat(32);
        let path = format!("/run/containerd/io.containerd.runtime.v2.task/moby/{id}");
        let error = |path: &str| format!("failed to start shim: mkdir {path}: file exists: unknown");
        assert!(is_meant(&error(&path)) && is_of(folder_in(&error(&path)).unwrap(), &id));
        assert!(!is_of(Path::new(&path), &"ac".repeat(32)));
        for other in [
            "/run/moby/",
            "run/containerd/io.containerd.runtime.v2.task/moby/",
            "/x/../io.containerd.runtime.v2.task/moby/",
        ] {
            assert!(!is_of(Path::new(&format!("{other}{id}")), &id), "{other}");
        }
        assert!(!is_meant("failed to start shim: exec: not found"));
    }

    #[test]
    fn a_folder_with_more_than_files_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("task");
        fs::create_dir_all(folder.join("rootfs")).unwrap();
        fs::write(folder.join("config.json"), "{}").unwrap();
        std::os::unix::fs::symlink("/", folder.join("work")).unwrap();
        clear(&folder).unwrap();
        assert!(!folder.exists());
        clear(&folder).unwrap();
        fs::create_dir_all(folder.join("rootfs/home")).unwrap();
        assert!(clear(&folder).is_err() && folder.join("rootfs/home").exists());
    }

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

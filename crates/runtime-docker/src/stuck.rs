//! Calls about a container that the engine does not answer, since somebody in the engine waits for a named pipe of the
//! node's.
//!
//! [`crate::own_files`] keeps nodes from being started so; but what was started before this was known, or by somebody
//! else, and what a volume hides must not stay: such a container cannot be looked at or removed, nor can any image. Who
//! waits for a pipe to be written gets an end of file, which frees the engine. Only pipes are opened, never waited for,
//! and never outside the node's own root.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use bollard::query_parameters::ListContainersOptionsBuilder;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::leftover;
use crate::own_files;
use crate::runtime::DockerRuntime;

/// How long an answer may take before somebody looks why.
const PATIENCE: Duration = Duration::from_secs(3);

/// From one look to the next. Files are opened several times in a row.
const PACE: Duration = Duration::from_millis(300);

/// Where the engine keeps what it makes.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    folder: PathBuf,
    driver: String,
}

/// Makes a call about a container and frees the engine meanwhile, if need be. Gives the answer, and whether there was
/// need.
pub(crate) async fn watched<T>(
    runtime: &DockerRuntime,
    name: &str,
    call: impl Future<Output = T>,
) -> (T, bool) {
    let mut call = pin!(call);
    let mut freed = false;
    let mut pause = PATIENCE;
    loop {
        if let Ok(answer) = tokio::time::timeout(pause, &mut call).await {
            return (answer, freed);
        }
        pause = PACE;
        let free = pin!(free(runtime, name));
        match futures_util::future::select(&mut call, free).await {
            futures_util::future::Either::Left((answer, _)) => return (answer, freed),
            futures_util::future::Either::Right((done, _)) => {
                if done && !freed {
                    tracing::warn!(name, "the engine waited for a named pipe of a node's; it has been freed");
                }
                freed |= done;
            }
        }
    }
}

/// Frees whoever waits for a pipe of this container. Neither question needs the container's lock.
async fn free(runtime: &DockerRuntime, name: &str) -> bool {
    let Some(storage) = storage(runtime).await else { return false };
    let filters = std::collections::HashMap::from([("name".to_owned(), vec![format!("^/{name}$")])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let listed = runtime.engine.call(async |docker| docker.list_containers(Some(options)).await).await;
    let Some(id) = listed.ok().and_then(|all| all.into_iter().next()?.id) else { return false };
    tokio::task::spawn_blocking(move || free_now(&storage, &id)).await.unwrap_or(false)
}

async fn storage(runtime: &DockerRuntime) -> Option<Storage> {
    let ask = || async {
        let info = runtime.engine.call(async |docker| docker.info().await).await.map_err(drop)?;
        let (folder, driver) = info.docker_root_dir.zip(info.driver).ok_or(())?;
        Ok::<_, ()>(Storage { folder: folder.into(), driver })
    };
    runtime.storage.get_or_try_init(ask).await.ok().cloned()
}

fn free_now(storage: &Storage, id: &str) -> bool {
    // From outside the engine itself reads, from inside the program that becomes the node's process 1.
    let inside = leftover::starters(id).into_iter().map(|pid| PathBuf::from(format!("/proc/{pid}/root")));
    let roots: Vec<PathBuf> = storage.root(id).into_iter().chain(inside).collect();
    let all = roots.iter().flat_map(|root| own_files::READ.map(|path| (root, path)));
    all.filter(|(root, path)| end_of_file(root, path).unwrap_or(false)).count() > 0
}

/// Gives who waits for a pipe below `root` its end of file; whether somebody did.
fn end_of_file(root: &Path, path: &str) -> io::Result<bool> {
    let base =
        OpenOptions::new().read(true).custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits()).open(root)?;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let file = File::from(openat2(&base, path, how)?);
    if !file.metadata()?.file_type().is_fifo() {
        return Ok(false);
    }
    // Without a reader this fails, and waits for none.
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(opened.is_ok())
}

// === impl Storage ===

impl Storage {
    /// The root of a container as it is while it is being started, where that is known.
    fn root(&self, id: &str) -> Option<PathBuf> {
        let known =
            self.folder.join("image").join(&self.driver).join("layerdb/mounts").join(id).join("mount-id");
        let layer = fs::read_to_string(known).ok()?;
        Some(self.folder.join(&self.driver).join(layer.trim()).join("merged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    #[test]
    fn who_waits_for_a_pipe_is_freed_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("group"), "root").unwrap();
        mkfifo(&etc.join("pipe"), Mode::S_IRWXU).unwrap();
        // As the node sees it: an absolute link stays within the root.
        std::os::unix::fs::symlink("/etc/pipe", etc.join("passwd")).unwrap();
        let free = |path: &str| end_of_file(folder.path(), path).unwrap_or(false);
        assert!(!free("/etc/passwd"), "nobody waits");
        assert!(!free("/etc/group") && !free("/etc/missing"));
        let path = etc.join("pipe");
        let reader = std::thread::spawn(move || fs::read(path).unwrap());
        while !free("/etc/passwd") {
            std::thread::yield_now();
        }
        assert_eq!(reader.join().unwrap(), b"");
        assert_eq!(fs::read(etc.join("group")).unwrap(), b"root");
    }
}

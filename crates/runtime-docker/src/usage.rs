//! What a node has used up: memory, as the kernel counts it, and room on disk, which is counted here.
//!
//! Where the engine's storage has quotas (overlay2 on xfs with `pquota`, btrfs, zfs) the kernel keeps a node within its
//! room, and this only tells how much is taken. Elsewhere counting is all there is. Root in the node shapes the trees that
//! are counted, so a count is bounded in time and memory, and whatever races it only makes that node's own number wrong.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptionsBuilder;
use testyard_runtime::{NodeKey, RuntimeError};
use tokio::sync::Semaphore;

use crate::engine::Fault;
use crate::power;
use crate::runtime::DockerRuntime;

/// The most files of one node that are counted.
const MOST_FILES: usize = 2_000_000;

/// What a file takes at least: a block, or its inode and its line in the folder.
const LEAST: u64 = 4096;

/// Folders with paths longer than this are opened, and their insides named from there: the kernel takes no path beyond
/// 4096 bytes, and files must not be out of reach in a deep tree.
const LONG_PATH: usize = 2048;
const MOST_OPEN: usize = 64;

/// Counting, one node at a time.
pub(crate) struct Counter {
    turn: Semaphore,
    /// Where nodes write: it never changes for a container.
    places: Mutex<HashMap<NodeKey, Arc<[PathBuf]>>>,
}

impl Counter {
    pub(crate) fn new() -> Self {
        Self { turn: Semaphore::new(1), places: Mutex::default() }
    }

    pub(crate) fn forget(&self, key: &NodeKey) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Bytes that a node keeps on disk beside its image; none if the node is not there.
pub(crate) async fn disk(runtime: &DockerRuntime, key: &NodeKey) -> Result<Option<u64>, RuntimeError> {
    const ACTION: &str = "counting what it keeps on disk";
    let _turn = runtime.counter.turn.acquire().await.expect("the runtime never closes its semaphores");
    let known = runtime.counter.places.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
    let places = match known {
        Some(places) => places,
        None => {
            let name = runtime.container_name(key);
            let found = power::inspect(runtime, &name).await.map_err(|fault| fault.at(key, ACTION))?;
            let Some(container) = found else { return Ok(None) };
            let places: Arc<[PathBuf]> = places(&container).into();
            if places.is_empty() {
                return by_engine(runtime, &name).await.map_err(|fault| fault.at(key, ACTION));
            }
            let mut known = runtime.counter.places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(*key).or_insert(places))
        }
    };
    let count = move || places.iter().map(|place| count(place, MOST_FILES)).sum();
    let counted = tokio::task::spawn_blocking(count).await;
    counted.map(Some).map_err(|error| RuntimeError::Failed {
        key: *key,
        action: ACTION,
        detail: error.to_string(),
    })
}

/// The folders that a container writes in: the top layer of its root, and the volumes that the engine made for it.
pub(crate) fn places(container: &ContainerInspectResponse) -> Vec<PathBuf> {
    let top = container
        .graph_driver
        .as_ref()
        .filter(|driver| driver.name.starts_with("overlay"))
        .and_then(|driver| driver.data.get("UpperDir"))
        .map(PathBuf::from);
    let Some(top) = top else { return Vec::new() };
    let volumes = container.mounts.iter().flatten().filter(|mount| mount.typ.as_deref() == Some("volume"));
    let volumes = volumes.filter_map(|mount| mount.source.clone()).map(PathBuf::from);
    std::iter::once(top).chain(volumes).collect()
}

/// What the engine says of storage that is not known here. It takes holes in files for full.
async fn by_engine(runtime: &DockerRuntime, name: &str) -> Result<Option<u64>, Fault> {
    let options = InspectContainerOptionsBuilder::new().size(true).build();
    let answer =
        runtime.engine.call(async |docker| docker.inspect_container(name, Some(options)).await).await;
    match answer {
        Ok(container) => Ok(container.size_rw.and_then(|size| u64::try_from(size).ok())),
        Err(fault) if fault.is_missing() => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// A folder that is still to be counted, with the open folder that its path begins at.
struct Folder {
    path: PathBuf,
    base: Option<Arc<File>>,
}

/// Bytes that the files below a folder take, each at least [`LEAST`]; linked ones once.
pub(crate) fn count(root: &Path, most_files: usize) -> u64 {
    let Ok(device) = fs::symlink_metadata(root).map(|root| root.dev()) else { return 0 };
    let (mut bytes, mut files) = (0_u64, 0);
    let mut linked = HashSet::new();
    let mut folders = vec![Folder { path: root.to_owned(), base: None }];
    let mut open: Vec<std::sync::Weak<File>> = Vec::new();
    while let Some(mut folder) = folders.pop() {
        if folder.path.as_os_str().len() > LONG_PATH {
            open.retain(|base| base.strong_count() > 0);
            let Some(base) = (open.len() < MOST_OPEN).then(|| File::open(&folder.path).ok()).flatten() else {
                continue;
            };
            let base = Arc::new(base);
            open.push(Arc::downgrade(&base));
            folder = Folder { path: format!("/proc/self/fd/{}", base.as_raw_fd()).into(), base: Some(base) };
        }
        let Ok(entries) = fs::read_dir(&folder.path) else { continue };
        for entry in entries.flatten() {
            files += 1;
            if files > most_files {
                return bytes;
            }
            // Never through a symbolic link.
            let Ok(file) = entry.metadata() else { continue };
            if file.dev() != device || (!file.is_dir() && file.nlink() > 1 && !linked.insert(file.ino())) {
                continue;
            }
            bytes = bytes.saturating_add((file.blocks() * 512).max(LEAST));
            if file.is_dir() {
                folders.push(Folder { path: entry.path(), base: folder.base.clone() });
            }
        }
    }
    bytes
}

/// How many processes of the run with this network namespace the kernel has ended for want of memory.
pub(crate) fn killed_for_memory(netns: &Path) -> Option<u64> {
    counted(netns, &MEMORY)
}

/// How often the kernel has refused this run another process or thread, since it had as many as it may.
pub(crate) fn too_many_processes(netns: &Path) -> Option<u64> {
    counted(netns, &PROCESSES)
}

/// Something that the kernel counts for a control group: version 1 has a hierarchy for each controller, version 2 one for
/// all.
struct Count {
    controller: &'static str,
    old_file: &'static str,
    file: &'static str,
    word: &'static str,
}

const MEMORY: Count =
    Count { controller: "memory", old_file: "memory.oom_control", file: "memory.events", word: "oom_kill" };
const PROCESSES: Count =
    Count { controller: "pids", old_file: "pids.events", file: "pids.events", word: "max" };

fn counted(netns: &Path, count: &Count) -> Option<u64> {
    // /proc/<pid>/ns/net
    let process = netns.parent()?.parent()?;
    let groups = fs::read_to_string(process.join("cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let counters = fs::read_to_string(counter_file(count, &groups, &mounts)?).ok()?;
    counters.lines().find_map(|line| line.strip_prefix(count.word)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The file of a process's control group that counts this.
fn counter_file(count: &Count, groups: &str, mounts: &str) -> Option<PathBuf> {
    let group = |is: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            is(controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let mount = |kind: &str, option: Option<&str>| {
        mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (path, of_kind, options) = (words.next()?, words.next()?, words.next()?);
            let fits =
                of_kind == kind && option.is_none_or(|option| options.split(',').any(|word| word == option));
            fits.then(|| PathBuf::from(path))
        })
    };
    match group(&|controllers| controllers.split(',').any(|name| name == count.controller)) {
        Some(path) => Some(mount("cgroup", Some(count.controller))?.join(path).join(count.old_file)),
        None => Some(mount("cgroup2", None)?.join(group(&str::is_empty)?).join(count.file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn files_are_counted_by_what_they_take() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        assert_eq!(count(folder.path(), 100), 0);
        File::create(path("holes")).unwrap().set_len(1 << 40).unwrap();
        fs::write(path("empty"), "").unwrap();
        assert_eq!(count(folder.path(), 100), 2 * LEAST, "a hole takes nothing, an inode something");
        File::create(path("full")).unwrap().write_all(&vec![7; 3 << 20]).unwrap();
        for number in 0..5 {
            fs::hard_link(path("full"), path(&format!("link-{number}"))).unwrap();
        }
        std::os::unix::fs::symlink("/", path("away")).unwrap();
        let counted = count(folder.path(), 100);
        assert!((3 << 20..4 << 20).contains(&counted), "{counted}");
        assert!(count(folder.path(), 2) < counted, "not more files than allowed");
        assert_eq!(count(&path("missing"), 100), 0);
    }

    #[test]
    fn a_deep_tree_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let name = "x".repeat(200);
        let mut at = File::open(folder.path()).unwrap();
        for _ in 0..60 {
            let inside = PathBuf::from(format!("/proc/self/fd/{}", at.as_raw_fd())).join(&name);
            fs::create_dir(&inside).unwrap();
            at = File::open(inside).unwrap();
        }
        fs::write(format!("/proc/self/fd/{}/file", at.as_raw_fd()), vec![7; 1 << 20]).unwrap();
        let counted = count(folder.path(), 1000);
        assert!(counted >= (1 << 20) + 60 * LEAST, "{counted}");
    }

    #[test]
    fn both_versions_of_control_groups() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let old = "9:pids:/docker/ab\n4:memory:/docker/ab\n0::/\n";
        let file = counter_file(&MEMORY, old, mounts).unwrap();
        assert_eq!(file, Path::new("/sys/fs/cgroup/memory/docker/ab/memory.oom_control"));
        let file = counter_file(&PROCESSES, old, mounts).unwrap();
        assert_eq!(file, Path::new("/sys/fs/cgroup/pids/docker/ab/pids.events"));
        let new = "0::/system.slice/docker-ab.scope\n";
        let file = counter_file(&MEMORY, new, "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n").unwrap();
        assert_eq!(file, Path::new("/sys/fs/cgroup/system.slice/docker-ab.scope/memory.events"));
        assert_eq!(counter_file(&MEMORY, new, ""), None);
    }
}

//! What the engine reads of a node's own files before it starts the node: `/etc/passwd` and `/etc/group`.
//!
//! It opens them as the host's root, first from outside and then from inside the node, whatever they are. A named pipe
//! keeps it waiting for ever with the container's lock held, a device of the node's making may do anything to the host.
//! Root in the node is the user, so before each start the engine is asked what they are, which opens nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use bollard::query_parameters::ContainerArchiveInfoOptionsBuilder;
use testyard_runtime::{NodeKey, RuntimeError};

use crate::engine::Fault;
use crate::runtime::DockerRuntime;
use crate::stuck;

/// What the engine reads.
pub(crate) const READ: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// The folder that has them: a link there can lead elsewhere from inside than from outside.
const FOLDER: &str = "/etc";

/// The most that the guest reads of them, too.
const MOST: i64 = 16 << 20;

/// What has another inside when the node runs.
const MOUNTED: [&str; 4] = ["proc", "dev", "sys", ".testyard"];

/// More images than this are not remembered.
const MOST_IMAGES: usize = 1000;

/// What has been looked at: a node that was made from such an image and has never run needs no look.
#[derive(Default)]
pub(crate) struct Looked(Mutex<State>);

#[derive(Default)]
struct State {
    /// Contents whose files are fine.
    images: HashSet<String>,
    /// Nodes that have never been started, with their contents.
    fresh: HashMap<NodeKey, String>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Absent,
    File {
        size: i64,
    },
    Folder,
    /// With where it leads in the end, as far as that is there.
    Link(String),
    /// With what it is.
    Odd(&'static str),
}

/// Looks at the files of a node that is to be started.
///
/// # Errors
/// [`RuntimeError::Refused`] with what is wrong and what to do.
pub(crate) async fn check(
    runtime: &DockerRuntime,
    key: &NodeKey,
    action: &'static str,
) -> Result<(), RuntimeError> {
    let image = runtime.looked.take(key);
    if image.as_ref().is_some_and(|image| runtime.looked.knows(image)) {
        return Ok(());
    }
    if let Some(detail) = complaint(runtime, key).await.map_err(|fault| fault.at(key, action))? {
        return Err(RuntimeError::Refused { key: *key, detail });
    }
    if let Some(image) = image {
        runtime.looked.fine(image);
    }
    Ok(())
}

/// What is wrong with the files of a node, if something is.
pub(crate) async fn complaint(runtime: &DockerRuntime, key: &NodeKey) -> Result<Option<String>, Fault> {
    let name = runtime.container_name(key);
    for path in std::iter::once(FOLDER).chain(READ) {
        let found = find(runtime, &name, path).await?;
        let found = match (found, path) {
            // What it is there does not matter: the files in it are looked at one by one.
            (Some(Found::Link(to)), FOLDER) => trap(FOLDER, &to),
            (Some(Found::Link(to)), _) => match trap(path, &to) {
                None => find(runtime, &name, &to).await?.and_then(|found| unfit(path, &found)),
                trap => trap,
            },
            (Some(found), path) if path != FOLDER => unfit(path, &found),
            // What cannot be looked at the engine refuses in words of its own.
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What is at a path of a container; none if the engine has no answer but an error.
async fn find(runtime: &DockerRuntime, name: &str, path: &str) -> Result<Option<Found>, Fault> {
    let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
    let ask =
        runtime.engine.call(async |docker| docker.get_container_archive_info(name, Some(options)).await);
    match stuck::watched(runtime, name, ask).await.0 {
        Ok(stat) => Ok(Some(found(stat.file_mode, stat.size, stat.link_target))),
        Err(fault) if fault.is_missing() => Ok(Some(Found::Absent)),
        Err(Fault::Answer { .. } | Fault::Odd(_)) => Ok(None),
        Err(fault @ Fault::Unreachable(_)) => Err(fault),
    }
}

/// What the engine's numbers say; they are those of Go's `os.FileMode`.
fn found(mode: u32, size: i64, link: String) -> Found {
    const FOLDER: u32 = 1 << 31;
    const LINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const PIPE: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const CHARACTERS: u32 = 1 << 21;
    const IRREGULAR: u32 = 1 << 19;
    match mode & (FOLDER | LINK | DEVICE | PIPE | SOCKET | CHARACTERS | IRREGULAR) {
        0 => Found::File { size },
        FOLDER => Found::Folder,
        LINK => Found::Link(link),
        PIPE => Found::Odd("a named pipe"),
        SOCKET => Found::Odd("a socket"),
        kind if kind & DEVICE != 0 => Found::Odd("a device"),
        _ => Found::Odd("no ordinary file"),
    }
}

fn unfit(path: &str, found: &Found) -> Option<String> {
    let what = match found {
        Found::Absent => return None,
        Found::File { size } if *size <= MOST => return None,
        Found::File { .. } => format!("larger than {} MiB", MOST >> 20),
        Found::Folder => "a folder".to_owned(),
        Found::Link(_) => "a link without an end".to_owned(),
        Found::Odd(what) => (*what).to_owned(),
    };
    Some(format!("{path} is {what}; {}", remedy()))
}

fn trap(path: &str, to: &str) -> Option<String> {
    let first = to.trim_start_matches('/').split('/').next().unwrap_or_default();
    MOUNTED.contains(&first).then(|| format!("{path} is a link into /{first}; {}", remedy()))
}

/// What to do about it.
pub(crate) fn remedy() -> String {
    let [one, other] = READ;
    format!(
        "{one} and {other} must be ordinary files, or not be there: mend the image, or, if they were changed inside \
         the node, give it a fresh disk with geni_reload"
    )
}

// === impl Looked ===

impl Looked {
    /// A node was made from this content.
    pub(crate) fn made(&self, key: &NodeKey, image: &str) {
        self.lock().fresh.insert(*key, image.to_owned());
    }

    /// The content of a node that has never been started; from now on it may have been.
    pub(crate) fn take(&self, key: &NodeKey) -> Option<String> {
        self.lock().fresh.remove(key)
    }

    fn knows(&self, image: &str) -> bool {
        self.lock().images.contains(image)
    }

    fn fine(&self, image: String) {
        let images = &mut self.lock().images;
        if images.len() >= MOST_IMAGES {
            images.clear();
        }
        images.insert(image);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the engine has told of such files.
    #[test]
    fn what_the_engines_numbers_say() {
        let of = |mode| found(mode, 7, "/x".to_owned());
        assert_eq!(of(420), Found::File { size: 7 });
        assert_eq!(of(33_554_852), Found::Odd("a named pipe"));
        assert_eq!(of(134_218_239), Found::Link("/x".to_owned()));
        assert_eq!(of(2_147_484_141), Found::Folder);
        assert_eq!(of(69_206_436), Found::Odd("a device"));
    }

    #[test]
    fn what_is_refused() {
        for fine in [Found::Absent, Found::File { size: MOST }] {
            assert_eq!(unfit("/etc/passwd", &fine), None);
        }
        for (found, text) in [
            (Found::File { size: MOST + 1 }, "/etc/passwd is larger than 16 MiB; "),
            (Found::Folder, "/etc/passwd is a folder; "),
            (Found::Odd("a named pipe"), "/etc/passwd is a named pipe; "),
        ] {
            let told = unfit("/etc/passwd", &found).unwrap();
            assert!(told.starts_with(text) && told.contains("geni_reload"), "{told}");
        }
        assert!(trap("/etc", "/proc/self/cwd/x").unwrap().contains("a link into /proc"));
        assert_eq!(trap("/etc/passwd", "/usr/etc/passwd"), None);
        assert_eq!(trap("/etc/passwd", "/processes"), None);
    }
}

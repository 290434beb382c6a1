//! The agent's end of a node's stream: a Unix socket in a folder that only this node sees.
//!
//! A new listener is bound beside the old one's name and renamed over it, so that the guest finds one at any time. The
//! folder above the nodes' folders is root's alone: nobody else on the host can pose as a guest.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use nix::sys::socket::Backlog;
use testyard_runtime::{GuestListener, GuestStream, NodeKey};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::mark;

/// How many may wait to be accepted. Each that is accepted is paid for by its node, the dead too: after a flood of
/// connections the guest must not wait behind thousands of them.
const WAITING: i32 = 32;

const SOCKET: &str = "agent.sock";

/// The folders of all nodes.
pub(crate) struct Sockets {
    root: PathBuf,
    /// Ends the listener of a node when a later one takes its place.
    replaced: Mutex<HashMap<NodeKey, CancellationToken>>,
}

impl Sockets {
    pub(crate) fn new(run_folder: &Path) -> Self {
        Self { root: run_folder.join("nodes"), replaced: Mutex::default() }
    }

    pub(crate) fn folder(&self, key: &NodeKey) -> PathBuf {
        self.root.join(mark::folder_name(key))
    }

    /// Makes a node's folder; a reboot takes it away.
    pub(crate) fn make(&self, key: &NodeKey) -> io::Result<PathBuf> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
        // Also where somebody has made it before us with other rights.
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))?;
        let folder = self.folder(key);
        match fs::DirBuilder::new().mode(0o755).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // Not by the umask: root inside the node may be another user out here.
            _ => fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?,
        }
        Ok(folder)
    }

    /// Whether a node's folder is there.
    pub(crate) fn has(&self, key: &NodeKey) -> bool {
        self.folder(key).is_dir()
    }

    /// Makes the folder of a spare that of the node which it has become. The engine mounts it under its first name, now
    /// and at each later start, so the node's name leads there.
    pub(crate) fn hand_over(&self, spare: &NodeKey, key: &NodeKey) -> io::Result<()> {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        self.make(spare)?;
        let (folder, target) = (self.folder(key), mark::folder_name(spare));
        if fs::read_link(&folder).ok().as_deref() != Some(Path::new(&target)) {
            remove(&folder)?;
            symlink(&target, &folder)?;
        }
        if let Some(listener) = replaced.remove(spare)
            && let Some(earlier) = replaced.insert(*key, listener)
        {
            earlier.cancel();
        }
        Ok(())
    }

    /// Listens for a node's guest. `mapped`: root inside nodes is another user outside (user namespaces).
    pub(crate) fn listen(&self, key: &NodeKey, mapped: bool) -> io::Result<Box<dyn GuestListener>> {
        // Held throughout: two callers would take each other's new socket away.
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = fs::File::open(self.make(key)?)?;
        // Through the open folder: a path of its own may be longer than a socket's address can be.
        let inside = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        let new = inside.join("agent.sock.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        nix::sys::socket::listen(&listener, Backlog::new(WAITING)?)?;
        // What is said holds secrets: only root in the node may listen in, unless it cannot be told apart.
        fs::set_permissions(&new, fs::Permissions::from_mode(if mapped { 0o666 } else { 0o600 }))?;
        fs::rename(&new, inside.join(SOCKET))?;
        let ended = CancellationToken::new();
        if let Some(earlier) = replaced.insert(*key, ended.clone()) {
            earlier.cancel();
        }
        Ok(Box::new(SocketListener { listener, ended }))
    }

    /// Removes a node's folder with all that is in it; gone already is fine. So do the folders of its earlier disks: one
    /// is left where the agent ended between the removal of its container and its own.
    pub(crate) fn remove(&self, key: &NodeKey) -> io::Result<()> {
        if let Some(earlier) = self.replaced.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            earlier.cancel();
        }
        // Folders of earlier disks; a spare has none.
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let sliver = format!("{}-", key.sliver);
        for entry in entries {
            let name = entry?.file_name();
            let disk = name.to_str().and_then(|name| name.strip_prefix(&sliver)?.parse::<u32>().ok());
            if disk.is_some_and(|disk| disk < key.disk) {
                self.remove_folder(&self.root.join(name))?;
            }
        }
        self.remove_folder(&self.folder(key))
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        if let Ok(target) = fs::read_link(folder) {
            gone(fs::remove_dir_all(self.root.join(target)))?;
        }
        remove(folder)
    }

    /// Removes every node's folder.
    pub(crate) fn remove_all(&self) -> io::Result<()> {
        gone(fs::remove_dir_all(&self.root))
    }
}

/// Removes a folder with all that is in it, or a link to one; gone already is fine.
fn remove(folder: &Path) -> io::Result<()> {
    if folder.is_symlink() { gone(fs::remove_file(folder)) } else { gone(fs::remove_dir_all(folder)) }
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

struct SocketListener {
    listener: UnixListener,
    ended: CancellationToken,
}

#[async_trait]
impl GuestListener for SocketListener {
    async fn accept(&mut self) -> io::Result<Box<dyn GuestStream>> {
        tokio::select! {
            () = self.ended.cancelled() => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "a later listener has taken the place of this one"))
            }
            accepted = self.listener.accept() => Ok(Box::new(accepted?.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixStream;

    fn key() -> NodeKey {
        NodeKey {
            slice: "018f0000-0000-7000-8000-000000000001".parse().unwrap(),
            sliver: "018f0000-0000-7000-8000-000000000002".parse().unwrap(),
            disk: 0,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_later_listener_takes_over_without_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = Sockets::new(folder.path());
        let mut first = sockets.listen(&key(), false).unwrap();
        let path = sockets.folder(&key()).join(SOCKET);
        let _earlier = UnixStream::connect(&path).await.unwrap();
        first.accept().await.unwrap();
        let mut second = sockets.listen(&key(), false).unwrap();
        let _client = UnixStream::connect(&path).await.unwrap();
        second.accept().await.unwrap();
        assert_eq!(first.accept().await.err().unwrap().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn only_root_and_the_node_can_reach_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = Sockets::new(folder.path());
        let _listener = sockets.listen(&key(), false).unwrap();
        assert_eq!(mode(&folder.path().join("nodes")), 0o700);
        assert_eq!(mode(&sockets.folder(&key())), 0o755);
        assert_eq!(mode(&sockets.folder(&key()).join(SOCKET)), 0o600);
        let _listener = sockets.listen(&key(), true).unwrap();
        assert_eq!(mode(&sockets.folder(&key()).join(SOCKET)), 0o666);
    }

    #[tokio::test]
    async fn a_spares_folder_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = Sockets::new(folder.path());
        let spare = NodeKey::spare(key().sliver);
        let mut first = sockets.listen(&spare, false).unwrap();
        sockets.hand_over(&spare, &key()).unwrap();
        sockets.hand_over(&spare, &key()).unwrap();
        let inside = sockets.folder(&spare).join(SOCKET);
        let _client = UnixStream::connect(&inside).await.unwrap();
        first.accept().await.unwrap();
        let mut second = sockets.listen(&key(), false).unwrap();
        assert_eq!(first.accept().await.err().unwrap().kind(), io::ErrorKind::ConnectionAborted);
        let _client = UnixStream::connect(&inside).await.unwrap();
        second.accept().await.unwrap();
        sockets.remove(&key()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("nodes")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn folders_of_earlier_disks_go_too() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = Sockets::new(folder.path());
        let disk = |disk| NodeKey { disk, ..key() };
        for number in [2, 3, 10, 11] {
            sockets.make(&disk(number)).unwrap();
        }
        sockets.remove(&disk(10)).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path().join("nodes")).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].path(), sockets.folder(&disk(11)));
        sockets.remove(&disk(10)).unwrap();
    }

    #[tokio::test]
    async fn long_run_folders_work() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = Sockets::new(&folder.path().join("x".repeat(120)));
        sockets.listen(&key(), false).unwrap();
        assert!(sockets.folder(&key()).join(SOCKET).exists());
    }

    #[tokio::test]
    async fn removal_is_whole_and_can_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = Sockets::new(folder.path());
        let _listener = sockets.listen(&key(), false).unwrap();
        sockets.remove(&key()).unwrap();
        sockets.remove(&key()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("nodes")).unwrap().count(), 0);
        sockets.remove_all().unwrap();
        sockets.remove_all().unwrap();
    }
}

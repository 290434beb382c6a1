//! Where the server listens: a name without a file, which needs nothing writable and which nobody can cover or take away
//! while the node runs; and a file, which nested containers can be given.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// The name without a file.
const NAME: &str = "testyard/facts";

/// The file, below the node's root.
pub(super) const FILE: &str = "run/testyard/facts.sock";

/// Listens at both places, or at the one that can be had.
pub(super) fn listen(root: &Path) -> Vec<UnixListener> {
    let name = SocketAddr::from_abstract_name(NAME).and_then(|address| UnixListener::bind_addr(&address));
    [name, listen_at(&root.join(FILE))]
        .into_iter()
        .flatten()
        .filter(|listener| listener.set_nonblocking(true).is_ok())
        .collect()
}

/// Listens at a file for everybody. What is left of the boot before is replaced.
pub(super) fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let about = fs::symlink_metadata(folder)?;
    // Who can write to the folder could put a socket of their own there.
    if !about.is_dir() || about.uid() != nix::unistd::geteuid().as_raw() || about.mode() & 0o022 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Connects to the guest of this node. A socket that is not root's is not the guest's.
pub(super) fn connect() -> io::Result<UnixStream> {
    let name = SocketAddr::from_abstract_name(NAME).and_then(|address| UnixStream::connect_addr(&address));
    let stream = name.or_else(|_| UnixStream::connect(Path::new("/").join(FILE)))?;
    if peer(&stream)? == 0 { Ok(stream) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

/// Who is at the other end.
pub(super) fn peer(stream: &UnixStream) -> io::Result<u32> {
    Ok(getsockopt(stream, PeerCredentials)?.uid())
}

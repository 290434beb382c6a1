//! What dropbear leaves to other programs: sftp and scp. Where the image has none, the guest is these too, called by
//! their names.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use testyard_guest_protocol::GUEST_PROGRAM;

use crate::text;

/// Where dropbear looks for the SFTP server: Debian's, its own default, Alpine's.
const SFTP: [&str; 3] = ["usr/lib/sftp-server", "usr/libexec/sftp-server", "usr/lib/ssh/sftp-server"];

/// The first of these that is there counts; PATH of dropbear's sessions ends before the guest's own folder.
const SCP: [&str; 2] = ["usr/bin/scp", "bin/scp"];

/// Puts links where dropbear looks and finds nothing.
pub(super) fn link(root: &Path) {
    let missing = |path: &str| fs::symlink_metadata(root.join(path)).is_err();
    let scp = SCP.into_iter().all(missing).then_some(SCP[0]);
    for path in SFTP.into_iter().filter(|path| missing(path)).chain(scp) {
        let path = root.join(path);
        let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
        if let Err(error) = parent.and_then(|()| symlink(GUEST_PROGRAM, &path))
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            text::log(&format!("cannot link {}: {error}", path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib")).unwrap();
        fs::create_dir_all(root.path().join("bin")).unwrap();
        fs::write(root.path().join("usr/lib/sftp-server"), "the image's").unwrap();
        fs::write(root.path().join("bin/scp"), "the image's").unwrap();
        link(root.path());
        link(root.path());
        assert_eq!(fs::read(root.path().join("usr/lib/sftp-server")).unwrap(), b"the image's");
        let ours =
            |path: &str| fs::read_link(root.path().join(path)).is_ok_and(|to| to == Path::new(GUEST_PROGRAM));
        assert!(ours("usr/libexec/sftp-server") && !root.path().join("usr/bin/scp").exists());
        fs::remove_file(root.path().join("bin/scp")).unwrap();
        link(root.path());
        assert!(ours("usr/bin/scp"));
    }
}

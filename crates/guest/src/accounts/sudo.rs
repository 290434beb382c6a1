//! Who may become root: a file per account in /etc/sudoers.d, where the image has sudo; a link to Testyard's own where
//! it has none.
//!
//! The files are written for Testyard's sudo too, which does not read them: somebody may install the distribution's in
//! the node later, and its users must not lose their right by that.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use testyard_guest_protocol::GUEST_BIN;

use crate::files::{self, FileError};

const PREFIX: &str = "90-testyard-";

/// Places where an image has its sudo.
const PLACES: [&str; 3] = ["usr/bin/sudo", "bin/sudo", "usr/local/bin/sudo"];

/// Makes it so that of our accounts exactly these may. Logins are checked names: no dot, no space.
pub(crate) fn apply(root: &Path, allowed: &[&str]) -> Result<(), FileError> {
    let images = has_own(root);
    let ours = !images && link(root);
    let folder = root.join("etc/sudoers.d");
    if !folder.is_dir() {
        if !(images || ours) || allowed.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&folder)
            .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)))
            .map_err(|error| FileError::new("make the folder", &folder, error))?;
    }
    let entries = fs::read_dir(&folder).map_err(|error| FileError::new("read", &folder, error))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if let Some(login) = name.to_str().and_then(|name| name.strip_prefix(PREFIX))
            && !allowed.contains(&login)
        {
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| FileError::new("remove", path, error))?;
        }
    }
    for login in allowed {
        let path = folder.join(format!("{PREFIX}{login}"));
        files::replace(&path, format!("{login} ALL=(ALL) NOPASSWD:ALL\n").as_bytes(), Some(0o440))?;
    }
    // A distribution's package brings its own /etc/sudoers, and asks about one that is there already.
    if images && !allowed.is_empty() { include(root) } else { Ok(()) }
}

/// Whether the image has a sudo of its own.
pub(crate) fn has_own(root: &Path) -> bool {
    PLACES.iter().map(|place| root.join(place)).any(|path| !is_ours(&path) && path.exists())
}

fn is_ours(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target.starts_with(GUEST_BIN))
}

/// Puts a link to ours where programs look for it: PATH alone does not reach sessions of the image's own sshd. Says
/// whether it is there.
fn link(root: &Path) -> bool {
    let Some(folder) = ["usr/bin", "bin"].into_iter().find(|folder| root.join(folder).is_dir()) else {
        return false;
    };
    let path = root.join(folder).join("sudo");
    if is_ours(&path) {
        return true;
    }
    symlink(format!("{GUEST_BIN}/sudo"), path).is_ok()
}

/// Sees to it that sudo reads the folder. `#includedir` is understood by every version, `@includedir` is not.
fn include(root: &Path) -> Result<(), FileError> {
    let path = root.join("etc/sudoers");
    let mut text = files::read(&path)?.unwrap_or_default();
    let reads_folder = String::from_utf8_lossy(&text).lines().any(|line| {
        let mut words = line.split_whitespace();
        matches!(words.next(), Some("#includedir" | "@includedir"))
            && words.next().is_some_and(|path| path.trim_end_matches('/') == "/etc/sudoers.d")
    });
    if !reads_folder {
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(b"#includedir /etc/sudoers.d\n");
        files::replace(&path, &text, Some(0o440))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(sudoers: Option<&str>) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        if let Some(text) = sudoers {
            fs::write(root.path().join("usr/bin/sudo"), "").unwrap();
            fs::write(root.path().join("etc/sudoers"), text).unwrap();
        }
        root
    }

    #[test]
    fn exactly_the_allowed_ones() {
        let root = image(Some("root ALL=(ALL) ALL"));
        apply(root.path(), &["ann", "bob"]).unwrap();
        apply(root.path(), &["bob"]).unwrap();
        let folder = root.path().join("etc/sudoers.d");
        fs::write(folder.join("README"), "").unwrap();
        apply(root.path(), &["bob"]).unwrap();
        assert!(!folder.join("90-testyard-ann").exists() && folder.join("README").exists());
        let file = folder.join("90-testyard-bob");
        assert_eq!(fs::read_to_string(&file).unwrap(), "bob ALL=(ALL) NOPASSWD:ALL\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o440);
        let sudoers = fs::read_to_string(root.path().join("etc/sudoers")).unwrap();
        assert_eq!(sudoers, "root ALL=(ALL) ALL\n#includedir /etc/sudoers.d\n");
    }

    #[test]
    fn an_image_without_sudo_gets_a_link_to_ours() {
        let root = image(None);
        apply(root.path(), &["ann"]).unwrap();
        apply(root.path(), &["ann"]).unwrap();
        assert_eq!(
            fs::read_link(root.path().join("usr/bin/sudo")).unwrap(),
            Path::new("/.testyard/bin/sudo")
        );
        assert!(!has_own(root.path()));
        // What a package would ask about is left to it; what it reads afterwards is there.
        assert!(!root.path().join("etc/sudoers").exists());
        assert!(root.path().join("etc/sudoers.d/90-testyard-ann").exists());
        apply(root.path(), &[]).unwrap();
        assert!(!root.path().join("etc/sudoers.d/90-testyard-ann").exists());
        // The package takes the link's place.
        fs::remove_file(root.path().join("usr/bin/sudo")).unwrap();
        fs::write(root.path().join("usr/bin/sudo"), "").unwrap();
        apply(root.path(), &["bob"]).unwrap();
        assert!(has_own(root.path()) && root.path().join("etc/sudoers").exists());
    }

    #[test]
    fn an_image_without_a_folder_of_programs_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        apply(root.path(), &["ann"]).unwrap();
        assert!(!root.path().join("etc").exists());
    }
}

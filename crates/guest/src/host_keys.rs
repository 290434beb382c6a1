//! The node's SSH host keys: given by the agent, the same over restarts and reloads, and never those of the image.
//!
//! An image's baked keys are shared by all who have the image. They are set aside once, when a disk gets its own keys
//! first; keys that somebody makes in the node later are left alone.

use std::fs;
use std::path::{Path, PathBuf};

use testyard_guest_protocol::HostKey;

use crate::files::{self, FileError};
use crate::{state, text};

/// What is set aside gets this at the end of its name.
const ASIDE: &str = ".of-the-image";

/// Puts the keys in place. Returns the files of the private keys and whether anything has changed.
pub(crate) fn apply(root: &Path, keys: &[HostKey]) -> Result<(Vec<PathBuf>, bool), FileError> {
    let images = root.join("etc/ssh");
    let read_only = state::is_read_only(&images);
    let folder = if read_only { state::folder(root).join("ssh") } else { images };
    let keys: Vec<(&HostKey, PathBuf)> = keys
        .iter()
        .filter(|key| is_algorithm(&key.algorithm))
        .map(|key| (key, folder.join(format!("ssh_host_{}_key", key.algorithm))))
        .collect();
    let marker = state::folder(root).join("host-keys");
    if !keys.is_empty() && !read_only && !marker.exists() {
        set_aside(&folder);
    }
    let mut changed = false;
    for (key, path) in &keys {
        changed |= files::replace(path, line(&key.private.0).as_bytes(), Some(0o600))?;
        files::replace(&path.with_extension("pub"), line(&key.public).as_bytes(), Some(0o644))?;
    }
    if !keys.is_empty() {
        files::replace(&marker, b"The image's own host keys were set aside.\n", Some(0o600))?;
    }
    Ok((keys.into_iter().map(|(_, path)| path).collect(), changed))
}

fn set_aside(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("ssh_host_") && (name.ends_with("_key") || name.ends_with("_key.pub")) {
            let mut aside = path.clone().into_os_string();
            aside.push(ASIDE);
            if let Err(error) = fs::rename(&path, aside) {
                text::log(&format!("cannot set {name} of the image aside: {error}"));
            }
        }
    }
}

fn is_algorithm(name: &str) -> bool {
    !name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// OpenSSH refuses a private key whose last line does not end.
fn line(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use testyard_guest_protocol::Secret;

    fn key(private: &str) -> HostKey {
        HostKey {
            algorithm: "ed25519".into(),
            private: Secret(private.into()),
            public: "ssh-ed25519 AAAA".into(),
        }
    }

    #[test]
    fn baked_keys_are_set_aside_once_and_ours_kept_up() {
        let root = tempfile::tempdir().unwrap();
        let ssh = root.path().join("etc/ssh");
        fs::create_dir_all(&ssh).unwrap();
        for name in ["ssh_host_rsa_key", "ssh_host_rsa_key.pub", "ssh_host_ed25519_key", "sshd_config"] {
            fs::write(ssh.join(name), "baked").unwrap();
        }
        let (paths, changed) = apply(root.path(), &[key("one")]).unwrap();
        assert!(changed && paths == [ssh.join("ssh_host_ed25519_key")]);
        assert!(!ssh.join("ssh_host_rsa_key").exists() && ssh.join("sshd_config").exists());
        assert_eq!(fs::read_to_string(&paths[0]).unwrap(), "one\n");
        assert_eq!(fs::metadata(&paths[0]).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!apply(root.path(), &[key("one")]).unwrap().1);

        fs::write(ssh.join("ssh_host_rsa_key"), "made later").unwrap();
        assert!(apply(root.path(), &[key("two")]).unwrap().1);
        assert!(ssh.join("ssh_host_rsa_key").exists());
    }

    #[test]
    fn an_algorithm_is_no_path() {
        let root = tempfile::tempdir().unwrap();
        let mut bad = key("x");
        bad.algorithm = "../../x".into();
        assert!(apply(root.path(), &[bad]).unwrap().0.is_empty());
    }
}

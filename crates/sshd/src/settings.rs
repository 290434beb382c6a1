//! What a session is told by whoever starts it: a JSON file that only root can read.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// More than this is not a settings file.
const LARGEST: u64 = 8 << 20;

/// Everything a session must know. It is read anew for every connection, so accounts and keys follow the file at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Files with private host keys in OpenSSH's form, the preferred first. One that is missing or that cannot be read
    /// is passed over; a session without any ends.
    pub host_keys: Vec<PathBuf>,
    /// Who may log in. Nothing is looked up in the image's /etc/passwd.
    pub accounts: Vec<Account>,
    /// The image's environment as `NAME=VALUE`, below what the session sets itself.
    #[serde(default)]
    pub environment: Vec<String>,
    /// PATH of sessions.
    pub path: String,
    /// Sent before authentication.
    #[serde(default)]
    pub banner: Option<String>,
    /// Written before an interactive shell.
    #[serde(default)]
    pub motd: Option<String>,
    /// What a client may do at most.
    #[serde(default)]
    pub limits: Limits,
}

/// A user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    /// The name to log in with.
    pub login: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// The home; a session starts in `/` if it is not there.
    pub home: PathBuf,
    /// The login shell. Without it, or if it is not there, the first of /bin/bash, /bin/sh, /bin/ash and busybox's.
    #[serde(default)]
    pub shell: Option<PathBuf>,
    /// Lines as in authorized_keys; the user's own ~/.ssh/authorized_keys counts besides.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// Bounds of one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Seconds until a client must have authenticated.
    pub grace_seconds: u64,
    /// Keys that may be refused before the connection ends.
    pub attempts: usize,
    /// Milliseconds that a refusal takes at least, so that it tells nothing of what was looked at.
    pub refusal_milliseconds: u64,
    /// Channels of one connection at the same time.
    pub channels: usize,
    /// Seconds between two looks whether a silent client is still there; three without an answer end the connection.
    pub keepalive_seconds: u64,
    /// Bytes after which keys are exchanged anew, in each direction; at most 1 GiB.
    pub rekey_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grace_seconds: 60,
            attempts: 10,
            refusal_milliseconds: 100,
            channels: 256,
            keepalive_seconds: 60,
            rekey_bytes: 1 << 30,
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// The file says something else.
    #[error("{} does not hold settings", .0.display())]
    Parse(PathBuf, #[source] serde_json::Error),
    /// The file is too large to be what it should be.
    #[error("{} is larger than {LARGEST} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Somebody else than root could have written the file.
    #[error("{} can be written by others than root", .0.display())]
    Untrusted(PathBuf),
}

impl Settings {
    /// Reads the file at `path`, which must be a plain file that nobody but its owner (this process's user) can write.
    ///
    /// # Errors
    /// [`SettingsError`], with the path.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        use std::os::unix::fs::MetadataExt as _;
        let failed = |error| SettingsError::Read(path.to_owned(), error);
        let file = std::fs::File::options()
            .read(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(path)
            .map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() || found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(SettingsError::Untrusted(path.to_owned()));
        }
        let mut text = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > LARGEST {
            return Err(SettingsError::TooLarge(path.to_owned()));
        }
        serde_json::from_slice(&text).map_err(|error| SettingsError::Parse(path.to_owned(), error))
    }

    /// The account of a login.
    #[must_use]
    pub fn account(&self, login: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.login == login)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TEXT: &str = r#"{"host_keys": ["/k"], "path": "/bin", "accounts": [{"login": "ann", "uid": 7, "gid": 8, "home": "/"}]}"#;

    #[test]
    fn what_is_left_out_has_defaults() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TEXT).unwrap();
        let settings = Settings::read(file.path()).unwrap();
        assert_eq!(settings.account("ann").unwrap().gid, 8);
        assert!(settings.account("bob").is_none());
        assert_eq!(settings.limits.attempts, 10);
    }

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TEXT).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(Settings::read(file.path()), Err(SettingsError::Untrusted(_))));
        assert!(matches!(Settings::read(Path::new("/dev/null")), Err(SettingsError::Untrusted(_))));
    }

    #[test]
    fn a_file_that_says_something_else_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{}").unwrap();
        assert!(matches!(Settings::read(file.path()), Err(SettingsError::Parse(..))));
        assert!(matches!(Settings::read(Path::new("/nowhere/at/all")), Err(SettingsError::Read(..))));
    }
}

//! Testyard's folder: the configuration, the authority's keys, and each user's certificate and credential. `init`
//! makes it, the other commands find their way in it.
//!
//! ```text
//! /etc/testyard/testyard.toml
//!               trusted/*.pem                              roots that this testbed trusts, its own among them
//!               authority/{root,authority}.{pem,key}       the built-in authority; keys readable by their owner only
//!               server/{certificate,key}.pem               the TLS server
//!               default-user                               who calls where nobody is named: the first user
//!               users/NAME/{certificate,key}.pem, credential.xml, ssh, ssh.pub
//! ```

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where the folder is unless somebody says otherwise.
pub const DEFAULT: &str = "/etc/testyard";

/// Testyard's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everybody.
    All,
    /// Its owner only: keys, and credentials.
    Owner,
}

/// One user's part of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFiles(PathBuf);

impl Folder {
    /// The folder at a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The configuration.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.0.join(crate::config::FILE_NAME)
    }

    /// The roots that the testbed trusts.
    #[must_use]
    pub fn trusted(&self) -> PathBuf {
        self.0.join("trusted")
    }

    /// A file of the built-in authority.
    #[must_use]
    pub fn authority(&self, name: &str) -> PathBuf {
        self.0.join("authority").join(name)
    }

    /// A file of the TLS server.
    #[must_use]
    pub fn server(&self, name: &str) -> PathBuf {
        self.0.join("server").join(name)
    }

    /// One user's files.
    #[must_use]
    pub fn user(&self, name: &str) -> UserFiles {
        UserFiles(self.0.join("users").join(name))
    }

    /// The file that names the user who calls where nobody is named.
    #[must_use]
    pub fn default_user_file(&self) -> PathBuf {
        self.0.join("default-user")
    }

    /// Who calls where nobody is named.
    #[must_use]
    pub fn default_user(&self) -> Option<String> {
        let known = self.users();
        let named = std::fs::read_to_string(self.default_user_file()).ok().map(|name| name.trim().to_owned());
        match (named, known.as_slice()) {
            (Some(name), known) if known.contains(&name) => Some(name),
            (_, [only]) => Some(only.clone()),
            _ => None,
        }
    }

    /// The users that have files here, sorted.
    #[must_use]
    pub fn users(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.0.join("users"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

impl UserFiles {
    /// The folder of these files.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Certificate and its issuers.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    /// Private key of the certificate.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    /// User credential.
    #[must_use]
    pub fn credential(&self) -> PathBuf {
        self.0.join("credential.xml")
    }

    /// Private SSH key.
    #[must_use]
    pub fn ssh_key(&self) -> PathBuf {
        self.0.join("ssh")
    }

    /// Public SSH key.
    #[must_use]
    pub fn ssh_public_key(&self) -> PathBuf {
        self.0.join("ssh.pub")
    }
}

/// Writes a new file, with its folders; never over one that is there.
///
/// # Errors
/// `AlreadyExists` among others of the system.
pub fn write_new(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let (file_mode, folder_mode) = match readers {
        Readers::All => (0o644, 0o755),
        Readers::Owner => (0o600, 0o700),
    };
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(folder_mode).create(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(file_mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Writes a file, with its folders, over one that may be there; whole or not at all.
///
/// # Errors
/// What the system says.
pub fn replace(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => write_new(&temporary, content, readers)?,
    }
    std::fs::rename(&temporary, path)
}

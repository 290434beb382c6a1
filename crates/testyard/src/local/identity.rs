//! The caller's SSH keys: which one opens the nodes, and which are put into them.
//!
//! | caller | key |
//! | --- | --- |
//! | acts for a user of Testyard's folder, whose key may be read | that one |
//! | anybody else | `~/.config/testyard/id_ed25519`, made when it is needed first, and the public ones in `~/.ssh` |

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::credential::ssh_key;
use crate::exit::Failure;
use crate::folder::Folder;

/// See the module.
pub(super) struct Identity {
    /// The key of a user of the folder.
    folder: Option<(PathBuf, PathBuf)>,
    home: Option<PathBuf>,
    own: Option<PathBuf>,
}

impl Identity {
    pub(super) fn new(folder: &Folder, act_as: Option<&str>) -> Self {
        let of_user =
            act_as.map(|name| folder.user(name)).map(|files| (files.ssh_key(), files.ssh_public_key()));
        let readable = |(private, public): &(PathBuf, PathBuf)| is_readable(private) && is_readable(public);
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.or_else(|| home.as_ref().map(|home| home.join(".config")));
        let own = config.map(|config| config.join("testyard").join("id_ed25519"));
        Self { folder: of_user.filter(readable), home, own }
    }

    /// The private key that opens nodes, if there is one.
    pub(super) fn private(&self) -> Option<PathBuf> {
        match &self.folder {
            Some((private, _)) => Some(private.clone()),
            None => self.own.clone().filter(|own| own.exists()),
        }
    }

    /// Public keys for new nodes; the own one is made if there is none yet.
    pub(super) fn publics(&self) -> Result<Vec<String>, Failure> {
        if let Some((_, public)) = &self.folder {
            return Ok(vec![read(public)?]);
        }
        let own =
            self.own.as_ref().ok_or_else(|| Failure::usage("neither HOME nor XDG_CONFIG_HOME is set"))?;
        let public = own.with_extension("pub");
        if !own.exists() {
            let folder = own.parent().unwrap_or(own);
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())))?;
            ssh_key::make(own, "testyard")?;
        }
        let mut keys = vec![read(&public)?];
        for name in ["id_ed25519", "id_ecdsa", "id_rsa"] {
            let path = self.home.as_ref().map(|home| home.join(".ssh").join(name).with_extension("pub"));
            keys.extend(path.filter(|path| is_readable(path)).map(|path| read(&path)).transpose()?);
        }
        Ok(keys)
    }
}

fn is_readable(path: &Path) -> bool {
    std::fs::File::open(path).is_ok()
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

//! A user's SSH key among their files: given, or a new pair. One that is there is never touched.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use testyard_model::account::PublicKey;
use testyard_model::name::Login;

use crate::exit::{Failure, Outcome};
use crate::folder::{self, Folder, Readers};

/// The first key of a file of public keys.
pub(crate) fn read(path: &Path) -> Result<PublicKey, Failure> {
    let wrong = |problem: String| Failure::usage(format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let keys = PublicKey::parse_all(&text).map_err(|error| wrong(error.to_string()))?;
    keys.into_iter().next().ok_or_else(|| wrong("holds no key".to_owned()))
}

/// Puts the given key among the user's files; without one, makes a pair unless there is a key already.
pub(crate) fn install(folder: &Folder, user: &Login, given: Option<&PublicKey>) -> Outcome {
    let files = folder.user(user.as_str());
    let public = files.ssh_public_key();
    if let Some(key) = given {
        let written = folder::write_new(&public, format!("{key}\n").as_bytes(), Readers::All);
        return written.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Failure::usage(format!("{} is there already: move it away for another key", public.display()))
            }
            _ => Failure::failed(format!("{}: {error}", public.display())),
        });
    }
    if files.ssh_key().exists() || public.exists() {
        return Ok(());
    }
    make(&files.ssh_key(), &format!("{user}@testyard"))
}

/// Makes a pair of keys: `private`, and `private` with `.pub` behind it.
pub(crate) fn make(private: &Path, comment: &str) -> Outcome {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"])
        .arg(private)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::failed("ssh-keygen has failed; give a public key with --ssh-key")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::failed("ssh-keygen is missing: apt-get install openssh-client, or give --ssh-key"))
        }
        Err(error) => Err(Failure::failed(format!("ssh-keygen: {error}"))),
    }
}

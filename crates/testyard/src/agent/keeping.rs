//! What an agent keeps of its membership: one file, and beside it the key of an enrolment whose answer has not come yet.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use testyard_hosts::{CallError, Membership, Token};
use testyard_trust::{NewKey, PrivateKey};

use crate::exit::Failure;

/// The longest token that is read.
const LONGEST_TOKEN: u64 = 4 << 10;

/// Where it is kept.
pub(super) struct Keeping {
    folder: PathBuf,
}

impl Keeping {
    pub(super) fn new(state: &Path) -> Self {
        Self { folder: state.to_owned() }
    }

    /// The membership of a host that was let in.
    pub(super) fn load(&self) -> Result<Membership, Failure> {
        let path = self.membership();
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::usage(format!(
                "this machine is no host yet ({} is not there): `testyard host add NAME`, on the testbed's machine, prints what \
                 to run here; --socket is for an agent beside its testbed",
                path.display()
            )),
            _ => Failure::failed(format!("{}: {error}", path.display())),
        })?;
        serde_json::from_slice(&text).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
    }

    /// Refuses the token of a testbed where another one's controller has this host: each would take what the other wants for
    /// leftovers, and who had it first would lose it without a word.
    pub(super) fn admit(&self, token: &Token) -> Result<(), Failure> {
        if !self.membership().exists() {
            return Ok(());
        }
        let before = self.load()?;
        if before.is_of(token).map_err(Failure::failed)? {
            return Ok(());
        }
        Err(Failure::failed(format!(
            "this machine is a host of another testbed, whose controller is at {}: for a second testbed give its agent folders of \
             its own (--state, --run); if the machine has left the first one, remove {}",
            before.controller,
            self.membership().display()
        )))
    }

    /// Has the testbed let this host in, and keeps what it is given. Whoever asks again with the same token asks with the same
    /// key: an answer that was lost on the way is given again.
    pub(super) async fn enrol(&self, controller: &str, token: &Token) -> Result<Membership, CallError> {
        let pending = self.folder.join("enrolling.pem");
        let key = match fs::read(&pending) {
            Ok(text) => PrivateKey::from_pem(&text)?,
            Err(_) => {
                let key = PrivateKey::make(NewKey::P256)?;
                self.write(&pending, &key.to_pem()?)?;
                key
            }
        };
        let membership = testyard_hosts::enrol(controller, token, &key).await?;
        self.keep(&membership)?;
        let _ = fs::remove_file(&pending);
        Ok(membership)
    }

    /// The next certificate, kept.
    pub(super) async fn renew(&self, membership: &Membership) -> Result<Membership, CallError> {
        let key = PrivateKey::make(NewKey::P256)?;
        let renewed = testyard_hosts::renew(membership, &key).await?;
        self.keep(&renewed)?;
        Ok(renewed)
    }

    fn keep(&self, membership: &Membership) -> Result<(), CallError> {
        let text =
            serde_json::to_vec_pretty(membership).map_err(|error| CallError::Records(error.to_string()))?;
        self.write(&self.membership(), &text)
    }

    /// Writes a secret: all of it or nothing, for nobody else's eyes, and durable.
    fn write(&self, path: &Path, text: &[u8]) -> Result<(), CallError> {
        let attempt = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let fresh = path.with_extension("new");
            let _ = fs::remove_file(&fresh);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            fs::File::open(&self.folder)?.sync_all()
        };
        attempt().map_err(|error| CallError::Records(format!("{}: {error}", path.display())))
    }

    fn membership(&self) -> PathBuf {
        self.folder.join("membership.json")
    }
}

/// A token from a file; `-` is the standard input.
pub(super) fn read_token(path: &Path) -> Result<Token, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(LONGEST_TOKEN).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(LONGEST_TOKEN).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::failed(format!("the token in {}: {error}", path.display())))?;
    text.trim().parse().map_err(Failure::usage)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_kept_is_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let keeping = Keeping::new(&folder.path().join("agent"));
        let refused = keeping.load().unwrap_err();
        assert!(refused.message.contains("`testyard host add NAME`"), "{}", refused.message);
        let membership = Membership {
            controller: "am.example.net:8002".into(),
            authority: "a".into(),
            certificate: "c".into(),
            key: "k".into(),
        };
        keeping.keep(&membership).unwrap();
        keeping.keep(&membership).unwrap();
        assert_eq!(keeping.load().unwrap().key, "k");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&keeping.membership()), mode(&keeping.folder)), (0o600, 0o700));
        assert_eq!(fs::read_dir(&keeping.folder).unwrap().count(), 1);
    }

    #[test]
    fn tokens_are_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(read_token(&path).unwrap_err().message.contains("No such file"));
        fs::write(&path, "nonsense\n").unwrap();
        assert!(read_token(&path).unwrap_err().message.contains("testyard host add"));
    }
}

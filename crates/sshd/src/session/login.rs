//! Who may log in: by the settings' keys and the user's own, and by nothing else.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::identity;
use crate::keys::{self, Entry, Line, Options};
use crate::settings::{Account, Settings};

/// Keys of RSA shorter than this are not accepted; OpenSSH's bound.
const RSA_BITS: usize = 1024;

/// The state of authentication.
pub(super) struct Login {
    settings: Arc<Settings>,
    peer: SocketAddr,
    /// The keys of the login that was asked for last; a client that offers ten keys has them read once.
    known: Option<(String, Vec<Entry>)>,
    /// The login that was asked for last, and how many keys were refused.
    tried: (String, usize),
    /// Told of a login by a byte, and of the process's end by its own.
    life: File,
    done: Arc<AtomicBool>,
}

/// A user who is in.
pub(super) struct User {
    pub(super) account: Account,
    pub(super) options: Options,
}

// === impl Login ===

impl Login {
    pub(super) fn new(settings: Arc<Settings>, peer: SocketAddr, life: File, done: Arc<AtomicBool>) -> Self {
        Self { settings, peer, known: None, tried: (String::new(), 0), life, done }
    }

    /// What `key` may do as `login`, if it may log in at all. The same work is done, and the same time passes in
    /// `russh`, whether there is such a login or not.
    pub(super) fn judge(
        &mut self,
        login: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Option<(&Account, &Options)> {
        if self.tried.0 != login {
            self.tried.0 = login.to_owned();
        }
        if !is_strong(key, algorithm) {
            return None;
        }
        if self.known.as_ref().is_none_or(|(known, _)| known != login) {
            self.known =
                Some((login.to_owned(), self.settings.account(login).map(all_keys).unwrap_or_default()));
        }
        let entries = &self.known.as_ref()?.1;
        let options = keys::find(entries, key, self.peer.ip())?;
        Some((self.settings.account(login)?, options))
    }

    pub(super) fn count_refusal(&mut self) {
        self.tried.1 += 1;
    }

    /// Becomes the user, for good.
    ///
    /// # Errors
    /// If the identity does not take hold; the connection must end then.
    pub(super) fn enter(
        &mut self,
        login: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> io::Result<Option<User>> {
        let Some((account, options)) = self.judge(login, key, algorithm) else { return Ok(None) };
        let user = User { account: account.clone(), options: options.clone() };
        identity::become_user(&user.account)?;
        self.done.store(true, Ordering::Relaxed);
        let _ = self.life.write_all(b"a");
        let print = key.fingerprint(HashAlg::Sha256);
        super::say(&format!(
            "ssh: {} logged in from {} with {} {print}",
            visible(login),
            self.peer,
            key.algorithm()
        ));
        // What is not needed any more is not kept in the user's process.
        self.known = None;
        Ok(Some(user))
    }

    /// One line about a connection that ended without a login, if anything was tried.
    pub(super) fn epitaph(&self) -> Option<String> {
        let (login, refused) = &self.tried;
        let tried = !login.is_empty() && !self.done.load(Ordering::Relaxed);
        tried.then(|| {
            format!("ssh: refused {} from {}: {refused} keys did not open it", visible(login), self.peer)
        })
    }
}

/// A login as a log may hold it, whatever a client sends.
fn visible(login: &str) -> String {
    let short: String = login.chars().take(64).collect();
    format!("'{}'", short.escape_debug())
}

fn all_keys(account: &Account) -> Vec<Entry> {
    let own = identity::own_keys(account);
    let given = account.keys.iter().map(|line| keys::parse_line(line.as_bytes()));
    given
        .chain(keys::parse(&own))
        .filter_map(|line| match line {
            Line::Key(entry) => Some(*entry),
            Line::Nothing => None,
            Line::Refused(reason) => {
                super::say(&format!("ssh: a key of '{}' does not count: {reason}", account.login));
                None
            }
        })
        .collect()
}

/// SHA-1 and short RSA keys are not accepted from anybody.
fn is_strong(key: &PublicKey, algorithm: &Algorithm) -> bool {
    let long = key
        .key_data()
        .rsa()
        .is_none_or(|rsa| rsa.n().as_positive_bytes().is_some_and(|bytes| bytes.len() * 8 >= RSA_BITS));
    long && !matches!(algorithm, Algorithm::Rsa { hash: None } | Algorithm::Dsa)
}

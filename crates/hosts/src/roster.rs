//! Which tokens and certificates are good: what the controller keeps, and a fake of it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use testyard_model::id::HostName;
use testyard_trust::Fingerprint;

use crate::token::SecretHash;

/// What is kept of hosts, tokens and certificates. What is returned is durable.
#[async_trait]
pub trait Roster: Send + Sync + 'static {
    /// Takes a certificate for a host, if the token is the host's, has not ended, and nobody else has used it: `key` says who
    /// uses it, so that an agent that has not heard the answer can ask again.
    async fn enrol(
        &self,
        host: &HostName,
        secret: SecretHash,
        key: Fingerprint,
        certificate: Fingerprint,
        now: Timestamp,
    ) -> Result<(), RosterError>;

    /// Whether a certificate is one of this host's newest: a host that is removed has none, and one that is given a new token
    /// and comes in with it has only that.
    async fn knows(&self, host: &HostName, certificate: Fingerprint) -> Result<(), RosterError>;

    /// Takes the certificate that follows this one. The old one is good until the new one is used.
    async fn renew(&self, host: &HostName, old: Fingerprint, new: Fingerprint) -> Result<(), RosterError>;

    /// A certificate was used: those before it are good no more.
    async fn used(&self, host: &HostName, certificate: Fingerprint) -> Result<(), RosterError>;
}

/// Somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// There is no such host.
    #[error("there is no host {0}: `testyard host add {0}` makes one")]
    NoHost(HostName),
    /// The token is another one, was used, or has ended.
    #[error(
        "the token of host {0} is wrong, was used already, or has ended: `testyard host add {0}` prints a new one"
    )]
    Token(HostName),
    /// The certificate was revoked, or has a successor that was used.
    #[error(
        "this certificate of host {0} is good no more: `testyard host add {0}` prints a token for a new one"
    )]
    Revoked(HostName),
    /// The records cannot be read or written.
    #[error("the testbed's records cannot be used now")]
    Store,
}

/// A roster in memory.
#[derive(Debug, Default)]
pub struct MemoryRoster(Mutex<HashMap<HostName, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    token: Option<Issued>,
    /// The oldest first; two at most.
    certificates: Vec<Fingerprint>,
}

#[derive(Debug)]
struct Issued {
    secret: SecretHash,
    until: Timestamp,
    used_by: Option<Fingerprint>,
}

impl MemoryRoster {
    /// A token is good for a host from now on; an older one is not.
    pub fn add(&self, host: HostName, secret: SecretHash, until: Timestamp) {
        self.with(|hosts| {
            hosts.entry(host).or_default().token = Some(Issued { secret, until, used_by: None });
        });
    }

    /// A host is no more.
    pub fn remove(&self, host: &HostName) {
        self.with(|hosts| hosts.remove(host));
    }

    fn with<T>(&self, then: impl FnOnce(&mut HashMap<HostName, Entry>) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of<T>(
        &self,
        host: &HostName,
        then: impl FnOnce(&mut Entry) -> Result<T, RosterError>,
    ) -> Result<T, RosterError> {
        self.with(|hosts| hosts.get_mut(host).ok_or_else(|| RosterError::NoHost(host.clone())).and_then(then))
    }
}

#[async_trait]
impl Roster for MemoryRoster {
    async fn enrol(
        &self,
        host: &HostName,
        secret: SecretHash,
        key: Fingerprint,
        certificate: Fingerprint,
        now: Timestamp,
    ) -> Result<(), RosterError> {
        self.of(host, |entry| {
            let is_good = |token: &&mut Issued| {
                token.secret == secret && now < token.until && token.used_by.is_none_or(|by| by == key)
            };
            let token = entry.token.as_mut().filter(is_good);
            let token = token.ok_or_else(|| RosterError::Token(host.clone()))?;
            token.used_by = Some(key);
            entry.certificates = vec![certificate];
            Ok(())
        })
    }

    async fn knows(&self, host: &HostName, certificate: Fingerprint) -> Result<(), RosterError> {
        self.of(host, |entry| match entry.certificates.contains(&certificate) {
            true => Ok(()),
            false => Err(RosterError::Revoked(host.clone())),
        })
    }

    async fn renew(&self, host: &HostName, old: Fingerprint, new: Fingerprint) -> Result<(), RosterError> {
        self.of(host, |entry| {
            if !entry.certificates.contains(&old) {
                return Err(RosterError::Revoked(host.clone()));
            }
            entry.certificates = vec![old, new];
            Ok(())
        })
    }

    async fn used(&self, host: &HostName, certificate: Fingerprint) -> Result<(), RosterError> {
        self.of(host, |entry| {
            let at = entry.certificates.iter().position(|known| *known == certificate);
            entry.certificates.drain(..at.ok_or_else(|| RosterError::Revoked(host.clone()))?);
            Ok(())
        })
    }
}

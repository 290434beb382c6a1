//! Which tokens and certificates are good: in the testbed's store, or in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use testyard_model::id::HostName;
use testyard_store::{Change, ChangeError, Store, WriteError};
use testyard_trust::Fingerprint;

use crate::member::{Member, NotGood};
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
pub struct MemoryRoster(Mutex<HashMap<HostName, Member>>);

impl MemoryRoster {
    /// A token is good for a host from now on; an older one is not.
    pub fn add(&self, host: HostName, secret: SecretHash, until: Timestamp) {
        self.with(|hosts| hosts.entry(host).or_default().invite(secret, until));
    }

    /// A host is no more.
    pub fn remove(&self, host: &HostName) {
        self.with(|hosts| hosts.remove(host));
    }

    fn with<T>(&self, then: impl FnOnce(&mut HashMap<HostName, Member>) -> T) -> T {
        then(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn of(
        &self,
        host: &HostName,
        then: impl FnOnce(&mut Member) -> Result<(), NotGood>,
    ) -> Result<(), RosterError> {
        self.with(|hosts| {
            let member = hosts.get_mut(host).ok_or_else(|| RosterError::NoHost(host.clone()))?;
            then(member).map_err(|why| why.of(host))
        })
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
        self.of(host, |member| member.enrol(secret, key, certificate, now))
    }

    async fn knows(&self, host: &HostName, certificate: Fingerprint) -> Result<(), RosterError> {
        self.of(host, |member| member.knows(certificate))
    }

    async fn renew(&self, host: &HostName, old: Fingerprint, new: Fingerprint) -> Result<(), RosterError> {
        self.of(host, |member| member.renew(old, new))
    }

    async fn used(&self, host: &HostName, certificate: Fingerprint) -> Result<(), RosterError> {
        self.of(host, |member| member.used(certificate))
    }
}

/// A roster in the testbed's store.
#[derive(Clone, Debug)]
pub struct StoreRoster(Store);

/// A change was not made, for one of two reasons.
#[derive(Debug)]
enum NotMade {
    Roster(RosterError),
    Store(String),
}

impl From<ChangeError> for NotMade {
    fn from(error: ChangeError) -> Self {
        Self::Store(error.to_string())
    }
}

impl From<serde_json::Error> for NotMade {
    fn from(error: serde_json::Error) -> Self {
        Self::Store(error.to_string())
    }
}

impl StoreRoster {
    /// The roster of this store.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self(store)
    }

    /// A token is good for a host from now on; an older one is not. The host is made if there is none.
    ///
    /// # Errors
    /// [`RosterError::Store`]
    pub async fn add(&self, host: HostName, secret: SecretHash, until: Timestamp) -> Result<(), RosterError> {
        self.write(host, move |member| {
            let mut member = member.unwrap_or_default();
            member.invite(secret, until);
            Ok(member)
        })
        .await
    }

    /// A host is no more.
    ///
    /// # Errors
    /// [`RosterError::NoHost`], [`RosterError::Store`]
    pub async fn remove(&self, host: HostName) -> Result<(), RosterError> {
        let change = move |change: &Change<'_>| match change.remove_member(&host)? {
            true => Ok(()),
            false => Err(NotMade::Roster(RosterError::NoHost(host))),
        };
        told(self.0.write(change, |()| ()).await)
    }

    /// All of them.
    ///
    /// # Errors
    /// [`RosterError::Store`]
    pub async fn all(&self) -> Result<BTreeMap<HostName, Member>, RosterError> {
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "hosts of the store cannot be read");
            RosterError::Store
        };
        let records = self.0.members().await.map_err(|error| unreadable(&error))?;
        let read = |(name, record): (HostName, String)| {
            Ok((name, serde_json::from_str(&record).map_err(|error| unreadable(&error))?))
        };
        records.into_iter().map(read).collect()
    }

    async fn of(
        &self,
        host: &HostName,
        then: impl FnOnce(&mut Member) -> Result<(), NotGood> + Send + 'static,
    ) -> Result<(), RosterError> {
        let name = host.clone();
        self.write(host.clone(), move |member| {
            let mut member = member.ok_or_else(|| RosterError::NoHost(name.clone()))?;
            then(&mut member).map_err(|why| why.of(&name))?;
            Ok(member)
        })
        .await
    }

    /// What is kept of a host becomes something else; what does not change is not written.
    async fn write(
        &self,
        host: HostName,
        then: impl FnOnce(Option<Member>) -> Result<Member, RosterError> + Send + 'static,
    ) -> Result<(), RosterError> {
        let change = move |change: &Change<'_>| {
            let before =
                change.member(&host)?.map(|text| serde_json::from_str::<Member>(&text)).transpose()?;
            let after = then(before.clone()).map_err(NotMade::Roster)?;
            if before.as_ref() != Some(&after) {
                change.put_member(&host, &serde_json::to_string(&after)?)?;
            }
            Ok(())
        };
        told(self.0.write(change, |()| ()).await)
    }
}

fn told(written: Result<(), WriteError<NotMade>>) -> Result<(), RosterError> {
    let why = match written {
        Ok(()) => return Ok(()),
        Err(WriteError::Refused(NotMade::Roster(error))) => return Err(error),
        Err(WriteError::Refused(NotMade::Store(why)) | WriteError::Commit(why)) => why,
        Err(WriteError::Panicked) => "the change panicked".to_owned(),
        Err(WriteError::Closed) => "the store is closed".to_owned(),
    };
    tracing::error!(why, "hosts of the store cannot be written");
    Err(RosterError::Store)
}

#[async_trait]
impl Roster for StoreRoster {
    async fn enrol(
        &self,
        host: &HostName,
        secret: SecretHash,
        key: Fingerprint,
        certificate: Fingerprint,
        now: Timestamp,
    ) -> Result<(), RosterError> {
        self.of(host, move |member| member.enrol(secret, key, certificate, now)).await
    }

    async fn knows(&self, host: &HostName, certificate: Fingerprint) -> Result<(), RosterError> {
        self.of(host, move |member| member.knows(certificate)).await
    }

    async fn renew(&self, host: &HostName, old: Fingerprint, new: Fingerprint) -> Result<(), RosterError> {
        self.of(host, move |member| member.renew(old, new)).await
    }

    async fn used(&self, host: &HostName, certificate: Fingerprint) -> Result<(), RosterError> {
        self.of(host, move |member| member.used(certificate)).await
    }
}

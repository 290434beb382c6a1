//! A [`Routing`] that remembers.

use std::net::IpAddr;

use nix::errno::Errno;

use super::{Address, Change, ChangeError, Lead, Link, Refusal, Route, Routing, Seen};

/// Remembers changes and answers from lists; refuses what it was told to.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) links: Vec<Link>,
    pub(crate) routes: Vec<Route>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) disciplines: Vec<Seen>,
    pub(crate) changes: Vec<Change>,
    /// Refuses the next change that creates a link, this often, as the kernel does while an old half is dying.
    pub(crate) refuse_creation: u32,
}

impl Routing for Recorder {
    fn link(&mut self, name: &str) -> Result<Option<Link>, Refusal> {
        Ok(self.links.iter().find(|l| l.name == name).cloned())
    }

    fn links(&mut self) -> Result<Vec<Link>, Refusal> {
        Ok(self.links.clone())
    }

    fn routes(&mut self) -> Result<Vec<Route>, Refusal> {
        Ok(self.routes.clone())
    }

    fn addresses(&mut self) -> Result<Vec<Address>, Refusal> {
        Ok(self.addresses.clone())
    }

    fn proxies(&mut self) -> Result<Vec<(u32, IpAddr)>, Refusal> {
        Ok(Vec::new())
    }

    fn leads(&mut self) -> Result<Vec<Lead>, Refusal> {
        Ok(Vec::new())
    }

    fn disciplines(&mut self) -> Result<Vec<Seen>, Refusal> {
        Ok(self.disciplines.clone())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), ChangeError> {
        for change in changes {
            let refused =
                |errno: Errno| Err(ChangeError { change: change.to_string(), refusal: errno.into() });
            match change {
                Change::CreateVeth { .. } if self.refuse_creation > 0 => {
                    self.refuse_creation -= 1;
                    return refused(Errno::EEXIST);
                }
                Change::CreateVeth { name, mac, mtu, group, .. } => self.links.push(Link {
                    index: 7,
                    name: name.clone(),
                    alias: String::new(),
                    mac: *mac,
                    mtu: *mtu,
                    group: *group,
                    up: false,
                    peer: 2,
                    master: 0,
                }),
                Change::DeleteLink { name } => {
                    let before = self.links.len();
                    self.links.retain(|l| l.name != *name);
                    if self.links.len() == before {
                        return refused(Errno::ENODEV);
                    }
                }
                _ => {}
            }
            self.changes.push(change.clone());
        }
        Ok(())
    }
}

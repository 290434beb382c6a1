//! Who calls: the kernel tells the user id of whoever is at the other end of a local socket.
//!
//! A user of this machine is the user of the same name at the testbed's authority, and may touch what that user made. Root
//! and the user whom the server runs as are operators: they may touch everything, and may act for others.

use jiff::{SignedDuration, Timestamp};
use nix::unistd::{Uid, User};
use testyard_controller::api::Caller;
use testyard_model::id::RequestId;
use testyard_model::urn::{Urn, UserUrn};
use tokio::net::UnixStream;

use crate::problem::Refused;

/// The header by which an operator acts for somebody else: the name of a user at the testbed's authority.
pub const ACT_AS: &str = "testyard-as";

/// The kernel is asked anew for each connection, so what it says does not end before that.
const UNTIL: SignedDuration = SignedDuration::from_hours(24 * 365 * 100);

pub use testyard_model::urn::Authority;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The user id; none if the kernel does not say.
    uid: Option<u32>,
}

/// A caller whose name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) urn: UserUrn,
    pub(crate) operator: bool,
    /// The operator who acts for this user, if one does.
    pub(crate) by: Option<Urn>,
    /// The call.
    pub(crate) request: Option<RequestId>,
}

impl Peer {
    /// Whoever has connected.
    pub(crate) fn of(stream: &UnixStream) -> Self {
        Self { uid: stream.peer_cred().ok().map(|credentials| credentials.uid()) }
    }

    /// A peer of this user id.
    #[must_use]
    pub const fn of_uid(uid: u32) -> Self {
        Self { uid: Some(uid) }
    }

    /// The user id; none if the kernel does not say.
    pub(crate) const fn uid(self) -> Option<u32> {
        self.uid
    }

    /// Who that is at the authority; `act_as` is whom the caller wants to act for.
    pub(crate) fn person(self, authority: &Authority, act_as: Option<&str>) -> Result<Person, Refused> {
        let uid =
            self.uid.ok_or_else(|| Refused::forbidden("the kernel does not say who calls".to_owned()))?;
        let operator = uid == 0 || uid == Uid::effective().as_raw();
        let name = match act_as {
            Some(name) if operator => name.to_owned(),
            Some(name) => {
                return Err(Refused::forbidden(format!("only operators act for others, such as {name:?}")));
            }
            None => name_of(uid),
        };
        let urn = Urn::new(authority, "user", &name).ok().and_then(|urn| UserUrn::try_from(urn).ok());
        let urn = urn.ok_or_else(|| Refused::bad_request(format!("{name:?} is no name of a user")))?;
        let own = act_as.map(|_| name_of(uid)).filter(|own| *own != name);
        let by = own.and_then(|own| Urn::new(authority, "user", &own).ok());
        Ok(Person { urn, operator, by, request: None })
    }
}

/// The name of a user of this machine.
fn name_of(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("uid-{uid}"),
    }
}

impl Person {
    /// As the controller knows callers: who is no operator touches only what is the own.
    pub(crate) fn caller(&self) -> Caller {
        let now = Timestamp::now();
        let until = now.checked_add(UNTIL).unwrap_or(Timestamp::MAX);
        Caller {
            user: self.urn.clone(),
            tool: self.by.clone(),
            until,
            only_own: !self.operator,
            operator: self.operator,
            request: self.request,
        }
    }

    /// Whether the person may touch a slice that this user made.
    pub(crate) fn may_touch(&self, creator: &UserUrn) -> bool {
        self.operator || *creator == self.urn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_act_for_whom() {
        let authority: Authority = "lab.example.net".parse().unwrap();
        let root = Peer::of_uid(0).person(&authority, None).unwrap();
        assert_eq!((root.urn.name(), root.operator), ("root", true));
        let ann = Peer::of_uid(0).person(&authority, Some("ann")).unwrap();
        assert_eq!(
            (ann.urn.to_string().as_str(), ann.operator),
            ("urn:publicid:IDN+lab.example.net+user+ann", true)
        );
        assert_eq!(ann.caller().tool, Some("urn:publicid:IDN+lab.example.net+user+root".parse().unwrap()));
        assert_eq!(Peer::of_uid(0).person(&authority, Some("root")).unwrap().by, None);
        assert!(Peer::of_uid(0).person(&authority, Some("a b\n")).is_err());
        let stranger = Peer::of_uid(4_000_000).person(&authority, None).unwrap();
        assert_eq!((stranger.urn.name(), stranger.operator), ("uid-4000000", false));
        assert!(Peer::of_uid(4_000_000).person(&authority, Some("ann")).is_err());
        assert!(
            !stranger.may_touch(&ann.urn) && stranger.may_touch(&stranger.urn) && root.may_touch(&ann.urn)
        );
        assert!(Peer { uid: None }.person(&authority, None).is_err());
    }
}

//! The rules between a delegated credential and the one that it was made from (am-api.md §3.4).

use crate::certificate::Certificate;
use crate::chain::Chain;
use crate::credential::Credential;
use crate::privilege::Privileges;
use crate::refusal::{Reason, Refusal, Step};

/// A credential whose signature and certificates hold.
pub(crate) struct Checked<'a> {
    pub(crate) credential: &'a Credential,
    pub(crate) signer: Chain,
    pub(crate) owner: Chain,
    pub(crate) target: Chain,
    pub(crate) privileges: Privileges,
}

/// Checks one link: `child` was made by the owner of `parent`.
pub(crate) fn check(child: &Checked<'_>, parent: &Checked<'_>) -> Result<(), Refusal> {
    let refuse = |message: &str| Err(Refusal::new(Step::Delegation, Reason::Delegation, message));
    if !is_same_holder(child.signer.leaf(), parent.owner.leaf()) {
        return refuse("a delegated credential was not signed by the owner of its parent");
    }
    if child.target.leaf().urn() != parent.target.leaf().urn() {
        return refuse("a delegated credential is about something else than its parent");
    }
    if child.credential.expires > parent.credential.expires {
        return refuse("a delegated credential lasts longer than its parent");
    }
    if !child.privileges.are_delegated_by(&parent.privileges) {
        return refuse("a delegated credential has privileges that its parent may not pass on");
    }
    Ok(())
}

/// One name and one key. A certificate that was renewed for the same key is as good as the one in the parent.
fn is_same_holder(signer: &Certificate, owner: &Certificate) -> bool {
    signer.urn().is_ok() && signer.urn() == owner.urn() && signer.same_key(owner)
}

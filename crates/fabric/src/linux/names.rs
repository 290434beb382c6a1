//! The names and marks of what we make in the kernel. All follow from the instance and the sliver, so that a restarted
//! agent finds its own without a database.

use sha2::{Digest, Sha256};
use testyard_model::id::{Instance, SliceId, SliverId};

use crate::netlink::Mac;

/// All links of all testbeds begin so.
pub(crate) const ANY_LINK: &str = "ty";
/// What a node calls its control interface.
pub(crate) const NODE_LINK: &str = "eth0";
/// The host half's hardware address, the same on each: every node has a link of its own to it.
pub(crate) const HOST_MAC: Mac = Mac([0x02, 0x74, 0x79, 0, 0, 1]);

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const PREFIX_DIGITS: usize = 4;
/// With the prefix, `IFNAMSIZ` less its NUL.
const SLIVER_DIGITS: usize = 9;

/// The names of one testbed.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    instance: Instance,
    /// What its links begin with: rules match on it.
    pub(crate) prefix: String,
    /// The table of packet rules, of family inet.
    pub(crate) table: String,
    /// The chain that Docker's is led to.
    pub(crate) chain: String,
}

impl Names {
    pub(crate) fn new(instance: &Instance) -> Self {
        let digest = Sha256::digest(instance.as_str());
        Self {
            prefix: format!("{ANY_LINK}{}", digits(&digest, PREFIX_DIGITS)),
            table: format!("testyard_{instance}"),
            chain: format!("TESTYARD-{instance}"),
            instance: instance.clone(),
        }
    }

    /// The host's half of a sliver's control interface.
    pub(crate) fn link(&self, sliver: SliverId) -> String {
        format!("{}{}", self.prefix, digits(&self.digest(sliver), SLIVER_DIGITS))
    }

    /// The node's half's hardware address: the same after each boot.
    pub(crate) fn node_mac(&self, sliver: SliverId) -> Mac {
        let digest = self.digest(sliver);
        // Locally administered, unicast.
        Mac([0x02, digest[27], digest[28], digest[29], digest[30], digest[31]])
    }

    /// The mark on rules and chains.
    pub(crate) fn mark(&self) -> String {
        format!("testyard:{}", self.instance)
    }

    /// The mark on a link.
    pub(crate) fn alias(&self, slice: SliceId, sliver: SliverId) -> String {
        format!("testyard:{}:{}", self.instance, owner(slice, sliver))
    }

    /// Whose a link is; `None` if not ours.
    pub(crate) fn read_alias(&self, alias: &str) -> Option<(SliceId, SliverId)> {
        let rest = alias.strip_prefix("testyard:")?;
        let (instance, owner) = rest.split_once(':')?;
        (instance == self.instance.as_str()).then(|| read_owner(owner)).flatten()
    }

    fn digest(&self, sliver: SliverId) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.instance.as_str());
        hash.update([0]);
        hash.update(sliver.uuid().as_bytes());
        hash.finalize().into()
    }
}

/// The mark on an element of a set.
pub(crate) fn owner(slice: SliceId, sliver: SliverId) -> String {
    format!("{slice}:{sliver}")
}

/// Whose an element is.
pub(crate) fn read_owner(mark: &str) -> Option<(SliceId, SliverId)> {
    let (slice, sliver) = mark.split_once(':')?;
    Some((slice.parse().ok()?, sliver.parse().ok()?))
}

pub(crate) fn digits(digest: &[u8], count: usize) -> String {
    digest.iter().take(count).map(|b| char::from(DIGITS[usize::from(b % 32)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_tell_whose_they_are() {
        let (a, b) = (Names::new(&"a".parse().unwrap()), Names::new(&"twelve-chars".parse().unwrap()));
        let slice: SliceId = "0197e7a0-0000-7000-8000-000000000001".parse().unwrap();
        let sliver: SliverId = "0197e7a0-0000-7000-8000-000000000002".parse().unwrap();
        assert_eq!(b.link(sliver).len(), 15);
        assert!(b.link(sliver).starts_with(&b.prefix));
        assert_ne!(a.prefix, b.prefix);
        assert_eq!(b.read_alias(&b.alias(slice, sliver)), Some((slice, sliver)));
        assert_eq!(a.read_alias(&b.alias(slice, sliver)), None);
        assert_eq!(a.read_alias("uplink"), None);
        assert!(b.chain.len() <= 28, "iptables refuses longer names");
        // Changing these would orphan what runs.
        assert_eq!(a.link(sliver), "tyaq1jppkb4smvs");
        assert_eq!(a.node_mac(sliver).to_string(), "02:c1:e5:10:e6:1e");
    }
}

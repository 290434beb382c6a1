//! Ethernet addresses of interfaces: the user's, else one that follows from the interface's name.

use std::collections::HashSet;

use testyard_model::mac::Mac;

use crate::hash::{fnv, mix};

/// Addresses of a slice that are given out.
#[derive(Debug, Default)]
pub(crate) struct Macs {
    taken: HashSet<Mac>,
}

impl Macs {
    /// Marks an address; false if it is marked already.
    pub(crate) fn take(&mut self, mac: Mac) -> bool {
        self.taken.insert(mac)
    }

    /// An address for an interface: locally administered, the same whenever the name is, and nobody else's here. Two
    /// names that give the same are kept apart by their order.
    pub(crate) fn derive(&mut self, interface: &str) -> Mac {
        let name = fnv(interface);
        (0_u64..)
            .filter_map(|round| {
                let [.., a, b, c, d, e] = mix(name ^ mix(round)).to_be_bytes();
                Mac::new([0x02, a, b, c, d, e]).ok()
            })
            .find(|mac| self.taken.insert(*mac))
            .unwrap_or_else(|| unreachable!("there are more addresses than interfaces"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_gives_the_same_and_nobody_shares_one() {
        let one = Macs::default().derive("a:0");
        assert_eq!(one, Macs::default().derive("a:0"));
        assert_eq!(one.bytes()[0], 2);
        let mut macs = Macs::default();
        assert!(macs.take(one) && !macs.take(one));
        assert_ne!(macs.derive("a:0"), one);
        let all: HashSet<_> = (0..10_000).map(|number| macs.derive(&format!("n{number}"))).collect();
        assert_eq!(all.len(), 10_000);
    }
}

//! What a privilege allows: the SFA's table (am-api.md §3.5).
//!
//! Privileges are names in a credential; each stands for a set of SFA operations, and each call of the AM API needs
//! one SFA operation. `*` means, by the type of the target, a list of other privileges. Names are compared without
//! regard to case; a name that nobody knows allows nothing.

use crate::operation::Operation;

macro_rules! sfa_operations {
    ($($name:ident),* $(,)?) => {
        /// An operation of the SFA, as a bit.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "the SFA's own names")]
        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum Sfa { $($name),* }
        #[cfg(test)]
        const ALL_SFA: &[Sfa] = &[$(Sfa::$name),*];
    };
}

sfa_operations! {
    remove, update, resolve, list, getcredential, getticket, redeemslice, redeemticket, createslice, createsliver,
    deleteslice, deletesliver, updateslice, getsliceresources, loanresources, stopslice, startslice, renewsliver,
    resetslice, listslices, listnodes, getpolicy, sliverstatus, shutdown, getgids, setbootstate, getbootstate, reboot,
    gettrustedcerts,
}

/// A set of SFA operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set(u64);

impl Set {
    const EVERYTHING: Self = Self(u64::MAX);

    const fn of(operations: &[Sfa]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < operations.len() {
            bits |= 1 << operations[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    fn has(self, operation: Sfa) -> bool {
        self.0 & (1 << operation as u8) != 0
    }

    fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// One privilege of a credential, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// Its name.
    pub name: String,
    /// Whether the holder may pass it on.
    pub can_delegate: bool,
}

impl Privilege {
    /// A privilege.
    #[must_use]
    pub fn new(name: &str, can_delegate: bool) -> Self {
        Self { name: name.to_owned(), can_delegate }
    }
}

/// The privileges of one credential, resolved for its target.
#[derive(Clone, Debug)]
pub struct Privileges(Vec<(Set, bool)>);

impl Privileges {
    /// Resolves the privileges of a credential whose target has this URN type (`slice`, `user`, `authority`).
    #[must_use]
    pub fn resolve(privileges: &[Privilege], target_kind: &str) -> Self {
        let mut resolved = Vec::new();
        for privilege in privileges {
            let name = privilege.name.to_ascii_lowercase();
            let names: &[&str] = match (name.as_str(), target_kind) {
                ("*", "slice") => &["refresh", "embed", "bind", "control", "info"],
                ("*", "user") => &["refresh", "resolve", "info"],
                ("*", "authority") => &["authority", "sa", "ma"],
                _ => &[name.as_str()],
            };
            resolved.extend(names.iter().map(|name| (operations(name), privilege.can_delegate)));
        }
        Self(resolved)
    }

    /// Whether one of them allows the call. Listing resources needs none.
    #[must_use]
    pub fn allow(&self, operation: Operation) -> bool {
        needed(operation).is_none_or(|needed| self.0.iter().any(|(set, _)| set.has(needed)))
    }

    /// Whether each of them is within one of the parent's that may be passed on.
    #[must_use]
    pub fn are_delegated_by(&self, parent: &Self) -> bool {
        let delegable = |child: &Set| parent.0.iter().any(|(set, may)| *may && child.is_within(*set));
        self.0.iter().all(|(set, _)| delegable(set))
    }
}

/// The SFA operation that a call needs.
fn needed(operation: Operation) -> Option<Sfa> {
    match operation {
        Operation::ListResources => None,
        Operation::Allocate | Operation::Provision | Operation::PerformOperationalAction => {
            Some(Sfa::createsliver)
        }
        Operation::Describe | Operation::Status => Some(Sfa::getsliceresources),
        Operation::Renew => Some(Sfa::renewsliver),
        Operation::Delete => Some(Sfa::deleteslice),
        Operation::Shutdown => Some(Sfa::shutdown),
    }
}

/// What a privilege allows; `name` in lower case.
fn operations(name: &str) -> Set {
    use Sfa::*;
    match name {
        "authority" => Set::EVERYTHING,
        "refresh" => const { Set::of(&[remove, update]) },
        "resolve" => const { Set::of(&[resolve, list, getcredential]) },
        "sa" => {
            const {
                Set::of(&[
                    getticket,
                    redeemslice,
                    redeemticket,
                    createslice,
                    createsliver,
                    deleteslice,
                    deletesliver,
                    updateslice,
                    getsliceresources,
                    loanresources,
                    stopslice,
                    startslice,
                    renewsliver,
                    resetslice,
                    listslices,
                    listnodes,
                    getpolicy,
                    sliverstatus,
                ])
            }
        }
        "embed" => {
            const {
                Set::of(&[
                    getticket,
                    redeemslice,
                    redeemticket,
                    createslice,
                    createsliver,
                    renewsliver,
                    deleteslice,
                    deletesliver,
                    updateslice,
                    sliverstatus,
                    getsliceresources,
                    shutdown,
                ])
            }
        }
        "bind" => const { Set::of(&[getticket, loanresources, redeemticket]) },
        "control" => {
            const {
                Set::of(&[
                    updateslice,
                    createslice,
                    createsliver,
                    renewsliver,
                    sliverstatus,
                    stopslice,
                    startslice,
                    deleteslice,
                    deletesliver,
                    resetslice,
                    getsliceresources,
                    getgids,
                ])
            }
        }
        "info" => const { Set::of(&[listslices, listnodes, getpolicy]) },
        "ma" => const { Set::of(&[setbootstate, getbootstate, reboot, getgids, gettrustedcerts]) },
        "operator" => const { Set::of(&[gettrustedcerts, getgids]) },
        "*" => const { Set::of(&[createsliver, deletesliver, sliverstatus, renewsliver, shutdown]) },
        _ => Set(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn privileges(names: &[(&str, bool)], kind: &str) -> Privileges {
        let list: Vec<_> = names.iter().map(|(name, may)| Privilege::new(name, *may)).collect();
        Privileges::resolve(&list, kind)
    }

    /// The table as am-api.md §3.5 prints it: who allows which call on a slice.
    #[test]
    fn the_table() {
        let most = "* authority sa embed control";
        for operation in Operation::ALL {
            let granting = match operation {
                Operation::ListResources => {
                    "* authority sa embed control bind refresh resolve info ma operator x"
                }
                Operation::Shutdown => "* authority embed",
                _ => most,
            };
            for name in "* authority sa embed control bind refresh resolve info ma operator x".split(' ') {
                let allowed = granting.split(' ').any(|granted| granted == name);
                assert_eq!(
                    privileges(&[(name, false)], "slice").allow(operation),
                    allowed,
                    "{name} {operation}"
                );
            }
        }
        assert!(privileges(&[("EMBED", false)], "slice").allow(Operation::Allocate));
        assert!(!privileges(&[], "slice").allow(Operation::Status));
        assert!(
            !privileges(&[("*", false)], "user").allow(Operation::Allocate),
            "* of a user is no slice's *"
        );
        assert!(privileges(&[("*", false)], "authority").allow(Operation::Shutdown));
    }

    #[test]
    fn delegation_is_judged_on_operations() {
        let parent = privileges(&[("*", true)], "slice");
        assert!(privileges(&[("embed", true), ("info", false)], "slice").are_delegated_by(&parent));
        assert!(privileges(&[("*", true)], "slice").are_delegated_by(&parent));
        assert!(!privileges(&[("sa", true)], "slice").are_delegated_by(&parent));
        assert!(!privileges(&[("authority", true)], "slice").are_delegated_by(&parent));
        let fixed = privileges(&[("*", false)], "slice");
        assert!(!privileges(&[("info", false)], "slice").are_delegated_by(&fixed));
        let embed = privileges(&[("embed", true), ("control", false)], "slice");
        assert!(!privileges(&[("*", false)], "slice").are_delegated_by(&embed));
        assert!(!privileges(&[("embed", false), ("control", false)], "slice").are_delegated_by(&embed));
    }

    #[test]
    fn every_operation_has_its_own_bit() {
        assert!(ALL_SFA.len() <= 64);
        let bits = ALL_SFA.iter().fold(0u64, |bits, operation| bits | 1 << *operation as u8);
        assert_eq!(bits.count_ones() as usize, ALL_SFA.len());
    }
}

//! Which member of a link is which after a change: the one of its name, else the only one of its node. Some languages name
//! interfaces by their place in the file.

use std::collections::HashMap;

use testyard_model::name::ClientId;

use crate::network::parts::NetworkLink;

/// A member, by its node and the user's name of its interface.
pub(crate) type Name<'n> = (&'n ClientId, &'n ClientId);

impl NetworkLink {
    /// Its members by their names.
    pub(crate) fn member_names(&self) -> Vec<Name<'_>> {
        self.members.iter().map(|member| (&member.node, &member.interface)).collect()
    }
}

/// By each member that is there now: the place of what it was before, if it was there. No two have been the same.
pub(crate) fn pairs(before: &[Name<'_>], now: &[Name<'_>]) -> Vec<Option<usize>> {
    let named: HashMap<Name<'_>, usize> = before.iter().copied().zip(0..).collect();
    let (alone_before, alone_now) = (alone(before), alone(now));
    let only = |node: &ClientId| alone_now.get(node).copied().flatten().and(*alone_before.get(node)?);
    now.iter().map(|name| named.get(name).copied().or_else(|| only(name.0))).collect()
}

/// Nodes, with the place of the one member of theirs, unless there are several.
fn alone<'n>(members: &[Name<'n>]) -> HashMap<&'n ClientId, Option<usize>> {
    let mut alone = HashMap::new();
    for ((node, _), place) in members.iter().zip(0..) {
        alone.entry(*node).and_modify(|only| *only = None).or_insert(Some(place));
    }
    alone
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a.0` is the interface `0` of node a.
    fn ids(text: &str) -> Vec<(ClientId, ClientId)> {
        let both = |name: &str| name.split_once('.').map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
        text.split_whitespace().filter_map(both).collect()
    }

    fn names(ids: &[(ClientId, ClientId)]) -> Vec<Name<'_>> {
        ids.iter().map(|(node, interface)| (node, interface)).collect()
    }

    fn pairs_of(before: &str, now: &str) -> Vec<Option<usize>> {
        pairs(&names(&ids(before)), &names(&ids(now)))
    }

    #[test]
    fn by_name_and_else_by_node() {
        assert_eq!(pairs_of("a.0 b.0", "b.0 c.0 a.0"), [Some(1), None, Some(0)]);
        assert_eq!(pairs_of("a.0 b.0", "a.7 b.0"), [Some(0), Some(1)], "the only one of its node");
        assert_eq!(pairs_of("a.0 a.1", "a.7 a.1"), [None, Some(1)], "a has two: which of them?");
        assert_eq!(pairs_of("a.0", "a.7 a.8"), [None, None]);
        assert_eq!(pairs_of("a.0", "a.7 a.0"), [None, Some(0)], "what is named is nobody else's");
        assert_eq!(pairs_of("a.x", "b.x"), [None], "of another node");
    }
}

//! The marks on what Testyard makes in an engine, and the way back from a mark to its node.

use std::collections::HashMap;

use testyard_model::id::Instance;
use testyard_runtime::NodeKey;

pub(crate) const INSTANCE: &str = "testyard.instance";
pub(crate) const SLICE: &str = "testyard.slice";
pub(crate) const SLIVER: &str = "testyard.sliver";
pub(crate) const DISK: &str = "testyard.disk";

/// The name of a node's container. It holds the whole sliver id: ids made in the same millisecond begin alike, and a
/// name that two nodes share would make one of them the other's.
#[must_use]
pub fn container_name(instance: &Instance, key: &NodeKey) -> String {
    format!("testyard-{instance}-{}-{}", key.sliver, key.disk)
}

/// The name of a node's folder for the agent's socket.
pub(crate) fn folder_name(key: &NodeKey) -> String {
    format!("{}-{}", key.sliver, key.disk)
}

pub(crate) fn labels(instance: &Instance, key: &NodeKey) -> HashMap<String, String> {
    HashMap::from([
        (INSTANCE.to_owned(), instance.to_string()),
        (SLICE.to_owned(), key.slice.to_string()),
        (SLIVER.to_owned(), key.sliver.to_string()),
        (DISK.to_owned(), key.disk.to_string()),
    ])
}

/// The node that these labels mark, if it is of this testbed.
pub(crate) fn key(instance: &Instance, labels: &HashMap<String, String>) -> Option<NodeKey> {
    if labels.get(INSTANCE)? != instance.as_str() {
        return None;
    }
    Some(NodeKey {
        slice: labels.get(SLICE)?.parse().ok()?,
        sliver: labels.get(SLIVER)?.parse().ok()?,
        disk: labels.get(DISK)?.parse().ok()?,
    })
}

/// The engine's filter for what is of this testbed.
pub(crate) fn filter(instance: &Instance) -> String {
    format!("{INSTANCE}={instance}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let instance: Instance = "lab".parse().unwrap();
        let node = NodeKey {
            slice: "018f0000-0000-7000-8000-000000000001".parse().unwrap(),
            sliver: "018f0000-0000-7000-8000-000000000002".parse().unwrap(),
            disk: 3,
        };
        let mut marks = labels(&instance, &node);
        assert_eq!(key(&instance, &marks), Some(node));
        assert_eq!(key(&"lab2".parse().unwrap(), &marks), None, "another testbed's");
        assert_eq!(container_name(&instance, &node), "testyard-lab-018f0000-0000-7000-8000-000000000002-3");
        marks.insert(DISK.to_owned(), "-1".to_owned());
        assert_eq!(key(&instance, &marks), None);
        assert_eq!(key(&instance, &HashMap::new()), None);
    }
}

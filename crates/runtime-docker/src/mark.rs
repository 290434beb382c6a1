//! The marks on what Testyard makes in an engine, and the way back from a mark to its node.
//!
//! Labels cannot change, and a spare becomes somebody's node while it runs. So a spare's label says only that it was made
//! as one; whose it is now its name says, which can be changed in one step.

use std::collections::HashMap;
use std::path::Path;

use testyard_model::id::Instance;
use testyard_runtime::NodeKey;

pub(crate) const INSTANCE: &str = "testyard.instance";
pub(crate) const SLICE: &str = "testyard.slice";
pub(crate) const SLIVER: &str = "testyard.sliver";
pub(crate) const DISK: &str = "testyard.disk";
pub(crate) const SPARE: &str = "testyard.spare";
/// On what a build makes by the way, and, since labels of images are inherited, on nodes of what it has built.
pub(crate) const BUILD: &str = "testyard.build";

/// The host name that spares are made with, until they get that of a node.
pub(crate) const SPARE_HOSTNAME: &str = "testyard-spare";

/// The name of a node's container. It holds whole ids: ids made in the same millisecond begin alike, and a name that two
/// nodes share would make one of them the other's.
#[must_use]
pub fn container_name(instance: &Instance, key: &NodeKey) -> String {
    if key.is_spare() {
        return format!("testyard-{instance}-spare-{}", key.sliver);
    }
    format!("testyard-{instance}-{}-{}-{}", key.slice, key.sliver, key.disk)
}

/// The name of a node's folder for the agent's socket.
pub(crate) fn folder_name(key: &NodeKey) -> String {
    if key.is_spare() {
        return format!("spare-{}", key.sliver);
    }
    format!("{}-{}", key.sliver, key.disk)
}

pub(crate) fn labels(instance: &Instance, key: &NodeKey) -> HashMap<String, String> {
    if key.is_spare() {
        return HashMap::from([
            (INSTANCE.to_owned(), instance.to_string()),
            (SPARE.to_owned(), key.sliver.to_string()),
        ]);
    }
    HashMap::from([
        (INSTANCE.to_owned(), instance.to_string()),
        (SLICE.to_owned(), key.slice.to_string()),
        (SLIVER.to_owned(), key.sliver.to_string()),
        (DISK.to_owned(), key.disk.to_string()),
    ])
}

/// The node that a container is, by its labels and its name, if it is of this testbed.
pub(crate) fn key(instance: &Instance, labels: &HashMap<String, String>, name: &str) -> Option<NodeKey> {
    if labels.get(INSTANCE)? != instance.as_str() {
        return None;
    }
    if labels.contains_key(SPARE) {
        return named(instance, name);
    }
    Some(NodeKey {
        slice: labels.get(SLICE)?.parse().ok()?,
        sliver: labels.get(SLIVER)?.parse().ok()?,
        disk: labels.get(DISK)?.parse().ok()?,
    })
}

/// The spare that a container was made as, by the folder of the agent's socket that it was made with. Not by its label:
/// images have labels too, and a user's image may say anything.
pub(crate) fn spare(folder: &Path) -> Option<NodeKey> {
    folder.file_name()?.to_str()?.strip_prefix("spare-")?.parse().ok().map(NodeKey::spare)
}

/// The key that [`container_name`] has made this of. The engine writes a `/` before names.
fn named(instance: &Instance, name: &str) -> Option<NodeKey> {
    const UUID: usize = 36;
    let name = name.strip_prefix('/').unwrap_or(name);
    let rest = name.strip_prefix("testyard-")?.strip_prefix(instance.as_str())?.strip_prefix('-')?;
    if let Some(number) = rest.strip_prefix("spare-") {
        return number.parse().ok().map(NodeKey::spare);
    }
    let (slice, rest) = rest.split_at_checked(UUID)?;
    let (sliver, disk) = rest.strip_prefix('-')?.split_at_checked(UUID)?;
    Some(NodeKey {
        slice: slice.parse().ok()?,
        sliver: sliver.parse().ok()?,
        disk: disk.strip_prefix('-')?.parse().ok()?,
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
        let name = container_name(&instance, &node);
        assert_eq!(key(&instance, &marks, &name), Some(node));
        assert_eq!(key(&"lab2".parse().unwrap(), &marks, &name), None, "another testbed's");
        assert_eq!(
            name,
            "testyard-lab-018f0000-0000-7000-8000-000000000001-018f0000-0000-7000-8000-000000000002-3"
        );
        marks.insert(DISK.to_owned(), "-1".to_owned());
        assert_eq!(key(&instance, &marks, &name), None);
        assert_eq!(key(&instance, &HashMap::new(), &name), None);
    }

    #[test]
    fn a_spare_is_who_its_name_says() {
        let instance: Instance = "lab-spare".parse().unwrap();
        let was = NodeKey::spare("018f0000-0000-7000-8000-000000000003".parse().unwrap());
        let node = NodeKey {
            slice: "018f0000-0000-7000-8000-000000000001".parse().unwrap(),
            sliver: "018f0000-0000-7000-8000-000000000002".parse().unwrap(),
            disk: 12,
        };
        let marks = labels(&instance, &was);
        let folder = |key| Path::new("/run/testyard/nodes").join(folder_name(key));
        assert_eq!(spare(&folder(&was)), Some(was));
        assert_eq!(spare(&folder(&node)), None);
        for now in [was, node] {
            let name = container_name(&instance, &now);
            assert_eq!(key(&instance, &marks, &name), Some(now));
            assert_eq!(key(&instance, &marks, &format!("/{name}")), Some(now), "as the engine writes it");
        }
        for other in ["web", "testyard-lab-spare-", "testyard-lab-spare-spare-1", "testyard-lab-spare-é"] {
            assert_eq!(key(&instance, &marks, other), None, "{other}");
        }
    }
}

//! The links of slices are kept by mounts, which have to outlive a restart of ours.

use std::fs;
use std::path::PathBuf;

/// Warns where they will not: in a mount namespace of our own, as a unit's `ProtectHome=` or `PrivateTmp=` make one.
pub(crate) fn look() {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    if is_apart(of("self"), of("1")) {
        tracing::warn!(
            "this process has a mount namespace of its own: after its restart nodes get new interfaces on their links; take \
             ProtectHome=, PrivateTmp= and their like out of its unit"
        );
    }
}

/// What cannot be seen is not told.
fn is_apart(own: Option<PathBuf>, machine: Option<PathBuf>) -> bool {
    own.zip(machine).is_some_and(|(own, machine)| own != machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_seen_to_be_apart() {
        let of = |number: u32| Some(PathBuf::from(format!("mnt:[{number}]")));
        assert!(is_apart(of(1), of(2)));
        assert!(!is_apart(of(1), of(1)) && !is_apart(of(1), None));
    }
}

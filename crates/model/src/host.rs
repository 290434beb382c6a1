//! Hosts: what runs nodes.

use serde::{Deserialize, Serialize};

use crate::quantity::Size;

/// What a host was seen to have. What could not be seen is not checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLimits {
    /// `fs.inotify.max_user_instances`, less what is in use, where nodes take any.
    pub inotify_instances: Option<u64>,
    /// `kernel.pid_max`, or `kernel.threads-max` if that is less, less what runs already.
    pub processes: Option<u64>,
    /// `net.ipv4.neigh.default.gc_thresh3`, which all namespaces share, less what is in use.
    pub ipv4_neighbours: Option<u64>,
    /// `net.ipv6.neigh.default.gc_thresh3`, likewise.
    pub ipv6_neighbours: Option<u64>,
    /// `user.max_net_namespaces`, less what is in use.
    pub network_namespaces: Option<u64>,
    /// What is free where nodes' disks are.
    pub disk: Option<Size>,
    /// The operator wants nothing to impair links but the kernel's netem.
    #[serde(default)]
    pub only_netem: bool,
}

impl HostLimits {
    /// Of a host that nobody has looked at: nothing but what every kernel has is checked.
    pub const UNKNOWN: Self = Self {
        inotify_instances: None,
        processes: None,
        ipv4_neighbours: None,
        ipv6_neighbours: None,
        network_namespaces: None,
        disk: None,
        only_netem: false,
    };
}

//! What a guest is told, kept short: of n nodes of a slice each knows the names of n.

use testyard_guest_protocol::{Desired, HostsLine};
use testyard_model::host_table::{self, HostTable};

/// What the inside of a node should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Inside {
    /// Of the lines of its `/etc/hosts` only those of the node's control interface.
    pub(crate) desired: Desired,
    /// All others.
    pub(crate) names: Names,
}

/// Names of the interfaces of a node's slice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Names {
    /// As they are.
    Spelled(Vec<host_table::HostsLine>),
    /// As the node of this number has them, from what all of its slice share.
    Of(HostTable, u32),
}

impl Inside {
    /// With all lines.
    pub(crate) fn whole(&self) -> Desired {
        let mut desired = self.desired.clone();
        let lines = match &self.names {
            Names::Spelled(lines) => lines.clone(),
            Names::Of(table, node) => table.lines_for(*node),
        };
        let line = |line: host_table::HostsLine| HostsLine { address: line.address, names: line.names };
        desired.hosts.extend(lines.into_iter().map(line));
        desired
    }
}

impl Names {
    /// Whether a node's own bare name is among them.
    pub(crate) fn have(&self, own: &str) -> bool {
        match self {
            Self::Spelled(lines) => lines.iter().any(|line| line.names.iter().any(|name| name == own)),
            Self::Of(table, node) => table.has_bare(*node),
        }
    }
}

impl From<Desired> for Inside {
    fn from(desired: Desired) -> Self {
        Self { desired, names: Names::Spelled(Vec::new()) }
    }
}

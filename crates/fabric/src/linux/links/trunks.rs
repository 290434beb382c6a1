//! Tunnels to other hosts: made in the host's namespace, which they send and receive in, and born in the slice's.
//!
//! What is for one Ethernet address goes to the host that it was last heard from; all else to each host that has interfaces on
//! the link, and to no other.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsRawFd as _, RawFd};

use nix::errno::Errno;

use super::layout::{Layout, Trunk};
use crate::FabricError;
use crate::linux::interface::{kernel, refused};
use crate::netlink::{Change, ChangeError, Lead, Link, LinkRef, Mac, Routing, Rtnetlink};

/// The host's namespace, from where the slice's is.
#[derive(Debug)]
pub(super) struct Outside<R> {
    pub(super) kernel: R,
    /// The slice's namespace.
    pub(super) space: RawFd,
}

impl Outside<Rtnetlink> {
    /// With the calling thread in the host's namespace.
    pub(super) fn of(space: &File) -> Result<Self, FabricError> {
        let kernel = Rtnetlink::open().map_err(|r| kernel("opening a socket in the host's namespace", &r))?;
        Ok(Self { kernel, space: space.as_raw_fd() })
    }
}

/// Makes those that are not there; what is there has the right number and address, or another name.
pub(super) fn make<R: Routing>(
    layout: &Layout,
    there: &HashMap<String, Link>,
    outside: &mut Outside<R>,
) -> Result<(), FabricError> {
    let lacking = layout.trunks.iter().filter(|(name, _)| !there.contains_key(*name));
    for (name, trunk) in lacking {
        let Trunk { vni, local, port, mtu, .. } = *trunk;
        let (name, netns) = (name.clone(), outside.space);
        let creation = Change::CreateTunnel { name, vni, local, port, mtu, netns };
        outside.kernel.apply(&[creation]).map_err(|error| explained(error, trunk))?;
    }
    Ok(())
}

/// Has each lead to its peers and nowhere else.
pub(super) fn lead(
    layout: &Layout,
    there: &HashMap<String, Link>,
    host: &mut impl Routing,
) -> Result<(), FabricError> {
    if layout.trunks.is_empty() {
        return Ok(());
    }
    let seen = host.leads().map_err(|r| kernel("listing where the slice's tunnels lead", &r))?;
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for (name, trunk) in &layout.trunks {
        let Some(index) = there.get(name).map(|link| link.index) else { continue };
        let own: Vec<&Lead> = seen.iter().filter(|lead| lead.index == index).collect();
        let leads_to = |peer| own.iter().any(|lead| lead.mac == Mac::ZERO && lead.to == peer);
        new.extend(
            trunk.peers.iter().filter(|peer| !leads_to(**peer)).map(|to| Change::Lead { index, to: *to }),
        );
        // Also what it has learned of hosts that are no peers any more.
        old.extend(own.into_iter().filter(|lead| !trunk.peers.contains(&lead.to)).copied());
    }
    host.apply(&new).map_err(refused)?;
    for lead in old {
        match host.apply(&[Change::NoLead { lead }]) {
            // It has forgotten it by itself.
            Err(error) if error.refusal.errno != Errno::ENOENT => return Err(refused(error)),
            _ => {}
        }
    }
    Ok(())
}

/// What bridges' tunnels lack: their names for people, size, being on. Those of cables are joined as gates.
pub(super) fn lacking(layout: &Layout, there: &HashMap<String, Link>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, trunk) in &layout.trunks {
        let link = || LinkRef::Name(name.clone());
        let seen = there.get(name);
        if seen.is_none_or(|seen| seen.alias != trunk.alias) {
            changes.push(Change::Alias { link: link(), text: trunk.alias.clone() });
        }
        if trunk.bridge.is_some() {
            super::shared::carries(name, trunk.mtu, seen, &mut changes);
        }
    }
    changes
}

fn explained(error: ChangeError, trunk: &Trunk) -> FabricError {
    let Trunk { vni, port, .. } = trunk;
    match error.refusal.errno {
        Errno::EOPNOTSUPP => FabricError::Lacking(
            "this kernel has no VXLAN, which links to other hosts need: load the module vxlan".to_owned(),
        ),
        Errno::EEXIST => FabricError::Kernel {
            action: error.change,
            detail: format!(
                "something else on this host has VNI {vni} on UDP port {port}: give the testbed another tunnels.port"
            ),
        },
        _ => refused(error),
    }
}

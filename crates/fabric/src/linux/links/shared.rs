//! What the nodes of a slice share: bridges, ways to them, and how gates that are there are joined.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use testyard_model::id::SliverId;

use super::Room;
use super::layout::{Gate, Joint, Layout};
use super::names::LETTERS;
use super::netem::Found;
use crate::FabricError;
use crate::linux::interface::{kernel, refused};
use crate::netlink::{Change, Link, LinkRef, Peer, Routing, bpf};

/// The group of what goes together. Nobody else makes interfaces in a slice's namespace.
const DOOMED: u32 = 1;

/// Makes the namespace so. The calling thread is in it.
pub(super) fn make(room: &mut Room, host: &mut impl Routing) -> Result<(), FabricError> {
    let mut there = list(host)?;
    let stale = stale(&room.layout, &there);
    for name in &stale {
        remove(host, name)?;
        there.remove(name);
    }
    let missing = missing(&room.layout, &there);
    if !missing.is_empty() || !stale.is_empty() {
        host.apply(&missing).map_err(refused)?;
        there = list(host)?;
        host.apply(&ways(&room.layout, &there)).map_err(refused)?;
    }
    let indices: BTreeSet<u32> = there.values().map(|link| link.index).collect();
    room.redirects.retain(|index, _| indices.contains(index));
    // Once we know that there are none, nobody but us makes any.
    if room.layout.has_netem() || room.netems.as_ref().is_none_or(|found| !found.is_empty()) {
        let seen = host.disciplines().map_err(|r| kernel("listing the slice's disciplines", &r))?;
        let found = indices.iter().map(|index| (*index, Found::at(*index, &seen)));
        room.netems = Some(found.filter(|(_, found)| *found != Found::Nothing).collect());
    }
    let gates: Vec<(String, Gate)> =
        room.layout.gates.iter().map(|(name, gate)| (name.clone(), gate.clone())).collect();
    join(room, host, &there, &gates)
}

/// Joins the links that a node is on; `there` are the interfaces that have to do with them.
pub(super) fn join_node(room: &mut Room, host: &mut impl Routing, node: SliverId) -> Result<(), FabricError> {
    let gates: Vec<(String, Gate)> =
        room.layout.joints_of(node).map(|(name, gate)| (name.clone(), gate.clone())).collect();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (name, gate) in &gates {
        names.insert(name);
        match &gate.joint {
            Joint::Redirect(other) | Joint::Bridge(other) => {
                names.insert(other);
            }
            Joint::Loose | Joint::Wire => {}
        }
    }
    let mut there = HashMap::new();
    for name in names {
        if let Some(link) = host.link(name).map_err(|r| kernel(&format!("looking for {name}"), &r))? {
            there.insert(name.to_owned(), link);
        }
    }
    join(room, host, &there, &gates)
}

fn list(host: &mut impl Routing) -> Result<HashMap<String, Link>, FabricError> {
    let links = host.links().map_err(|r| kernel("listing the slice's interfaces", &r))?;
    Ok(links.into_iter().map(|link| (link.name.clone(), link)).collect())
}

/// What is ours by its name, and not wanted.
fn stale(layout: &Layout, there: &HashMap<String, Link>) -> Vec<String> {
    let peers: BTreeSet<&str> = layout.stubs.values().map(|stub| stub.peer.as_str()).collect();
    let wanted = |name: &str| {
        layout.gates.contains_key(name) || layout.bridges.contains_key(name) || peers.contains(name)
    };
    there.keys().filter(|name| name.starts_with(LETTERS) && !wanted(name)).cloned().collect()
}

/// Bridges and stubs that are to be made.
fn missing(layout: &Layout, there: &HashMap<String, Link>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, bridge) in layout.bridges.iter().filter(|(name, _)| !there.contains_key(*name)) {
        let link = LinkRef::Name(name.clone());
        changes.extend([
            Change::CreateBridge { name: name.clone(), mtu: bridge.mtu },
            Change::Alias { link: link.clone(), text: bridge.alias.clone() },
            Change::Up { link },
        ]);
    }
    for (name, stub) in layout.stubs.iter().filter(|(name, _)| !there.contains_key(*name)) {
        let peer = Peer { name: stub.peer.clone(), mac: None, netns: None };
        changes.push(Change::CreateVeth { name: name.clone(), mac: None, mtu: stub.mtu, group: 0, peer });
        for name in [name, &stub.peer] {
            changes.push(Change::Up { link: LinkRef::Name(name.clone()) });
        }
    }
    changes
}

/// The bridges' ports on the way to what impairs.
fn ways(layout: &Layout, there: &HashMap<String, Link>) -> Vec<Change> {
    let master = |stub: &super::layout::Stub| {
        let (peer, bridge) = (there.get(&stub.peer)?, there.get(&stub.bridge)?);
        let link = LinkRef::Index(peer.index);
        (peer.master != bridge.index).then_some(Change::Master { link, bridge: Some(bridge.index) })
    };
    layout.stubs.values().filter_map(master).collect()
}

fn join(
    room: &mut Room,
    host: &mut impl Routing,
    there: &HashMap<String, Link>,
    gates: &[(String, Gate)],
) -> Result<(), FabricError> {
    let mut changes = Vec::new();
    let mut redirects = Vec::new();
    for (name, gate) in gates {
        let Some(link) = there.get(name) else { continue };
        let to = match &gate.joint {
            Joint::Redirect(other) => there.get(other).map(|other| other.index),
            Joint::Loose | Joint::Bridge(_) | Joint::Wire => None,
        };
        let bridge = match &gate.joint {
            Joint::Bridge(bridge) => there.get(bridge).map(|bridge| bridge.index),
            Joint::Loose | Joint::Redirect(_) | Joint::Wire => None,
        };
        let reference = || LinkRef::Index(link.index);
        // Away from the old joint first: what is joined twice sends every frame twice.
        if link.master != bridge.unwrap_or(0) {
            changes.push(Change::Master { link: reference(), bridge });
        }
        if link.mtu != gate.mtu {
            changes.push(Change::Mtu { link: reference(), mtu: gate.mtu });
        }
        if room.redirects.get(&link.index) != Some(&to) {
            redirects.push((link.index, to));
        }
        if link.up != gate.up {
            changes.push(if gate.up {
                Change::Up { link: reference() }
            } else {
                Change::Down { link: reference() }
            });
        }
        // Before frames are led there.
        impair(room, host, link.index, gate)?;
    }
    for (index, to) in redirects {
        redirect(host, index, to)?;
        room.redirects.insert(index, to);
    }
    host.apply(&changes).map_err(refused)
}

/// Has netem do this at a gate, or nothing.
fn impair(room: &mut Room, host: &mut impl Routing, index: u32, gate: &Gate) -> Result<(), FabricError> {
    let netems = room.netems.get_or_insert_default();
    let found = netems.get(&index).copied().unwrap_or_default();
    match &gate.netem {
        Some(tree) => {
            // Alone: tables of jitter are long, and a datagram is not.
            let changes = tree.changes(index, found);
            if !changes.is_empty() {
                netems.insert(index, Found::Part);
                host.apply(&changes).map_err(refused)?;
                netems.insert(index, tree.found());
            }
        }
        None if found != Found::Nothing => {
            match host.apply(&[Change::NoDisciplines { index }]) {
                Err(error) if error.refusal.errno != Errno::ENOENT => return Err(refused(error)),
                _ => {}
            }
            netems.remove(&index);
        }
        None => {}
    }
    Ok(())
}

fn redirect(host: &mut impl Routing, index: u32, to: Option<u32>) -> Result<(), FabricError> {
    let Some(to) = to else {
        return match host.apply(&[Change::NoRedirect { index }]) {
            // There was none.
            Err(error) if matches!(error.refusal.errno, Errno::ENOENT | Errno::EINVAL) => Ok(()),
            other => other.map_err(refused),
        };
    };
    let program = bpf::redirect_to(to).map_err(|r| kernel("loading the program that joins two links", &r))?;
    host.apply(&[Change::Classify { index }, Change::Redirect { index, to, program: program.as_raw_fd() }])
        .map_err(refused)
}

/// Removes all that is ours at once, which takes the kernel little longer than one interface does.
pub(super) fn clear(host: &mut impl Routing) -> Result<(), FabricError> {
    loop {
        let there = list(host)?;
        let ours = there.values().filter(|link| link.name.starts_with(LETTERS));
        let doom = |link: &Link| Change::Group { link: LinkRef::Index(link.index), group: DOOMED };
        let mut changes: Vec<Change> = ours.map(doom).collect();
        if changes.is_empty() {
            return Ok(());
        }
        changes.push(Change::DeleteGroup { group: DOOMED });
        match host.apply(&changes) {
            // A node that ended meanwhile has taken its halves away: there are fewer at the next look.
            Err(error) if error.refusal.errno == Errno::ENODEV => {}
            other => return other.map_err(refused),
        }
    }
}

/// Removes an interface; gone already is fine.
pub(super) fn remove(host: &mut impl Routing, name: &str) -> Result<(), FabricError> {
    match host.apply(&[Change::DeleteLink { name: name.to_owned() }]) {
        Err(error) if error.refusal.errno != Errno::ENODEV => Err(refused(error)),
        _ => Ok(()),
    }
}

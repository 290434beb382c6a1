//! What the nodes of a slice share: bridges, ways to them, and how gates that are there are joined.

use std::collections::{BTreeSet, HashMap};

use nix::errno::Errno;
use testyard_model::id::SliverId;

use super::Room;
use super::layout::{Gate, Joint, Layout};
use super::names::LETTERS;
use super::netem::Found;
use super::trunks::{self, Outside};
use crate::FabricError;
use crate::linux::interface::{kernel, refused};
use crate::linux::joining::redirect;
use crate::netlink::{Change, ChangeError, Link, LinkRef, Peer, Routing};

/// The group of what goes together. Nobody else makes interfaces in a slice's namespace.
const DOOMED: u32 = 1;

/// Makes the namespace so. The calling thread is in it.
pub(super) fn make<R: Routing>(
    room: &mut Room,
    host: &mut impl Routing,
    outside: &mut Outside<R>,
) -> Result<(), FabricError> {
    let mut there = list(host)?;
    let stale = stale(&room.layout, &there);
    for name in &stale {
        remove(host, name)?;
        there.remove(name);
    }
    // By what is there, step by step: whoever made it may have been killed after any of them.
    trunks::make(&room.layout, &there, outside)?;
    let lacking = lacking(&room.layout, &there);
    if !lacking.is_empty() {
        host.apply(&lacking).map_err(refused)?;
        there = list(host)?;
    }
    trunks::lead(&room.layout, &there, host)?;
    host.apply(&ways(&room.layout, &there)).map_err(refused)?;
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
        layout.gates.contains_key(name)
            || layout.bridges.contains_key(name)
            || layout.trunks.contains_key(name)
            || peers.contains(name)
    };
    there.keys().filter(|name| name.starts_with(LETTERS) && !wanted(name)).cloned().collect()
}

/// What bridges and stubs lack: themselves, or what they should be. A stub's own half is a gate, and joined as such.
fn lacking(layout: &Layout, there: &HashMap<String, Link>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (name, bridge) in &layout.bridges {
        if !there.contains_key(name) {
            changes.push(Change::CreateBridge { name: name.clone(), mtu: bridge.mtu });
        }
        if there.get(name).is_none_or(|there| there.alias != bridge.alias) {
            let link = LinkRef::Name(name.clone());
            changes.push(Change::Alias { link, text: bridge.alias.clone() });
        }
        carries(name, bridge.mtu, there.get(name), &mut changes);
    }
    for (name, stub) in &layout.stubs {
        if !there.contains_key(name) {
            let peer = Peer { name: stub.peer.clone(), mac: None, netns: None };
            changes.push(Change::CreateVeth { name: name.clone(), mac: None, mtu: stub.mtu, group: 0, peer });
        }
        carries(&stub.peer, stub.mtu, there.get(&stub.peer), &mut changes);
    }
    changes.extend(trunks::lacking(layout, there));
    changes
}

/// Has an interface, which may be new, carry frames of this size.
pub(super) fn carries(name: &str, mtu: u32, there: Option<&Link>, changes: &mut Vec<Change>) {
    let link = || LinkRef::Name(name.to_owned());
    if there.is_some_and(|there| there.mtu != mtu) {
        changes.push(Change::Mtu { link: link(), mtu });
    }
    if !there.is_some_and(|there| there.up) {
        changes.push(Change::Up { link: link() });
    }
}

/// The bridges' ports on the way to what impairs, and to other hosts.
fn ways(layout: &Layout, there: &HashMap<String, Link>) -> Vec<Change> {
    let master = |(port, bridge): (&String, &String)| {
        let (port, bridge) = (there.get(port)?, there.get(bridge)?);
        let link = LinkRef::Index(port.index);
        (port.master != bridge.index).then_some(Change::Master { link, bridge: Some(bridge.index) })
    };
    let stubs = layout.stubs.values().map(|stub| (&stub.peer, &stub.bridge));
    let trunks = layout.trunks.iter().filter_map(|(name, trunk)| Some((name, trunk.bridge.as_ref()?)));
    stubs.chain(trunks).filter_map(master).collect()
}

/// A half that a node takes away meanwhile is joined when its next one is made.
fn join(
    room: &mut Room,
    host: &mut impl Routing,
    there: &HashMap<String, Link>,
    gates: &[(String, Gate)],
) -> Result<(), FabricError> {
    let mut joining: Vec<Joining<'_>> =
        gates.iter().filter_map(|(name, gate)| Some(Joining::of(there.get(name)?, gate, there))).collect();
    // In three rounds: a gate impairs before frames are led there, and carries none before they have a way out.
    still_there(&mut joining, |joining| impair(room, host, joining.index, joining.gate))?;
    still_there(&mut joining, |joining| {
        if room.redirects.get(&joining.index) != Some(&joining.to) {
            redirect(host, joining.index, joining.to)?;
            room.redirects.insert(joining.index, joining.to);
        }
        Ok(())
    })?;
    still_there(&mut joining, |joining| host.apply(&joining.changes))
}

/// What is to be done at a gate.
struct Joining<'a> {
    index: u32,
    gate: &'a Gate,
    /// Where what comes in goes.
    to: Option<u32>,
    changes: Vec<Change>,
}

impl<'a> Joining<'a> {
    fn of(link: &Link, gate: &'a Gate, there: &HashMap<String, Link>) -> Self {
        let index_of = |name: &String| there.get(name).map(|other| other.index);
        let (to, bridge) = match &gate.joint {
            Joint::Redirect(other) => (index_of(other), None),
            Joint::Bridge(bridge) => (None, index_of(bridge)),
            Joint::Loose | Joint::Wire => (None, None),
        };
        let reference = || LinkRef::Index(link.index);
        let mut changes = Vec::new();
        // Away from the old joint first: what is joined twice sends every frame twice.
        if link.master != bridge.unwrap_or(0) {
            changes.push(Change::Master { link: reference(), bridge });
        }
        if link.mtu != gate.mtu {
            changes.push(Change::Mtu { link: reference(), mtu: gate.mtu });
        }
        if link.up != gate.up {
            changes.push(if gate.up {
                Change::Up { link: reference() }
            } else {
                Change::Down { link: reference() }
            });
        }
        Self { index: link.index, gate, to, changes }
    }
}

/// Does something at each gate, and goes on without those that have gone.
fn still_there<'a>(
    joining: &mut Vec<Joining<'a>>,
    mut work: impl FnMut(&Joining<'a>) -> Result<(), ChangeError>,
) -> Result<(), FabricError> {
    let mut failed = None;
    joining.retain(|one| match work(one) {
        Ok(()) => true,
        Err(error) => {
            if error.refusal.errno != Errno::ENODEV {
                failed.get_or_insert(error);
            }
            false
        }
    });
    failed.map_or(Ok(()), |error| Err(refused(error)))
}

/// Has netem do this at a gate, or nothing.
fn impair(room: &mut Room, host: &mut impl Routing, index: u32, gate: &Gate) -> Result<(), ChangeError> {
    let netems = room.netems.get_or_insert_default();
    let found = netems.get(&index).copied().unwrap_or_default();
    match &gate.netem {
        Some(tree) => {
            // Alone: tables of jitter are long, and a datagram is not.
            let changes = tree.changes(index, found);
            if !changes.is_empty() {
                netems.insert(index, Found::Part);
                host.apply(&changes)?;
                netems.insert(index, tree.found());
            }
        }
        None if found != Found::Nothing => {
            match host.apply(&[Change::NoDisciplines { index }]) {
                Err(error) if error.refusal.errno != Errno::ENOENT => return Err(error),
                _ => {}
            }
            netems.remove(&index);
        }
        None => {}
    }
    Ok(())
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

#[cfg(test)]
mod tests;

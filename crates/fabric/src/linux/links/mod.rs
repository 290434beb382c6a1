//! [`Links`](crate::Links) on Linux.
//!
//! ```text
//!   node              slice's fabric namespace ([space])              node
//!  ┌──────┐ veth ┌──────────────────────────────────────────┐ veth ┌──────┐
//!  │ eth1 ┼──────┼ half ── redirect, bridge or wire ── half ┼──────┼ eth1 │
//!  └──────┘      └──────────────────────────────────────────┘      └──────┘
//! ```
//!
//! [`layout`] says what should be in the namespace, [`shared`] makes what all nodes share, [`trunks`] the ways to other hosts, [`plug`] a node's interfaces,
//! [`furnish`] what the node has of them.
//! [`choice`] says what impairs: [`netem`] in the kernel, or [`wire`], which keeps the process that does. [`capture`] listens at
//! halves, [`kept`] writes what it hears to files. A node's end takes its own halves away and nothing else.

mod capture;
mod choice;
mod contract;
mod ends;
mod furnish;
mod kept;
mod layout;
mod names;
mod netem;
mod plug;
mod shared;
mod space;
mod traffic;
mod trunks;
mod wire;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use testyard_capture::filter::Program;
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_wire::Desired;

use super::interface::kernel;
use super::namespace;
use crate::capture::{CaptureError, CaptureRequest, CaptureStream, CapturedLinks};
use crate::links::{HostLink, LinkTraffic, NodePorts, SliceLinks};
use crate::netlink::{Routing as _, Rtnetlink};
use crate::{FabricConfig, FabricError, Repair};
use capture::{Budget, Captures};
use choice::Chooser;
pub(crate) use ends::Ends;
pub(crate) use kept::Kept;
use layout::Layout;
use netem::{Counted, Found};
use space::{Space, Spaces};
use trunks::Outside;
use wire::Wire;

/// The links of all slices of one testbed on this host. Everything here runs on a thread of the fabric's.
#[derive(Debug)]
pub(crate) struct Rooms {
    spaces: Spaces,
    /// The program that a wire is, with its first arguments.
    wire: Vec<OsString>,
    chooser: Chooser,
    /// What captures of all rooms may hold.
    budget: Arc<Budget>,
    rooms: Mutex<HashMap<SliceId, Arc<Place>>>,
}

/// Where one slice's room is.
#[derive(Debug)]
struct Place {
    /// Nodes are plugged at the same time, and none while the slice parts: it would keep what nobody finds any more.
    stays: RwLock<()>,
    room: Mutex<Room>,
}

/// One slice's.
#[derive(Debug)]
struct Room {
    space: Space,
    revision: Revision,
    links: Vec<HostLink>,
    layout: Layout,
    /// By the index of a half: where what comes in at it goes, as far as this process knows.
    redirects: HashMap<u32, Option<u32>>,
    /// By the index of a gate: what netem does there, as far as this process knows; none if it has not looked yet.
    netems: Option<HashMap<u32, Found>>,
    wire: Wire,
    captures: Captures,
    /// Whether a node forwards, as far as this process has told it.
    forwarding: HashMap<SliverId, bool>,
}

impl Rooms {
    pub(crate) fn new(config: &FabricConfig) -> Self {
        Self {
            spaces: Spaces::new(&config.run, &config.instance),
            wire: config.wire.clone(),
            chooser: Chooser::new(config.emulator, config.tunnel_port),
            budget: Budget::of_this_machine(),
            rooms: Mutex::default(),
        }
    }

    /// Gives the socket of the slice's wire, if there is one: its end is to be noticed.
    pub(crate) fn join(&self, wanted: &SliceLinks) -> Result<Option<PathBuf>, FabricError> {
        let place = self.place(wanted.slice);
        let mut room = place.room();
        if wanted.revision < room.revision {
            return Ok(None);
        }
        if room.links != wanted.links {
            room.layout = self.chooser.layout(&wanted.links)?;
            room.links.clone_from(&wanted.links);
        }
        room.revision = wanted.revision;
        room.converge(&self.wire)
    }

    /// Gives the socket of the slice's wire, if it is another than before: its end is to be noticed.
    pub(crate) fn plug(
        &self,
        slice: SliceId,
        ports: &NodePorts,
        netns: &File,
    ) -> Result<Option<PathBuf>, FabricError> {
        let place = self.place(slice);
        let _stays = place.stays.read().unwrap_or_else(PoisonError::into_inner);
        // Only `join` makes one: a node that comes late to a slice that has parted must not leave one behind.
        let space = place.room().space.open()?;
        match space {
            Some(space) => plug::plug(&place.room, ports, &space, netns)?,
            None if ports.ports.is_empty() => return Ok(None),
            None => return Err(FabricError::NotJoined { slice }),
        }
        let mut room = place.room();
        if !plug::has_wire(&room, ports.node) || room.wire.look() {
            return Ok(None);
        }
        // It has ended, or another answers that has been told nothing yet.
        room.converge(&self.wire)
    }

    pub(crate) fn part(&self, slice: SliceId) -> Result<(), FabricError> {
        let place = self.place(slice);
        let _parts = place.stays.write().unwrap_or_else(PoisonError::into_inner);
        {
            let mut room = place.room();
            let space = room.space.clone();
            room.wire.stop(&space)?;
            // Their sockets would keep the namespace, and with it the nodes' interfaces.
            room.captures.end();
            // The kernel would get to it by itself, in its own time: who is told that links are gone finds them gone.
            if let Some(file) = space.open()? {
                inside(&file, shared::clear)?;
            }
            space.remove()?;
            (room.links, room.layout) = Default::default();
            room.redirects.clear();
            room.forwarding.clear();
            room.netems = None;
        }
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).remove(&slice);
        Ok(())
    }

    pub(crate) fn joined(&self) -> Result<Vec<SliceId>, FabricError> {
        self.spaces.all()
    }

    /// As they were last wanted.
    pub(crate) fn links(&self, slice: SliceId) -> Vec<HostLink> {
        self.known(slice).map(|place| place.room().links.clone()).unwrap_or_default()
    }

    /// Starts wires again that have ended, and gives their sockets; and the first reason why one could not be.
    pub(crate) fn repair(&self) -> (Vec<(Repair, PathBuf)>, Option<FabricError>) {
        let places: Vec<_> = {
            let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.iter().map(|(slice, place)| (*slice, Arc::clone(place))).collect()
        };
        let (mut repairs, mut failed) = (Vec::new(), None);
        for (slice, place) in places {
            let mut room = place.room();
            if room.layout.pipes.is_empty() || !room.wire.is_gone() {
                continue;
            }
            // One slice's trouble is no other's.
            match room.converge(&self.wire) {
                Ok(socket) => repairs.extend(socket.map(|socket| (Repair::Wire(slice), socket))),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        (repairs, failed)
    }

    pub(crate) fn traffic(&self, slice: SliceId) -> Result<Vec<LinkTraffic>, FabricError> {
        let place = self.place(slice);
        let mut room = place.room();
        let mut all = room.queued()?;
        if !room.layout.pipes.is_empty() {
            let space = room.space.clone();
            let observed = room.wire.observe(&space)?;
            all.extend(room.layout.piped(&observed));
        }
        Ok(all)
    }

    pub(crate) fn capture(
        &self,
        slice: SliceId,
        request: CaptureRequest,
        program: Program,
    ) -> Result<CaptureStream, CaptureError> {
        let place = self.known(slice).ok_or(CaptureError::NotJoined { slice })?;
        let mut room = place.room();
        let Some(space) = room.space.open()? else { return Err(CaptureError::NotJoined { slice }) };
        if let CapturedLinks::One(link) = request.links
            && !request.is_among(&room.links)
        {
            return Err(CaptureError::NoLink { slice, link });
        }
        let Room { captures, links, .. } = &mut *room;
        let beginning = inside(&space, |host| Ok(captures.prepare(slice, request, program, links, host)))??;
        Ok(captures.begin(beginning)?)
    }

    /// Ends the links of all slices.
    pub(crate) fn reset(&self) -> Result<(), FabricError> {
        self.joined()?.into_iter().try_for_each(|slice| self.part(slice))
    }

    fn known(&self, slice: SliceId) -> Option<Arc<Place>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).get(&slice).cloned()
    }

    fn place(&self, slice: SliceId) -> Arc<Place> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let room = Mutex::new(Room::of(self.spaces.of(slice), Arc::clone(&self.budget)));
            Arc::new(Place { stays: RwLock::default(), room })
        };
        Arc::clone(rooms.entry(slice).or_insert_with(new))
    }
}

impl Place {
    fn room(&self) -> MutexGuard<'_, Room> {
        lock(&self.room)
    }
}

impl Room {
    fn of(space: Space, budget: Arc<Budget>) -> Self {
        Self {
            space,
            revision: Revision(0),
            links: Vec::new(),
            layout: Layout::default(),
            redirects: HashMap::new(),
            netems: None,
            wire: Wire::default(),
            captures: Captures::new(budget),
            forwarding: HashMap::new(),
        }
    }

    /// Makes everything so that does not need a node's namespace. Gives the socket of the wire, if there is one.
    fn converge(&mut self, wire: &[OsString]) -> Result<Option<PathBuf>, FabricError> {
        let (space, is_new) = self.space.ensure()?;
        if is_new {
            // One that is still there is of another namespace, which nobody finds any more.
            self.wire.stop(&self.space)?;
        }
        let mut outside = Outside::of(&space)?;
        inside(&space, |host| {
            shared::make(self, host, &mut outside)?;
            self.captures.follow(&self.links, host);
            Ok(())
        })?;
        let space = self.space.clone();
        if self.layout.pipes.is_empty() {
            return self.wire.stop(&space).map(|()| None);
        }
        let desired = Desired { revision: self.revision.0, pipes: self.layout.pipes.clone() };
        self.wire.apply(&space, wire, &desired).map(|()| Some(space.socket()))
    }

    /// What netem has let pass.
    fn queued(&self) -> Result<Vec<LinkTraffic>, FabricError> {
        let space = self.space.open()?.filter(|_| self.layout.has_netem());
        let Some(space) = space else { return Ok(Vec::new()) };
        let (there, seen) = inside(&space, |links| {
            let there = links.links().map_err(|r| kernel("listing the slice's interfaces", &r))?;
            let seen = links.disciplines().map_err(|r| kernel("listing the slice's disciplines", &r))?;
            Ok((there, seen))
        })?;
        let indices: HashMap<&str, u32> = there.iter().map(|link| (link.name.as_str(), link.index)).collect();
        Ok(self.layout.queued(|gate| Counted::at(*indices.get(gate)?, &seen)))
    }
}

/// Work in a slice's namespace; the calling thread is at home before and after.
fn inside<T>(
    space: &File,
    work: impl FnOnce(&mut Rtnetlink) -> Result<T, FabricError>,
) -> Result<T, FabricError> {
    let home = namespace::current().map_err(|error| entering("the host's namespace", &error))?;
    namespace::enter(space).map_err(|error| entering("the slice's namespace", &error))?;
    let done = Rtnetlink::open()
        .map_err(|refusal| kernel("opening a socket in the slice's namespace", &refusal))
        .and_then(|mut links| work(&mut links));
    namespace::enter(&home).map_err(|error| entering("the host's namespace", &error))?;
    done
}

/// A panic elsewhere leaves at worst a mirror that differs from the kernel, which the next convergence mends.
fn lock(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

fn entering(what: &str, error: &std::io::Error) -> FabricError {
    FabricError::Kernel { action: format!("entering {what}"), detail: error.to_string() }
}

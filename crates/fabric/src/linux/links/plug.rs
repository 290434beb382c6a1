//! A node's interfaces on links.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::Mutex;

use ipnet::IpNet;
use nix::errno::Errno;
use testyard_model::id::SliverId;

use super::furnish::furnish;
use super::layout::{Gate, Joint};
use super::{Room, entering, lock, names, shared};
use crate::FabricError;
use crate::links::{NodePort, NodePorts, PortId};
use crate::linux::interface::{kernel, refused};
use crate::linux::namespace;
use crate::linux::settings::Settings;
use crate::netlink::ethtool::{self, Ethtool};
use crate::netlink::{Change, ChangeError, LinkRef, Mac, Peer, Refusal, Routing, Rtnetlink};

/// How often an interface is made again whose old half has not quite gone.
const TRIES: u32 = 5;

/// Makes the interfaces so, and joins them. The calling thread ends up in one of the namespaces. What the slice shares is
/// touched only in between, so several nodes are plugged at a time.
pub(super) fn plug(
    room: &Mutex<Room>,
    ports: &NodePorts,
    space: &File,
    netns: &File,
) -> Result<(), FabricError> {
    let mut plugging = Plugging::open(room, ports, space, netns)?;
    loop {
        let Err(error) = plugging.attempt() else { return Ok(()) };
        // It may be about an interface whose link was taken away just now: the others are made without it.
        plugging.enter_space()?;
        if !plugging.leave_gone(&lock(room))? {
            return Err(error);
        }
    }
}

/// A node that is being plugged.
struct Plugging<'a> {
    room: &'a Mutex<Room>,
    space: &'a File,
    netns: &'a File,
    /// Changes the slice's namespace, from wherever.
    host: Rtnetlink,
    /// Changes the node's.
    node: Rtnetlink,
    /// Those whose links are still there.
    ports: NodePorts,
    /// Whether any of them was made here.
    is_new: bool,
}

impl<'a> Plugging<'a> {
    /// In the slice's namespace.
    fn open(
        room: &'a Mutex<Room>,
        ports: &NodePorts,
        space: &'a File,
        netns: &'a File,
    ) -> Result<Self, FabricError> {
        enter_node(netns)?;
        let node = Rtnetlink::open().map_err(|r| kernel("opening a socket in the node", &r))?;
        enter_space(space)?;
        let host = Rtnetlink::open().map_err(|r| kernel("opening a socket in the slice's namespace", &r))?;
        Ok(Self { room, space, netns, host, node, ports: ports.clone(), is_new: false })
    }

    fn enter_space(&self) -> Result<(), FabricError> {
        enter_space(self.space)
    }

    /// From the slice's namespace to the node's and back. What is so already stays.
    fn attempt(&mut self) -> Result<(), FabricError> {
        self.make_pairs()?;
        let forwarded = self.join()?;
        enter_node(self.netns)?;
        self.set(forwarded)?;
        let devices = furnish(&self.ports, &mut self.node)?;
        uncut(devices.values().map(|link| link.index));
        settle(devices.values().map(|link| link.index));
        self.enter_space()?;
        let halves =
            self.ports.ports.iter().filter_map(|port| self.host.link(&half(self.ports.node, port)).ok()?);
        settle(halves.map(|link| link.index));
        lock(self.room).forwarding.insert(self.ports.node, self.ports.forwarding);
        Ok(())
    }

    fn make_pairs(&mut self) -> Result<(), FabricError> {
        let aliases = aliases(&lock(self.room), &self.ports);
        for (port, alias) in self.ports.ports.iter().zip(&aliases) {
            let made = || creation(&half(self.ports.node, port), alias, port, self.netns);
            self.is_new |= pair(self.ports.node, port, alias, &mut self.host, &mut self.node, made)?;
        }
        Ok(())
    }

    /// Gives whether the node forwards, as far as is known.
    fn join(&mut self) -> Result<Option<bool>, FabricError> {
        let mut room = lock(self.room);
        self.leave_gone(&room)?;
        let Room { captures, links, .. } = &mut *room;
        // Before they are up: a capture has them from their first frame on.
        captures.follow(links, &mut self.host);
        shared::join_node(&mut room, &mut self.host, self.ports.node)?;
        Ok(room.forwarding.get(&self.ports.node).copied())
    }

    /// In the node's namespace.
    fn set(&self, forwarded: Option<bool>) -> Result<(), FabricError> {
        let (settings, NodePorts { ports, forwarding, .. }) = (Settings::here(), &self.ports);
        if !ports.is_empty() {
            settings.switch_ipv6_on(ports.iter().flat_map(|port| &port.addresses).any(is_ipv6))?;
        }
        // Kernels give new namespaces the host's setting. What the node's user has set since then stays.
        if *forwarding || self.is_new || forwarded == Some(true) {
            settings.forward(*forwarding)?;
        }
        Ok(())
    }

    /// Links may have been taken away while their interfaces were made: those are nobody's, and go again. Whether there were any.
    fn leave_gone(&mut self, room: &Room) -> Result<bool, FabricError> {
        let node = self.ports.node;
        let is_gone = |port: &mut NodePort| !room.layout.gates.contains_key(&half(node, port));
        let gone: Vec<NodePort> = self.ports.ports.extract_if(.., is_gone).collect();
        gone.iter().try_for_each(|port| shared::remove(&mut self.host, &half(node, port)))?;
        Ok(!gone.is_empty())
    }
}

fn enter_node(netns: &File) -> Result<(), FabricError> {
    namespace::enter(netns).map_err(|error| entering("the node's namespace", &error))
}

fn enter_space(space: &File) -> Result<(), FabricError> {
    namespace::enter(space).map_err(|error| entering("the slice's namespace", &error))
}

/// The name of an interface's half in the slice's namespace.
fn half(node: SliverId, port: &NodePort) -> String {
    names::half(&PortId { node, device: port.device.clone() })
}

fn is_ipv6(address: &IpNet) -> bool {
    matches!(address, IpNet::V6(_))
}

/// What people see of the other halves, port by port.
fn aliases(room: &Room, ports: &NodePorts) -> Vec<String> {
    let alias =
        |port| room.layout.gates.get(&half(ports.node, port)).map_or(&port.device, |gate| &gate.alias);
    ports.ports.iter().map(|port| alias(port).clone()).collect()
}

/// Whether a wire impairs something of the node's.
pub(super) fn has_wire(room: &Room, node: SliverId) -> bool {
    room.layout.joints_of(node).any(|(_, gate): (&String, &Gate)| gate.joint == Joint::Wire)
}

/// A link may be impaired at any time, so the node's side cuts what a wire could not. In the calling thread's namespace.
fn uncut(links: impl Iterator<Item = u32>) {
    let Ok(Some(mut ethtool)) = Ethtool::open() else { return };
    for index in links {
        if let Err(refusal) = ethtool.switch_off(index, &ethtool::UNCUT) {
            tracing::debug!(%refusal, index, "tunnels over an impaired link may lose frames");
        }
    }
}

/// Both sides take note of their carrier at once, or the first packets are lost. In the namespace of the calling thread.
fn settle(links: impl Iterator<Item = u32>) {
    let Ok(Some(mut carrier)) = Ethtool::open() else { return };
    for index in links {
        if let Err(refusal) = carrier.settle(index) {
            tracing::debug!(%refusal, index, "the first packets of a link may be lost");
        }
    }
}

/// The veth of a port: the one that is there, or a new one. Says whether it is new.
fn pair(
    sliver: SliverId,
    port: &NodePort,
    alias: &str,
    host: &mut impl Routing,
    node: &mut impl Routing,
    creation: impl Fn() -> Vec<Change>,
) -> Result<bool, FabricError> {
    let name = half(sliver, port);
    let looking = |r: Refusal| kernel(&format!("looking for {} of the node", port.device), &r);
    let outer = host.link(&name).map_err(looking)?;
    let inner = node.link(&port.device).map_err(looking)?;
    if let (Some(outer), Some(inner)) = (&outer, &inner)
        && inner.peer == outer.index
        && outer.peer == inner.index
        && inner.mac == Some(Mac(port.mac.bytes()))
    {
        if outer.alias != alias {
            host.apply(&[aliased(&name, alias)]).map_err(refused)?;
        }
        return Ok(false);
    }
    if outer.is_some() {
        shared::remove(host, &name)?;
    } else if inner.is_some_and(|inner| inner.mac == Some(Mac(port.mac.bytes()))) {
        // Ours: its half was in a namespace of the slice that nobody finds any more.
        shared::remove(node, &port.device)?;
    }
    let mut tries = 0;
    loop {
        match host.apply(&creation()) {
            Ok(()) => return Ok(true),
            Err(ChangeError { refusal: Refusal { errno: Errno::EEXIST, .. }, .. }) if tries < TRIES => {
                // A half whose node ended just now; or an interface of the node's own making, with an address of its own.
                if host.link(&name).map_err(looking)?.is_none()
                    && node.link(&port.device).is_ok_and(|inner| inner.is_some())
                {
                    return Err(FabricError::Kernel {
                        action: format!("making {} of the node", port.device),
                        detail: "it has an interface of this name that is not ours: rename or remove it"
                            .into(),
                    });
                }
                shared::remove(host, &name)?;
                tries += 1;
            }
            Err(error) => return Err(refused(error)),
        }
    }
}

fn creation(name: &str, alias: &str, port: &NodePort, netns: &File) -> Vec<Change> {
    let netns = Some(netns.as_raw_fd());
    let peer = Peer { name: port.device.clone(), mac: Some(Mac(port.mac.bytes())), netns };
    let (name, mtu) = (name.to_owned(), u32::from(port.mtu));
    let aliased = aliased(&name, alias);
    vec![Change::CreateVeth { name, mac: None, mtu, group: 0, peer }, aliased]
}

fn aliased(name: &str, alias: &str) -> Change {
    Change::Alias { link: LinkRef::Name(name.to_owned()), text: alias.to_owned() }
}

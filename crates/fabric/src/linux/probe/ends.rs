//! The two ends of a train: sockets and counters, opened in the namespaces of the nodes.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::sched::{CloneFlags, unshare};

use super::counters::Counters;
use super::socket::{Receiver, Sender};
use crate::links::probe::{ProbeEnd, ProbePath, ProbeTrain};
use crate::linux::{namespace, open_node};
use crate::netlink::ethtool::Ethtool;
use crate::netlink::{Change, LinkRef, Peer, Routing as _, Rtnetlink};

/// Where a train begins and where it ends.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) sender: Sender,
    pub(super) sent: Counters,
    pub(super) receiver: Receiver,
    pub(super) received: Counters,
    /// Sends what makes a receiver known.
    pub(super) greeter: Option<Sender>,
}

/// An interface in a namespace.
#[derive(Debug)]
struct Place {
    netns: File,
    device: String,
}

/// What one host has of a train between two.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) counters: Counters,
}

/// Opens one end, to receive frames of this length. The calling thread ends up in its namespace. What failed, for people.
pub(super) fn half(end: &ProbeEnd, length: u16) -> Result<Half, String> {
    let place = place(end)?;
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", place.device);
    namespace::enter(&place.netns).map_err(|error| at(&error))?;
    let index = nix::net::if_::if_nametoindex(place.device.as_str());
    let index = index.map_err(|_| at(&"the node has no such interface"))?;
    let receiver = Receiver::open(index, length).map_err(|error| at(&error))?;
    let sender = Sender::open(index).map_err(|error| at(&error))?;
    let counters = Counters::open(&place.device).map_err(|error| at(&error))?;
    Ok(Half { sender, receiver, counters })
}

/// Opens both ends. The calling thread ends up in one of the namespaces. What failed, for people.
pub(super) fn open(train: &ProbeTrain) -> Result<Ends, String> {
    let [from, to] = match &train.path {
        ProbePath::Link { from, to } => [place(from)?, place(to)?],
        ProbePath::Reference => pair()?,
        ProbePath::Out { .. } | ProbePath::In { .. } | ProbePath::Clock => {
            return Err("one end is on another host".to_owned());
        }
    };
    let at = |place: &Place, error: &dyn std::fmt::Display| format!("{}: {error}", place.device);
    let enter = |place: &Place| {
        namespace::enter(&place.netns).map_err(|error| at(place, &error))?;
        nix::net::if_::if_nametoindex(place.device.as_str())
            .map_err(|_| at(place, &"the node has no such interface"))
    };
    let index = enter(&to)?;
    let receiver = Receiver::open(index, train.train.length).map_err(|error| at(&to, &error))?;
    let received = Counters::open(&to.device).map_err(|error| at(&to, &error))?;
    let greeter = train.greeting.then(|| Sender::open(index)).transpose().map_err(|error| at(&to, &error))?;
    let index = enter(&from)?;
    let sender = Sender::open(index).map_err(|error| at(&from, &error))?;
    let sent = Counters::open(&from.device).map_err(|error| at(&from, &error))?;
    Ok(Ends { sender, sent, receiver, received, greeter })
}

fn place(end: &ProbeEnd) -> Result<Place, String> {
    let netns = open_node(&end.netns, end.port.node).map_err(|error| error.to_string())?;
    Ok(Place { netns, device: end.port.device.clone() })
}

/// Two namespaces with a veth between them. They end with their last file.
fn pair() -> Result<[Place; 2], String> {
    let failed = |error: &dyn std::fmt::Display| format!("making a reference: {error}");
    let alone = |device: &str| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| failed(&error))?;
        let netns = namespace::current().map_err(|error| failed(&error))?;
        Ok::<_, String>(Place { netns, device: device.to_owned() })
    };
    let places = [alone("eth1")?, alone("eth2")?];
    let [one, other] = &places;
    let peer = Peer { name: other.device.clone(), mac: None, netns: Some(other.netns.as_raw_fd()) };
    let veth = Change::CreateVeth { name: one.device.clone(), mac: None, mtu: MTU, group: 0, peer };
    let mut changes = vec![veth];
    for place in &places {
        namespace::enter(&place.netns).map_err(|error| failed(&error))?;
        let mut links = Rtnetlink::open().map_err(|refusal| failed(&refusal))?;
        changes.push(Change::Up { link: LinkRef::Name(place.device.clone()) });
        links.apply(&changes).map_err(|error| failed(&format!("{}: {}", error.change, error.refusal)))?;
        changes.clear();
    }
    for place in &places {
        namespace::enter(&place.netns).map_err(|error| failed(&error))?;
        // The kernel makes the first half ready in its own time, and drops frames until then.
        let index = nix::net::if_::if_nametoindex(place.device.as_str()).map_err(|error| failed(&error))?;
        if let Ok(Some(mut carrier)) = Ethtool::open() {
            let _ = carrier.settle(index);
        }
    }
    Ok(places)
}

/// As links have it if nothing else is chosen.
const MTU: u32 = 1500;

//! Changes as data.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use testyard_model::tunnel::Vni;

use super::discipline::{Discipline, Queueing};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

/// How a change names its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkRef {
    Name(String),
    Index(u32),
}

/// The other half of a veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) mac: Option<Mac>,
    /// The descriptor of the network namespace that it is born in; that of the first half if none.
    pub(crate) netns: Option<i32>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Both halves at once, in their namespaces.
    CreateVeth {
        name: String,
        /// The kernel chooses one if none.
        mac: Option<Mac>,
        mtu: u32,
        group: u32,
        peer: Peer,
    },
    /// A switch that forwards all that it may: no spanning tree, no snooping.
    CreateBridge {
        name: String,
        mtu: u32,
    },
    /// A tunnel to other hosts, which sends and receives in the namespace that the change is made in.
    CreateTunnel {
        name: String,
        vni: Vni,
        local: IpAddr,
        /// Of UDP, at both ends.
        port: u16,
        mtu: u32,
        /// The descriptor of the network namespace that the link is born in.
        netns: i32,
    },
    /// Has a tunnel lead there, too: what is for everybody goes to all of these, what is for one host only there.
    Lead {
        index: u32,
        to: IpAddr,
    },
    /// Has it lead there no more, as far as this entry goes.
    NoLead {
        lead: Lead,
    },
    /// Makes a link a port of a bridge, or of none.
    Master {
        link: LinkRef,
        bridge: Option<u32>,
    },
    /// Makes a link ready for [`Change::Redirect`]; one that is stays as it is.
    Classify {
        index: u32,
    },
    /// Has what comes in at a link sent out at another: one that is there already is replaced between two frames.
    Redirect {
        index: u32,
        to: u32,
        program: i32,
    },
    /// Takes that away, and everything like it.
    NoRedirect {
        index: u32,
    },
    /// What is done to frames that leave a link, or a part of it; one that is there is changed in place.
    Discipline {
        index: u32,
        discipline: Discipline,
    },
    /// Nothing is done to them any more.
    NoDisciplines {
        index: u32,
    },
    /// The text that marks a link as ours.
    Alias {
        link: LinkRef,
        text: String,
    },
    /// No link-local address of the kernel's own making. Refused where the kernel has no IPv6.
    NoAutoAddress {
        link: LinkRef,
    },
    /// Settings of a link's IPv4, as below `/proc/sys/net/ipv4/conf`.
    Ipv4Settings {
        link: LinkRef,
        settings: Vec<(Ipv4Setting, u32)>,
    },
    /// The number that packet rules know a set of links by.
    Group {
        link: LinkRef,
        group: u32,
    },
    Mtu {
        link: LinkRef,
        mtu: u32,
    },
    Up {
        link: LinkRef,
    },
    Down {
        link: LinkRef,
    },
    DeleteLink {
        name: String,
    },
    /// All of the group, in one step.
    DeleteGroup {
        group: u32,
    },
    /// Kept as it is where it is there.
    Address {
        index: u32,
        ip: IpNet,
    },
    NoAddress {
        index: u32,
        ip: IpNet,
    },
    /// `replace` false leaves another route to the same destination alone.
    Route {
        route: Route,
        replace: bool,
    },
    NoRoute {
        route: Route,
    },
    /// For ever: no resolution.
    Neighbour {
        index: u32,
        ip: IpAddr,
        mac: Mac,
    },
    /// Whether the address is answered for on the link.
    Proxy {
        index: u32,
        ip: IpAddr,
        present: bool,
    },
}

/// The kernel's numbers (linux/ip.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ipv4Setting {
    AcceptRedirects = 4,
    SendRedirects = 6,
    ReversePathFilter = 8,
    RouteLocalnet = 26,
}

/// A link that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
    pub(crate) group: u32,
    pub(crate) up: bool,
    /// The other half's index, in its namespace.
    pub(crate) peer: u32,
    /// The bridge that it is a port of; 0 if none.
    pub(crate) master: u32,
}

/// An entry of a tunnel's table: where frames to an Ethernet address go. Those to nobody's are led to all entries of the zero
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    /// The tunnel.
    pub(crate) index: u32,
    pub(crate) mac: Mac,
    /// The other host.
    pub(crate) to: IpAddr,
}

/// A route that is there or should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: IpNet,
    /// On the link whatever its addresses say.
    pub(crate) via: Option<IpAddr>,
    pub(crate) index: u32,
    /// It has our mark, so nobody else has made it.
    pub(crate) ours: bool,
}

/// An address that a link has, beside those that the kernel gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) ip: IpNet,
}

impl Mac {
    /// Nobody's.
    pub(crate) const ZERO: Self = Self([0; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => write!(f, "link {index}"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateVeth { name, peer, .. } => {
                write!(f, "making the interfaces {name} and {}", peer.name)
            }
            Self::CreateBridge { name, .. } => write!(f, "making the bridge {name}"),
            Self::CreateTunnel { name, vni, local, port, .. } => {
                write!(f, "making the tunnel {name} (VNI {vni}, from {local}, UDP port {port})")
            }
            Self::Lead { index, to } => write!(f, "having the tunnel {index} lead to {to}"),
            Self::NoLead { lead } => {
                write!(f, "having the tunnel {} lead to {} no more", lead.index, lead.to)
            }
            Self::Master { link, bridge: Some(bridge) } => write!(f, "making {link} a port of link {bridge}"),
            Self::Master { link, bridge: None } => write!(f, "taking {link} from its bridge"),
            Self::Classify { index } => write!(f, "preparing link {index} to be joined"),
            Self::Redirect { index, to, .. } => write!(f, "joining link {index} to link {to}"),
            Self::NoRedirect { index } => write!(f, "loosening link {index}"),
            Self::Discipline { index, discipline } => {
                let kind = match discipline.does {
                    Queueing::TokenBucket(_) => "tbf",
                    Queueing::Netem(_) => "netem",
                };
                write!(f, "having {kind} (handle {:x}:) at link {index}", discipline.handle)
            }
            Self::NoDisciplines { index } => write!(f, "taking netem from link {index}"),
            Self::Alias { link, .. } => write!(f, "marking {link}"),
            Self::NoAutoAddress { link } => write!(f, "switching automatic addresses of {link} off"),
            Self::Ipv4Settings { link, .. } => write!(f, "changing IPv4 settings of {link}"),
            Self::Group { link, group } => write!(f, "putting {link} into group {group}"),
            Self::Mtu { link, mtu } => write!(f, "setting the MTU of {link} to {mtu}"),
            Self::Up { link } => write!(f, "switching {link} on"),
            Self::Down { link } => write!(f, "switching {link} off"),
            Self::DeleteLink { name } => write!(f, "removing the interface {name}"),
            Self::DeleteGroup { group } => write!(f, "removing all interfaces of group {group}"),
            Self::Address { index, ip } => write!(f, "adding the address {ip} to link {index}"),
            Self::NoAddress { index, ip } => write!(f, "taking the address {ip} from link {index}"),
            Self::NoRoute { route } => {
                write!(f, "removing the route to {} over link {}", route.to, route.index)
            }
            Self::Route { route, .. } => {
                write!(f, "adding the route to {} over link {}", route.to, route.index)
            }
            Self::Neighbour { index, ip, mac } => write!(f, "setting {ip} on link {index} to {mac}"),
            Self::Proxy { index, ip, present: true } => write!(f, "answering for {ip} on link {index}"),
            Self::Proxy { index, ip, present: false } => {
                write!(f, "no longer answering for {ip} on link {index}")
            }
        }
    }
}

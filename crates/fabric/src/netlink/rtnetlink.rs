//! [`Routing`] over the kernel's rtnetlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nix::sys::socket::SockProtocol;

use super::discipline::{self, Seen, TRAFFIC_HEADER, traffic_header};
use super::socket::{Refusal, Refused, Socket};
use super::wire::{Message, Reply, attribute, attributes, text, u32_at};
use super::{Address, Change, ChangeError, Lead, Link, LinkRef, Mac, Route, Routing};

const CREATE: u16 = libc::NLM_F_CREATE as u16;
const EXCLUSIVE: u16 = libc::NLM_F_EXCL as u16;
const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;

const LINK_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const NEIGHBOUR_HEADER: usize = 12;
const ADDRESS_HEADER: usize = 8;
/// `enum` of linux/veth.h, linux/if_link.h and linux/if_addr.h that libc does not have.
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const ROUTE_MAIN: u8 = 254;
const ROUTE_BOOT: u8 = 3;
/// A number that no routing daemon has (linux/rtnetlink.h lists them).
const ROUTE_OURS: u8 = 210;
const ROUTE_UNICAST: u8 = 1;
const SCOPE_LINK: u8 = 253;
const ROUTE_ONLINK: u32 = 4;
const FLAG_NO_DAD: u32 = 0x02;
const NEIGHBOUR_PERMANENT: u16 = 0x80;
const NEIGHBOUR_PROXY: u8 = 0x08;
/// Of the link's own table, not of the bridge's that it is a port of.
const NEIGHBOUR_SELF: u8 = 0x02;
/// linux/if_link.h, of tunnels by VXLAN.
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_PORT: u16 = 15;
const IFLA_VXLAN_LOCAL6: u16 = 17;
/// linux/if_link.h, of bridges.
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_GROUP_FWD_MASK: u16 = 9;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
/// All link-local groups but those three that the kernel keeps in any case (pause frames among them).
const ALL_GROUPS: u16 = 0xfff8;
/// linux/pkt_sched.h and linux/pkt_cls.h.
const INGRESS: u32 = 0xffff_fff1;
const INGRESS_HANDLE: u32 = 0xffff_0000;
const INGRESS_FILTERS: u32 = 0xffff_fff2;
const REDIRECT_HANDLE: u32 = 1;
/// Priority 1, and every protocol (`ETH_P_ALL`, in network order).
const REDIRECT_INFO: u32 = 1 << 16 | (0x0003_u16.to_be() as u32);
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
const ROUTE_KIND: u16 = libc::RTM_NEWROUTE;

/// The kernel of one namespace.
#[derive(Debug)]
pub(crate) struct Rtnetlink {
    socket: Socket,
}

impl Rtnetlink {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, Refusal> {
        Ok(Self { socket: Socket::open(SockProtocol::NetlinkRoute, 0)? })
    }
}

impl Routing for Rtnetlink {
    fn link(&mut self, name: &str) -> Result<Option<Link>, Refusal> {
        let ask = Message::new(libc::RTM_GETLINK, 0, &[0; LINK_HEADER])
            .text(libc::IFLA_IFNAME, name)
            .u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        Ok(self.socket.get(&ask)?.as_ref().and_then(read_link))
    }

    fn links(&mut self) -> Result<Vec<Link>, Refusal> {
        let ask = Message::new(libc::RTM_GETLINK, 0, &[0; LINK_HEADER])
            .u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        Ok(self.socket.dump(&ask)?.iter().filter_map(read_link).collect())
    }

    fn routes(&mut self) -> Result<Vec<Route>, Refusal> {
        let ask = Message::new(libc::RTM_GETROUTE, 0, &[0; ROUTE_HEADER]);
        Ok(self.socket.dump(&ask)?.iter().filter_map(read_route).collect())
    }

    fn addresses(&mut self) -> Result<Vec<Address>, Refusal> {
        let ask = Message::new(libc::RTM_GETADDR, 0, &[0; ADDRESS_HEADER]);
        Ok(self.socket.dump(&ask)?.iter().filter_map(read_address).collect())
    }

    fn proxies(&mut self) -> Result<Vec<(u32, IpAddr)>, Refusal> {
        let mut header = [0; NEIGHBOUR_HEADER];
        header[0] = libc::AF_INET6 as u8;
        header[10] = NEIGHBOUR_PROXY;
        let ask = Message::new(libc::RTM_GETNEIGH, 0, &header);
        let read = |reply: &Reply| {
            let body = reply.body.get(NEIGHBOUR_HEADER..)?;
            let proxy = reply.body[10] & NEIGHBOUR_PROXY != 0;
            let ip = attribute(body, libc::NDA_DST).and_then(read_ip)?;
            proxy.then_some((u32_at(&reply.body, 4), ip))
        };
        Ok(self.socket.dump(&ask)?.iter().filter_map(read).collect())
    }

    fn leads(&mut self) -> Result<Vec<Lead>, Refusal> {
        let ask = Message::new(libc::RTM_GETNEIGH, 0, &bridge_header(0));
        Ok(self.socket.dump(&ask)?.iter().filter_map(read_lead).collect())
    }

    fn disciplines(&mut self) -> Result<Vec<Seen>, Refusal> {
        let ask = Message::new(libc::RTM_GETQDISC, 0, &[0; TRAFFIC_HEADER]);
        Ok(self.socket.dump(&ask)?.iter().filter_map(discipline::read).collect())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), ChangeError> {
        let messages: Vec<Message> = changes.iter().map(encode).collect();
        self.socket.tell(&messages).map_err(|Refused { index, refusal }| ChangeError {
            change: changes.get(index).map(ToString::to_string).unwrap_or_default(),
            refusal,
        })
    }
}

/// The kernel's form of a change.
pub(crate) fn encode(change: &Change) -> Message {
    match change {
        Change::CreateVeth { name, mac, mtu, group, peer } => {
            Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &[0; LINK_HEADER])
                .text(libc::IFLA_IFNAME, name)
                .attr_if(libc::IFLA_ADDRESS, mac.as_ref().map(|mac| mac.0.as_slice()))
                .u32(libc::IFLA_MTU, *mtu)
                .u32(libc::IFLA_GROUP, *group)
                // Else the kernel makes a queue for each processor, and waits until all but one are gone again.
                .u32(libc::IFLA_NUM_TX_QUEUES, 1)
                .u32(libc::IFLA_NUM_RX_QUEUES, 1)
                .nest(libc::IFLA_LINKINFO, |m| {
                    m.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |m| {
                        m.nest_with(VETH_INFO_PEER, &[0; LINK_HEADER], |m| {
                            let m = m
                                .text(libc::IFLA_IFNAME, &peer.name)
                                .attr_if(libc::IFLA_ADDRESS, peer.mac.as_ref().map(|mac| mac.0.as_slice()))
                                .u32(libc::IFLA_MTU, *mtu)
                                .u32(libc::IFLA_NUM_TX_QUEUES, 1)
                                .u32(libc::IFLA_NUM_RX_QUEUES, 1);
                            match peer.netns {
                                Some(netns) => m.u32(libc::IFLA_NET_NS_FD, netns.cast_unsigned()),
                                None => m,
                            }
                        })
                    })
                })
        }
        Change::CreateBridge { name, mtu } => {
            Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &[0; LINK_HEADER])
                .text(libc::IFLA_IFNAME, name)
                .u32(libc::IFLA_MTU, *mtu)
                .nest(libc::IFLA_LINKINFO, |m| {
                    m.text(libc::IFLA_INFO_KIND, "bridge").nest(libc::IFLA_INFO_DATA, |m| {
                        m.u32(IFLA_BR_STP_STATE, 0)
                            .attr(IFLA_BR_GROUP_FWD_MASK, &ALL_GROUPS.to_ne_bytes())
                            .attr(IFLA_BR_MCAST_SNOOPING, &[0])
                    })
                })
        }
        Change::CreateTunnel { name, vni, local, port, mtu, netns } => {
            let source = if local.is_ipv4() { IFLA_VXLAN_LOCAL } else { IFLA_VXLAN_LOCAL6 };
            Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &[0; LINK_HEADER])
                .text(libc::IFLA_IFNAME, name)
                .u32(libc::IFLA_MTU, *mtu)
                .u32(libc::IFLA_NET_NS_FD, netns.cast_unsigned())
                .nest(libc::IFLA_LINKINFO, |m| {
                    m.text(libc::IFLA_INFO_KIND, "vxlan").nest(libc::IFLA_INFO_DATA, |m| {
                        m.u32(IFLA_VXLAN_ID, vni.get())
                            .attr(source, &octets(*local))
                            .attr(IFLA_VXLAN_PORT, &port.to_be_bytes())
                    })
                })
        }
        // The same entry once more changes nothing.
        Change::Lead { index, to } => {
            Message::new(libc::RTM_NEWNEIGH, CREATE | APPEND, &bridge_header(*index))
                .attr(libc::NDA_LLADDR, &Mac::ZERO.0)
                .attr(libc::NDA_DST, &octets(*to))
        }
        Change::NoLead { lead } => Message::new(libc::RTM_DELNEIGH, 0, &bridge_header(lead.index))
            .attr(libc::NDA_LLADDR, &lead.mac.0)
            .attr(libc::NDA_DST, &octets(lead.to)),
        Change::Master { link, bridge } => set_link(link, None).u32(libc::IFLA_MASTER, bridge.unwrap_or(0)),
        Change::Redirect { index, program, .. } => {
            let header = traffic_header(*index, REDIRECT_HANDLE, INGRESS_FILTERS, REDIRECT_INFO);
            Message::new(libc::RTM_NEWTFILTER, CREATE | REPLACE, &header).text(libc::TCA_KIND, "bpf").nest(
                libc::TCA_OPTIONS,
                |m| {
                    m.u32(TCA_BPF_FD, program.cast_unsigned())
                        .text(TCA_BPF_NAME, "testyard")
                        .u32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT)
                },
            )
        }
        Change::Classify { index } => {
            Message::new(libc::RTM_NEWQDISC, CREATE, &traffic_header(*index, INGRESS_HANDLE, INGRESS, 0))
                .text(libc::TCA_KIND, "ingress")
        }
        // Without a kind: it may be one of another.
        Change::NoRedirect { index } => {
            Message::new(libc::RTM_DELQDISC, 0, &traffic_header(*index, INGRESS_HANDLE, INGRESS, 0))
        }
        Change::Discipline { index, discipline } => discipline::encode(*index, discipline),
        Change::NoDisciplines { index } => discipline::removal(*index),
        Change::Alias { link, text } => set_link(link, None).attr(libc::IFLA_IFALIAS, text.as_bytes()),
        Change::NoAutoAddress { link } => set_link(link, None).nest(libc::IFLA_AF_SPEC, |m| {
            m.nest(libc::AF_INET6 as u16, |m| m.attr(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]))
        }),
        Change::Ipv4Settings { link, settings } => set_link(link, None).nest(libc::IFLA_AF_SPEC, |m| {
            m.nest(libc::AF_INET as u16, |m| {
                m.nest(IFLA_INET_CONF, |m| {
                    settings.iter().fold(m, |m, (setting, value)| m.u32(*setting as u16, *value))
                })
            })
        }),
        Change::Group { link, group } => set_link(link, None).u32(libc::IFLA_GROUP, *group),
        Change::Mtu { link, mtu } => set_link(link, None).u32(libc::IFLA_MTU, *mtu),
        Change::Up { link } => set_link(link, Some(true)),
        Change::Down { link } => set_link(link, Some(false)),
        Change::DeleteLink { name } => {
            Message::new(libc::RTM_DELLINK, 0, &[0; LINK_HEADER]).text(libc::IFLA_IFNAME, name)
        }
        Change::DeleteGroup { group } => {
            Message::new(libc::RTM_DELLINK, 0, &[0; LINK_HEADER]).u32(libc::IFLA_GROUP, *group)
        }
        Change::Address { index, ip } => address(*index, *ip),
        Change::NoAddress { index, ip } => {
            let bytes = octets(ip.addr());
            Message::new(libc::RTM_DELADDR, 0, &address_header(*index, *ip))
                .attr(libc::IFA_LOCAL, &bytes)
                .attr(libc::IFA_ADDRESS, &bytes)
        }
        Change::NoRoute { route } => set_route(libc::RTM_DELROUTE, route, 0),
        Change::Route { route, replace } => {
            set_route(ROUTE_KIND, route, if *replace { CREATE | REPLACE } else { CREATE | EXCLUSIVE })
        }
        Change::Neighbour { index, ip, mac } => Message::new(
            libc::RTM_NEWNEIGH,
            CREATE | REPLACE,
            &neighbour_header(*index, *ip, NEIGHBOUR_PERMANENT, 0),
        )
        .attr(libc::NDA_DST, &octets(*ip))
        .attr(libc::NDA_LLADDR, &mac.0),
        Change::Proxy { index, ip, present } => {
            let header = neighbour_header(*index, *ip, NEIGHBOUR_PERMANENT, NEIGHBOUR_PROXY);
            let (kind, flags) = if *present { (libc::RTM_NEWNEIGH, CREATE) } else { (libc::RTM_DELNEIGH, 0) };
            Message::new(kind, flags, &header).attr(libc::NDA_DST, &octets(*ip))
        }
    }
}

fn set_link(link: &LinkRef, up: Option<bool>) -> Message {
    let mut header = [0; LINK_HEADER];
    if let Some(up) = up {
        let flag = libc::IFF_UP as u32;
        header[8..12].copy_from_slice(&(if up { flag } else { 0 }).to_ne_bytes());
        header[12..16].copy_from_slice(&flag.to_ne_bytes());
    }
    if let LinkRef::Index(index) = link {
        header[4..8].copy_from_slice(&index.to_ne_bytes());
    }
    let message = Message::new(libc::RTM_NEWLINK, 0, &header);
    match link {
        LinkRef::Name(name) => message.text(libc::IFLA_IFNAME, name),
        LinkRef::Index(_) => message,
    }
}

fn address(index: u32, ip: IpNet) -> Message {
    let bytes = octets(ip.addr());
    let message = Message::new(libc::RTM_NEWADDR, CREATE | REPLACE, &address_header(index, ip))
        .attr(libc::IFA_LOCAL, &bytes)
        .attr(libc::IFA_ADDRESS, &bytes);
    // A node is usable at once, not after a second of looking for duplicates that cannot be there.
    if ip.addr().is_ipv6() { message.u32(libc::IFA_FLAGS, FLAG_NO_DAD) } else { message }
}

fn address_header(index: u32, ip: IpNet) -> [u8; ADDRESS_HEADER] {
    let link_local = match ip.addr() {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let mut header = [0; ADDRESS_HEADER];
    header[0] = family(ip.addr());
    header[1] = ip.prefix_len();
    header[3] = if link_local { SCOPE_LINK } else { 0 };
    header[4..].copy_from_slice(&index.to_ne_bytes());
    header
}

fn set_route(kind: u16, route: &Route, flags: u16) -> Message {
    let mut header = [0; ROUTE_HEADER];
    header[0] = family(route.to.addr());
    header[1] = route.to.prefix_len();
    header[4] = ROUTE_MAIN;
    header[5] = if route.ours { ROUTE_OURS } else { ROUTE_BOOT };
    let direct_v4 = route.via.is_none() && route.to.addr().is_ipv4();
    header[6] = if direct_v4 { SCOPE_LINK } else { 0 };
    header[7] = ROUTE_UNICAST;
    if route.via.is_some() {
        header[8..12].copy_from_slice(&ROUTE_ONLINK.to_ne_bytes());
    }
    let mut message = Message::new(kind, flags, &header);
    if route.to.prefix_len() > 0 {
        message = message.attr(libc::RTA_DST, &octets(route.to.addr()));
    }
    if let Some(via) = route.via {
        message = message.attr(libc::RTA_GATEWAY, &octets(via));
    }
    message.u32(libc::RTA_OIF, route.index)
}

fn neighbour_header(index: u32, ip: IpAddr, state: u16, flags: u8) -> [u8; NEIGHBOUR_HEADER] {
    let mut header = [0; NEIGHBOUR_HEADER];
    header[0] = family(ip);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&state.to_ne_bytes());
    header[10] = flags;
    header
}

/// Of an entry that a tunnel keeps until it is taken away.
fn bridge_header(index: u32) -> [u8; NEIGHBOUR_HEADER] {
    let mut header = [0; NEIGHBOUR_HEADER];
    header[0] = libc::AF_BRIDGE as u8;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&NEIGHBOUR_PERMANENT.to_ne_bytes());
    header[10] = NEIGHBOUR_SELF;
    header
}

/// Bridges' own entries lead nowhere.
fn read_lead(reply: &Reply) -> Option<Lead> {
    let (header, body) = reply.body.split_at_checked(NEIGHBOUR_HEADER)?;
    if reply.kind != libc::RTM_NEWNEIGH || i32::from(header[0]) != libc::AF_BRIDGE {
        return None;
    }
    let mac = attribute(body, libc::NDA_LLADDR).and_then(|mac| mac.try_into().ok()).map(Mac)?;
    let to = attribute(body, libc::NDA_DST).and_then(read_ip)?;
    Some(Lead { index: u32_at(header, 4), mac, to })
}

fn family(ip: IpAddr) -> u8 {
    (if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
}

fn read_link(reply: &Reply) -> Option<Link> {
    let body = reply.body.get(LINK_HEADER..).filter(|_| reply.kind == libc::RTM_NEWLINK)?;
    let mut link = Link {
        index: u32_at(&reply.body, 4),
        up: u32_at(&reply.body, 8) & libc::IFF_UP as u32 != 0,
        name: String::new(),
        alias: String::new(),
        mac: None,
        mtu: 0,
        group: 0,
        peer: 0,
        master: 0,
    };
    for (kind, value) in attributes(body) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_IFALIAS => link.alias = text(value),
            libc::IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
            libc::IFLA_MTU => link.mtu = u32_at(value, 0),
            libc::IFLA_GROUP => link.group = u32_at(value, 0),
            libc::IFLA_LINK => link.peer = u32_at(value, 0),
            libc::IFLA_MASTER => link.master = u32_at(value, 0),
            _ => {}
        }
    }
    Some(link)
}

/// Not those of the link's scope, which the kernel makes.
fn read_address(reply: &Reply) -> Option<Address> {
    let (header, body) = reply.body.split_at_checked(ADDRESS_HEADER)?;
    if reply.kind != libc::RTM_NEWADDR || header[3] == SCOPE_LINK {
        return None;
    }
    let ip =
        attribute(body, libc::IFA_LOCAL).or_else(|| attribute(body, libc::IFA_ADDRESS)).and_then(read_ip)?;
    Some(Address { index: u32_at(header, 4), ip: IpNet::new(ip, header[1]).ok()? })
}

fn read_route(reply: &Reply) -> Option<Route> {
    let (header, body) = reply.body.split_at_checked(ROUTE_HEADER).filter(|_| reply.kind == ROUTE_KIND)?;
    if header[7] != ROUTE_UNICAST || header[4] != ROUTE_MAIN {
        return None;
    }
    let any: IpAddr = match i32::from(header[0]) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let to = attribute(body, libc::RTA_DST).and_then(read_ip).unwrap_or(any);
    Some(Route {
        to: IpNet::new(to, header[1]).ok()?,
        via: attribute(body, libc::RTA_GATEWAY).and_then(read_ip),
        index: attribute(body, libc::RTA_OIF).map(|v| u32_at(v, 0))?,
        ours: header[5] == ROUTE_OURS,
    })
}

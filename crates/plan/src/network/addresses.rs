//! Addresses of links and their members (deter.md §7.1), in the order of the topology.
//!
//! Every network that a user's address names is reserved first. Then each link without one gets the next free one, and
//! each member without an address the next free number from 2 upward. A plan that continues another one keeps its
//! networks and addresses where the user has said nothing new.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use testyard_model::link::PREFIX_LENGTHS;
use testyard_model::name::ClientId;

use crate::network::before::Before;
use crate::network::parts::{NetworkLink, NetworkMember};
use crate::network::remarks::{Kind, Remarks};
use crate::network::resolve::{Resolved, Spot};
use crate::network::subnets::{Space, length_for};

/// Addresses of a link.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkAddresses {
    pub(crate) subnets: Vec<IpNet>,
    pub(crate) automatic: bool,
    /// Of each member.
    pub(crate) members: Vec<Vec<IpNet>>,
}

/// Chooses what users have not.
pub(crate) fn assign(
    resolved: &Resolved<'_>,
    avoided: &[IpNet],
    (before, kept): (&Before<'_>, &[Vec<Option<&NetworkMember>>]),
    remarks: &mut Remarks,
) -> Vec<LinkAddresses> {
    let mut space = Space::default();
    avoided.iter().for_each(|network| space.take(*network));
    let names = || resolved.topology.links.iter().map(|link| &link.client_id);
    let asked = || {
        let lengths = resolved.topology.links.iter().map(|link| link.prefix_length);
        lengths.map(|length| length.filter(|length| PREFIX_LENGTHS.contains(length)))
    };
    let mut all: Vec<LinkAddresses> = Vec::with_capacity(resolved.links.len());
    for ((name, asked), spots) in names().zip(asked()).zip(&resolved.links) {
        let given = explicit((name, asked), spots, avoided, remarks);
        given.subnets.iter().for_each(|network| space.take(*network));
        all.push(given);
    }
    if !before.is_empty() {
        let open = names().zip(asked()).zip(&mut all).filter(|(_, addresses)| addresses.subnets.is_empty());
        for ((name, asked), addresses) in open {
            let before = before.link(name).filter(|link| link.automatic);
            let kept = before.and_then(|link| keep(link, asked, addresses.members.len(), &space));
            if let Some(network) = kept {
                space.take(network.into());
                addresses.subnets.push(network.into());
                addresses.automatic = true;
            }
        }
    }
    // Links may share a network that users have named; those that are chosen here are each link's own.
    let mut given: HashSet<IpAddr> =
        all.iter().flat_map(|link| link.members.iter().flatten()).map(IpNet::addr).collect();
    for ((((name, asked), addresses), spots), kept) in
        names().zip(asked()).zip(&mut all).zip(&resolved.links).zip(kept)
    {
        if addresses.subnets.is_empty() && !spots.is_empty() {
            let Some(network) = space.next(asked.unwrap_or_else(|| length_for(spots.len()))) else {
                remarks.error(
                    Kind::Address,
                    format!("link {:?} gets no addresses: all of 10.0.0.0/8 is in use", name.as_str()),
                    "give its interfaces addresses of another network",
                );
                continue;
            };
            addresses.subnets.push(network.into());
            addresses.automatic = true;
        }
        fill(name, addresses, kept, &given, remarks);
        if !addresses.automatic {
            given.extend(addresses.members.iter().flatten().map(IpNet::addr));
        }
    }
    all
}

/// The network that a link had before, if it is free still, and as large as is asked for, or large enough.
fn keep(link: &NetworkLink, asked: Option<u8>, members: usize, space: &Space) -> Option<Ipv4Net> {
    let [IpNet::V4(network)] = link.subnets[..] else { return None };
    let length = network.prefix_len();
    let fits = asked.map_or(length <= length_for(members), |asked| length == asked);
    (fits && !space.overlaps(network)).then_some(network)
}

/// What the user has said.
fn explicit(
    (name, asked): (&ClientId, Option<u8>),
    spots: &[Spot<'_>],
    avoided: &[IpNet],
    remarks: &mut Remarks,
) -> LinkAddresses {
    let link = name.as_str();
    let mut found = LinkAddresses { members: vec![Vec::new(); spots.len()], ..LinkAddresses::default() };
    // Those with a mask first: an address without one belongs to the network of the link that holds it.
    let mut pending: Vec<(usize, IpAddr)> = Vec::new();
    for (at, spot) in spots.iter().enumerate() {
        for given in &spot.interface.addresses {
            match given.prefix_length.map(|length| IpNet::new(given.address, length)) {
                Some(Ok(network)) => add(&mut found, at, network),
                Some(Err(_)) => remarks.error(
                    Kind::Address,
                    format!(
                        "interface {:?}: {} has no prefix of {} bits",
                        spot.interface.client_id.as_str(),
                        given.address,
                        given.prefix_length.unwrap_or_default()
                    ),
                    "give at most 32 for IPv4, 128 for IPv6",
                ),
                None => pending.push((at, given.address)),
            }
        }
    }
    for (at, address) in pending {
        let holding = found.subnets.iter().find(|network| network.contains(&address));
        let default = if address.is_ipv4() { asked.unwrap_or(24) } else { 64 };
        let length = holding.map_or(default, IpNet::prefix_len);
        if let Ok(network) = IpNet::new(address, length) {
            add(&mut found, at, network);
        }
    }
    for (spot, addresses) in spots.iter().zip(&found.members) {
        for address in addresses {
            if let Some((what, remedy)) = unfit(*address) {
                let interface = spot.interface.client_id.as_str();
                remarks.error(Kind::Address, format!("interface {interface:?}: {address} {what}"), remedy);
            }
        }
    }
    for network in &found.subnets {
        if let Some(control) = avoided.iter().find(|control| overlap(**control, *network)) {
            remarks.error(
                Kind::Address,
                format!(
                    "link {link:?}: {network} is in use here already, by {control} of the control network"
                ),
                "use other addresses, or give the testbed another control network",
            );
        }
    }
    for family in [true, false] {
        let networks: Vec<String> = found
            .subnets
            .iter()
            .filter(|net| matches!(net, IpNet::V4(_)) == family)
            .map(ToString::to_string)
            .collect();
        if networks.len() > 1 {
            remarks.warn(
                Kind::Address,
                format!("link {link:?} has several networks: {}", networks.join(", ")),
                "members of different ones do not reach each other directly",
            );
        }
    }
    found
}

fn add(found: &mut LinkAddresses, member: usize, address: IpNet) {
    if !found.subnets.contains(&address.trunc()) {
        found.subnets.push(address.trunc());
    }
    found.members[member].push(address);
}

pub(crate) fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other) || other.contains(&one)
}

/// What is wrong with an interface's address, and what to do.
fn unfit(address: IpNet) -> Option<(&'static str, &'static str)> {
    const OTHER: &str = "choose an address inside of the network";
    match address {
        IpNet::V4(net) => {
            let host = net.addr();
            if host.is_loopback() || host.is_multicast() || host.octets()[0] == 0 || host.octets()[0] >= 240 {
                Some(("is no address of an interface", "use one of 10.0.0.0/8, say"))
            } else if net.prefix_len() == 32 {
                Some(("has no room for a neighbour", "use a shorter prefix, like /24"))
            } else if net.prefix_len() == 31 {
                None
            } else if host == net.network() {
                Some(("is the address of the network itself", OTHER))
            } else if host == net.broadcast() {
                Some(("is the broadcast address of its network", OTHER))
            } else {
                None
            }
        }
        IpNet::V6(net) => {
            let host = net.addr();
            if host.is_loopback() || host.is_multicast() || host.is_unspecified() {
                Some(("is no address of an interface", "use one of fd00::/8, say"))
            } else if net.prefix_len() == 128 {
                Some(("has no room for a neighbour", "use a shorter prefix, like /64"))
            } else if net.prefix_len() < 127 && host == net.network() {
                Some(("is the address of the network itself", OTHER))
            } else {
                None
            }
        }
    }
}

/// Numbers for members without an address, in the first IPv4 network, else in the first one; none that are `given` already.
fn fill(
    name: &ClientId,
    addresses: &mut LinkAddresses,
    kept: &[Option<&NetworkMember>],
    given: &HashSet<IpAddr>,
    remarks: &mut Remarks,
) {
    let ipv4 = addresses.subnets.iter().find(|network| matches!(network, IpNet::V4(_)));
    let Some(network) = ipv4.or(addresses.subnets.first()).copied() else { return };
    let mut used: HashSet<IpAddr> = addresses.members.iter().flatten().map(IpNet::addr).collect();
    for (kept, own) in kept.iter().zip(&mut addresses.members).filter(|(_, own)| own.is_empty()) {
        let had = kept.and_then(|member| member.addresses.first());
        let had = had.filter(|address| address.trunc() == network && !given.contains(&address.addr()));
        if let Some(address) = had.filter(|address| used.insert(address.addr())) {
            own.push(*address);
        }
    }
    // .1 is what people give to the way out, so it is the last.
    let numbers = (2_u128..).map_while(|number| host(network, number)).chain(host(network, 1));
    let mut free =
        numbers.filter(|address| !used.contains(&address.addr()) && !given.contains(&address.addr()));
    for own in addresses.members.iter_mut().filter(|own| own.is_empty()) {
        let Some(address) = free.next() else {
            remarks.error(
                Kind::Address,
                format!("link {:?}: {network} has no address left for its members", name.as_str()),
                "use a shorter prefix",
            );
            return;
        };
        own.push(address);
    }
}

/// The address of a number in a network; none behind its last.
fn host(network: IpNet, number: u128) -> Option<IpNet> {
    let address = match network {
        IpNet::V4(net) => {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            let address = u32::try_from(number).ok().and_then(|number| first.checked_add(number))?;
            (address < last).then_some(IpAddr::V4(Ipv4Addr::from(address)))?
        }
        IpNet::V6(net) => {
            let address = u128::from(net.network()).checked_add(number)?;
            (address <= u128::from(net.broadcast())).then_some(IpAddr::V6(Ipv6Addr::from(address)))?
        }
    };
    IpNet::new(address, network.prefix_len()).ok()
}

//! A control interface: a veth, one half in the node as `eth0`, the other on the host, with routes and permanent
//! neighbours on both sides. Nobody resolves anything, so the first packet passes at once.
//!
//! ```text
//!   node: eth0 10.x.y.z/32, default via 169.254.1.1      host: ty… 169.254.1.1/32, route 10.x.y.z dev ty…
//!              2001:db8::z/128, default via fe80::1            fe80::1/64,         route 2001:db8::z dev ty…
//! ```
//!
//! What to change is planned by pure functions; [`connect`] does it.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;

use super::names::{HOST_MAC, NODE_LINK, Names};
use super::namespace;
use super::settings::{self, Settings};
use crate::netlink::ethtool::Ethtool;
use crate::netlink::{
    Change, ChangeError, Ipv4Setting, Link, LinkRef, Peer, Refusal, Route, Routing, Rtnetlink,
};
use crate::{Attachment, ControlAddress, FabricError};

/// What nodes see as their router.
pub(crate) const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Likewise over IPv6.
pub(crate) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// `RouteLocalnet`: forwarded ports answer on 127.0.0.1 too; rules keep nodes from the host's loopback.
/// `ReversePathFilter`: forged sources stop here also while somebody has flushed the rules.
const HOST_HALF: [(Ipv4Setting, u32); 4] = [
    (Ipv4Setting::RouteLocalnet, 1),
    (Ipv4Setting::ReversePathFilter, 1),
    (Ipv4Setting::SendRedirects, 0),
    (Ipv4Setting::AcceptRedirects, 0),
];

/// The old half of a restarted node may be dying while a new one is made. Removing it waits for that.
const CREATION_TRIES: u32 = 5;

/// Everything that a control interface is made from.
pub(crate) struct Plan<'a> {
    pub(crate) names: &'a Names,
    pub(crate) attachment: &'a Attachment,
    /// The uplink's: larger packets would not get further.
    pub(crate) mtu: u32,
}

impl Plan<'_> {
    fn link(&self) -> String {
        self.names.link(self.attachment.sliver)
    }

    fn alias(&self) -> String {
        self.names.alias(self.attachment.slice, self.attachment.sliver)
    }

    /// Makes both halves and marks ours: one datagram, so that no unmarked link is left by an end between.
    fn creation(&self, netns: i32) -> Vec<Change> {
        let name = self.link();
        let link = LinkRef::Name(name.clone());
        let peer = Peer {
            name: NODE_LINK.to_owned(),
            mac: Some(self.names.node_mac(self.attachment.sliver)),
            netns: Some(netns),
        };
        let group = self.attachment.tag.0.get();
        vec![
            Change::CreateVeth { name, mac: Some(HOST_MAC), mtu: self.mtu, group, peer },
            Change::Alias { link, text: self.alias() },
        ]
    }

    /// The host's half, whatever it has already.
    fn host(&self, half: &Link) -> Vec<Change> {
        let (index, link) = (half.index, LinkRef::Index(half.index));
        let mac = self.names.node_mac(self.attachment.sliver);
        let ControlAddress { ipv4, ipv6 } = self.attachment.address;
        let mut all = Vec::with_capacity(10);
        if half.group != self.attachment.tag.0.get() {
            all.push(Change::Group { link: link.clone(), group: self.attachment.tag.0.get() });
        }
        if half.mtu != self.mtu {
            all.push(Change::Mtu { link: link.clone(), mtu: self.mtu });
        }
        all.extend([
            Change::Ipv4Settings { link: link.clone(), settings: HOST_HALF.into() },
            Change::Up { link },
            Change::Address { index, ip: single(GATEWAY4.into()) },
            Change::Neighbour { index, ip: ipv4.into(), mac },
            host_route(ipv4.into(), index),
        ]);
        if let Some(ipv6) = ipv6 {
            all.extend([
                Change::Address { index, ip: Ipv6Net::new(GATEWAY6, 64).expect("64 is a length").into() },
                Change::Neighbour { index, ip: ipv6.into(), mac },
                host_route(ipv6.into(), index),
            ]);
        }
        all
    }

    /// The node's half. A default route that the node's owner has put in place of ours stays.
    fn node(&self, half: &Link) -> Vec<Vec<Change>> {
        let (index, link) = (half.index, LinkRef::Index(half.index));
        let ControlAddress { ipv4, ipv6 } = self.attachment.address;
        let mut first = Vec::new();
        if half.mtu != self.mtu {
            first.push(Change::Mtu { link: link.clone(), mtu: self.mtu });
        }
        first.extend([
            Change::Up { link: LinkRef::Name("lo".to_owned()) },
            Change::Up { link },
            Change::Address { index, ip: single(ipv4.into()) },
            Change::Neighbour { index, ip: GATEWAY4.into(), mac: HOST_MAC },
        ]);
        let mut all = vec![first, vec![default_route(Ipv4Net::default().into(), GATEWAY4.into(), index)]];
        if let Some(ipv6) = ipv6 {
            all.push(vec![
                Change::Address { index, ip: single(ipv6.into()) },
                Change::Neighbour { index, ip: GATEWAY6.into(), mac: HOST_MAC },
            ]);
            all.push(vec![default_route(Ipv6Net::default().into(), GATEWAY6.into(), index)]);
        }
        all
    }
}

/// The route to a node.
pub(crate) fn host_route(ip: IpAddr, index: u32) -> Change {
    Change::Route { route: Route { to: single(ip), via: None, index, ours: false }, replace: true }
}

fn default_route(to: IpNet, via: IpAddr, index: u32) -> Change {
    Change::Route { route: Route { to, via: Some(via), index, ours: false }, replace: false }
}

/// One address as a network.
pub(crate) fn single(ip: IpAddr) -> IpNet {
    IpNet::from(ip)
}

/// Makes the control interface. The calling thread ends up in the node's namespace. Returns the index of the host's
/// half.
pub(crate) fn connect(plan: &Plan<'_>, host: &mut impl Routing, netns: &File) -> Result<u32, FabricError> {
    let link = plan.link();
    let home = namespace::current().map_err(|e| entering("the host's namespace", &e))?;
    let node_wanted = || -> Result<Rtnetlink, FabricError> {
        namespace::enter(netns).map_err(|e| entering("the node's namespace", &e))?;
        Rtnetlink::open().map_err(|refusal| kernel("opening a socket in the node", &refusal))
    };
    let mut node = node_wanted()?;
    if plan.attachment.address.ipv6.is_some() {
        Settings::here().switch_ipv6_on(true)?;
    }
    namespace::enter(&home).map_err(|e| entering("the host's namespace", &e))?;

    let mut carrier = Ethtool::open().unwrap_or_default();
    let half = ensure_pair(plan, host, &mut node, netns.as_raw_fd())?;
    if plan.attachment.address.ipv6.is_some() {
        Settings::here().enforce(&settings::host_half(&link))?;
    }
    host.apply(&plan.host(&half)).map_err(refused)?;

    namespace::enter(netns).map_err(|e| entering("the node's namespace", &e))?;
    let inner = node
        .link(NODE_LINK)
        .map_err(|r| kernel("looking for eth0 in the node", &r))?
        .ok_or(FabricError::Gone { sliver: plan.attachment.sliver })?;
    for changes in plan.node(&inner) {
        match node.apply(&changes) {
            Err(error) if error.refusal.errno == Errno::EEXIST && is_default_route(&changes) => {}
            other => other.map_err(refused)?,
        }
    }
    if let Some(Err(refusal)) = carrier.as_mut().map(|carrier| carrier.settle(half.index)) {
        tracing::debug!(%refusal, link, "the first packets to a node may be lost");
    }
    Ok(half.index)
}

/// The host's half of a pair whose other half is `eth0` of this very namespace: the one that is there, or a new one.
fn ensure_pair(
    plan: &Plan<'_>,
    host: &mut impl Routing,
    node: &mut impl Routing,
    netns: i32,
) -> Result<Link, FabricError> {
    let name = plan.link();
    let find =
        |host: &mut dyn Routing| host.link(&name).map_err(|r| kernel(&format!("looking for {name}"), &r));
    let inner = node.link(NODE_LINK).map_err(|r| kernel("looking for eth0 in the node", &r))?;
    if let Some(half) = find(host)? {
        match plan.names.read_alias(&half.alias) {
            Some((_, sliver)) if sliver == plan.attachment.sliver => {}
            _ => {
                let detail = format!(
                    "an interface of this name is there, and it is not this node's ({:?})",
                    half.alias
                );
                return Err(FabricError::Kernel { action: format!("making the interface {name}"), detail });
            }
        }
        let is_pair = |inner: &Link| {
            inner.mac == Some(plan.names.node_mac(plan.attachment.sliver))
                && inner.peer == half.index
                && half.peer == inner.index
        };
        if inner.as_ref().is_some_and(is_pair) {
            // Whoever made it may have been killed before it got to this.
            without_auto_address(host, &name)?;
            return Ok(half);
        }
        remove(host, &name)?;
    }
    let mut tries = 0;
    loop {
        match host.apply(&plan.creation(netns)) {
            Ok(()) => break without_auto_address(host, &name)?,
            Err(ChangeError { refusal: Refusal { errno: Errno::EEXIST, .. }, .. })
                if tries < CREATION_TRIES =>
            {
                if find(host)?.is_none() && node.link(NODE_LINK).is_ok_and(|inner| inner.is_some()) {
                    return Err(FabricError::Kernel {
                        action: format!("making the interface {name}"),
                        detail: "the node has an eth0 that is not ours: its engine must start it without a network".into(),
                    });
                }
                // A half whose node ended just now.
                remove(host, &name)?;
                tries += 1;
            }
            Err(error) => return Err(refused(error)),
        }
    }
    find(host)?.ok_or(FabricError::Gone { sliver: plan.attachment.sliver })
}

/// Where there is no IPv6, there is nothing to switch off.
fn without_auto_address(host: &mut impl Routing, name: &str) -> Result<(), FabricError> {
    match host.apply(&[Change::NoAutoAddress { link: LinkRef::Name(name.to_owned()) }]) {
        Err(error) if error.refusal.errno != Errno::EAFNOSUPPORT => Err(refused(error)),
        _ => Ok(()),
    }
}

/// Removes a link of ours; the other half goes with it.
pub(crate) fn remove(host: &mut impl Routing, name: &str) -> Result<(), FabricError> {
    match host.apply(&[Change::DeleteLink { name: name.to_owned() }]) {
        Err(error) if error.refusal.errno != Errno::ENODEV => Err(refused(error)),
        _ => Ok(()),
    }
}

fn is_default_route(changes: &[Change]) -> bool {
    matches!(changes, [Change::Route { replace: false, .. }])
}

fn entering(what: &str, error: &std::io::Error) -> FabricError {
    FabricError::Kernel { action: format!("entering {what}"), detail: error.to_string() }
}

/// A refused change as the contract's error.
pub(crate) fn refused(error: ChangeError) -> FabricError {
    FabricError::Kernel { action: error.change, detail: error.refusal.to_string() }
}

/// A refused question likewise.
pub(crate) fn kernel(action: &str, refusal: &Refusal) -> FabricError {
    FabricError::Kernel { action: action.to_owned(), detail: refusal.to_string() }
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU16, NonZeroU32};

    use testyard_model::id::SliceTag;
    use testyard_model::sliver_type::{Port, Protocol};

    use super::*;
    use crate::Forward;
    use crate::netlink::recorded::Recorder;

    const NETNS: i32 = 9;

    fn attachment() -> Attachment {
        Attachment {
            slice: "0197e7a0-0000-7000-8000-000000000001".parse().unwrap(),
            tag: SliceTag(NonZeroU32::new(3).unwrap()),
            sliver: "0197e7a0-0000-7000-8000-00000000000a".parse().unwrap(),
            address: ControlAddress {
                ipv4: [10, 0, 0, 1].into(),
                ipv6: Some("2001:db8::1".parse().unwrap()),
            },
            forwards: vec![Forward {
                host_port: 30_000,
                port: Port { protocol: Protocol::Tcp, number: NonZeroU16::new(22).unwrap() },
            }],
        }
    }

    fn with_plan(test: impl FnOnce(&Plan<'_>)) {
        let names = Names::new(&"main".parse().unwrap());
        test(&Plan { names: &names, attachment: &attachment(), mtu: 1400 });
    }

    fn said(changes: &[Change]) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    fn link(plan: &Plan<'_>, alias: String) -> Link {
        Link {
            index: 7,
            name: plan.link(),
            alias,
            mac: Some(HOST_MAC),
            mtu: 1400,
            group: 3,
            up: true,
            peer: 2,
            master: 0,
        }
    }

    fn eth0(plan: &Plan<'_>) -> Link {
        let mac = Some(plan.names.node_mac(plan.attachment.sliver));
        Link {
            index: 2,
            name: NODE_LINK.into(),
            alias: String::new(),
            mac,
            mtu: 1400,
            group: 0,
            up: true,
            peer: 7,
            master: 0,
        }
    }

    #[test]
    fn both_sides_are_planned() {
        with_plan(|plan| {
            let name = plan.link();
            assert_eq!(
                said(&plan.creation(NETNS)),
                [format!("making the interfaces {name} and eth0"), format!("marking {name}"),]
            );
            assert_eq!(
                said(&plan.host(&Link { group: 4, mtu: 1500, ..link(plan, String::new()) })),
                [
                    "putting link 7 into group 3",
                    "setting the MTU of link 7 to 1400",
                    "changing IPv4 settings of link 7",
                    "switching link 7 on",
                    "adding the address 169.254.1.1/32 to link 7",
                    "setting 10.0.0.1 on link 7 to 02:df:0e:7e:1b:1b",
                    "adding the route to 10.0.0.1/32 over link 7",
                    "adding the address fe80::1/64 to link 7",
                    "setting 2001:db8::1 on link 7 to 02:df:0e:7e:1b:1b",
                    "adding the route to 2001:db8::1/128 over link 7",
                ]
            );
            assert_eq!(
                said(&plan.node(&eth0(plan)).concat()),
                [
                    "switching lo on",
                    "switching link 2 on",
                    "adding the address 10.0.0.1/32 to link 2",
                    "setting 169.254.1.1 on link 2 to 02:74:79:00:00:01",
                    "adding the route to 0.0.0.0/0 over link 2",
                    "adding the address 2001:db8::1/128 to link 2",
                    "setting fe80::1 on link 2 to 02:74:79:00:00:01",
                    "adding the route to ::/0 over link 2",
                ]
            );
        });
    }

    #[test]
    fn a_pair_that_is_right_stays() {
        with_plan(|plan| {
            let mut host = Recorder { links: vec![link(plan, plan.alias())], ..Recorder::default() };
            let mut node = Recorder { links: vec![eth0(plan)], ..Recorder::default() };
            ensure_pair(plan, &mut host, &mut node, NETNS).unwrap();
            // Said again, since its maker may have been killed before: it changes nothing where it is so.
            assert_eq!(host.changes, [Change::NoAutoAddress { link: LinkRef::Name(plan.link()) }]);
        });
    }

    #[test]
    fn a_half_of_an_older_boot_is_replaced() {
        with_plan(|plan| {
            let mut host = Recorder { links: vec![link(plan, plan.alias())], ..Recorder::default() };
            ensure_pair(plan, &mut host, &mut Recorder::default(), NETNS).unwrap();
            assert!(
                matches!(&host.changes[..2], [Change::DeleteLink { .. }, Change::CreateVeth { .. }]),
                "{:?}",
                host.changes
            );
        });
    }

    #[test]
    fn creation_is_tried_again_while_the_old_half_dies() {
        with_plan(|plan| {
            let mut host = Recorder { refuse_creation: 3, ..Recorder::default() };
            ensure_pair(plan, &mut host, &mut Recorder::default(), NETNS).unwrap();
            let mut host = Recorder { refuse_creation: CREATION_TRIES + 1, ..Recorder::default() };
            assert!(ensure_pair(plan, &mut host, &mut Recorder::default(), NETNS).is_err());
        });
    }

    #[test]
    fn links_of_others_are_not_touched() {
        with_plan(|plan| {
            for alias in [
                "",
                "somebody's",
                "testyard:main:0197e7a0-0000-7000-8000-000000000001:0197e7a0-0000-7000-8000-00000000000b",
            ] {
                let mut host = Recorder { links: vec![link(plan, alias.to_owned())], ..Recorder::default() };
                assert!(ensure_pair(plan, &mut host, &mut Recorder::default(), NETNS).is_err(), "{alias}");
                assert_eq!(host.changes, []);
            }
        });
    }
}

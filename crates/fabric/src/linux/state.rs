//! What one fabric knows, and the work on it that must not run twice at a time. All of it runs on a thread in the
//! host's namespace.
//!
//! The kernel holds the truth. `known` are the attachments that this process was told of; `elements` mirrors the sets
//! of our table, read when rules are looked at, so that a change needs no look of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use nix::errno::Errno;
use testyard_model::id::{SliceId, SliverId};
use testyard_model::sliver_type::Protocol;

use super::interface::{self, kernel, refused, single};
use super::names::{Names, owner, read_owner};
use super::ports::Held;
use super::rules::{self, Policy};
use super::settings::{self, Settings};
use super::wanted::{self, Difference, host_port};
use super::{jump, program, resolver};
use crate::netlink::conntrack::Flows;
use crate::netlink::elements::{Element, Elements, Table};
use crate::netlink::{Change, Link, Refusal, Route, Routing};
use crate::{Attached, Attachment, FabricConfig, FabricError, Repair};

/// For hosts without a default route.
const ETHERNET_MTU: u32 = 1500;

/// The way out of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uplink {
    /// Links with a default route, of either family.
    pub(crate) names: BTreeSet<String>,
    /// The one that IPv6 leaves by.
    pub(crate) ipv6: Option<(u32, String)>,
    pub(crate) mtu: Option<u32>,
}

/// The rules as loaded, and how `nft` shows them.
#[derive(Debug)]
struct Loaded {
    text: String,
    listing: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) known: BTreeMap<SliverId, Attachment>,
    /// By slices whose links this process has joined: the hosts where those go on.
    peers: BTreeMap<SliceId, BTreeSet<IpAddr>>,
    elements: Elements,
    held: Held,
    loaded: Option<Loaded>,
    uplink: Uplink,
    /// This host's kernel or `nft` refuses to count new flows by node.
    uncounted: bool,
    /// Kept open: the kernel makes whoever closes one wait for all changes of packet rules to settle.
    table: Option<Table>,
}

impl State {
    /// The uplink's.
    pub(crate) fn mtu(&self) -> u32 {
        self.uplink.mtu.unwrap_or(ETHERNET_MTU)
    }

    /// The uplink for IPv6.
    pub(crate) fn uplink6(&self) -> Option<u32> {
        self.uplink.ipv6.as_ref().map(|(index, _)| *index)
    }

    /// Looks at everything shared, and makes it so.
    pub(crate) fn mend(
        &mut self,
        names: &Names,
        config: &FabricConfig,
        host: &mut impl Routing,
    ) -> Result<Vec<Repair>, FabricError> {
        let mut repairs = Vec::new();
        let (links, routes) = self.look(host)?;
        let uplink6 = self.uplink.ipv6.as_ref().map(|(_, name)| name.as_str());
        let wanted = settings::host(config.ipv6.is_some(), config.ipv6_proxy, uplink6);
        repairs.extend(Settings::here().enforce(&wanted)?.into_iter().map(Repair::Setting));
        if self.mend_rules(names, config)? {
            repairs.push(Repair::Rules);
        }
        let mut jumped = jump::ensure("iptables", names)?;
        if config.ipv6.is_some() {
            jumped |= jump::ensure("ip6tables", names)?;
        }
        if jumped {
            repairs.push(Repair::Jump);
        }
        repairs.extend(self.mend_routes(names, host, &links, &routes)?);
        Ok(repairs)
    }

    fn look(&mut self, host: &mut impl Routing) -> Result<(Vec<Link>, Vec<Route>), FabricError> {
        let links = host.links().map_err(|r| kernel("listing interfaces", &r))?;
        let routes = host.routes().map_err(|r| kernel("listing routes", &r))?;
        let uplink = uplink(&links, &routes);
        // While the host's network is being set up anew, nodes keep what they have.
        if !uplink.names.is_empty() || self.uplink.names.is_empty() {
            self.uplink = uplink;
        }
        Ok((links, routes))
    }

    /// Makes rules and elements so; says whether anything was missing.
    fn mend_rules(&mut self, names: &Names, config: &FabricConfig) -> Result<bool, FabricError> {
        let policy = Policy {
            ipv4: config.ipv4.trunc(),
            ipv6: config.ipv6.map(|net| net.trunc()),
            denied: config.denied.clone(),
            name_servers: resolver::name_servers(config.ipv6.is_some())?,
            uplinks: self.uplink.names.clone(),
            tunnel_port: config.tunnel_port,
            bound: !self.uncounted,
        };
        let text = rules::ruleset(names, &policy);
        let in_place = match &self.loaded {
            Some(loaded) => loaded.text == text && listing(names)?.as_deref() == Some(&loaded.listing),
            None => false,
        };
        if !in_place {
            self.load(names, &policy)?;
        }
        let present = self.present(names)?.unwrap_or_default();
        let mut wanted: Elements = self.known.values().flat_map(|a| wanted::elements(names, a)).collect();
        wanted.extend(self.peers.values().flatten().map(|peer| (Element::from(*peer), String::new())));
        let change = difference_of_all(&present, &wanted);
        self.elements = present;
        let complete = change.add.is_empty();
        self.change(names, change)?;
        Ok(!in_place || !complete)
    }

    fn load(&mut self, names: &Names, policy: &Policy) -> Result<(), FabricError> {
        const ACTION: &str = "making packet rules";
        self.loaded = None;
        let text = rules::ruleset(names, policy);
        if let Err(error) = program::nft(ACTION, &["-f", "-"], &text) {
            let FabricError::Kernel { detail, .. } = &error else { return Err(error) };
            if policy.bound
                && let Err(error) = program::nft(ACTION, &["-c", "-f", "-"], &rules::bound_alone(names))
            {
                tracing::warn!(%error, "this host cannot bound the new flows of a node");
                self.uncounted = true;
                return self.load(names, &Policy { bound: false, ..policy.clone() });
            }
            // Sets of an older version's shape cannot be changed in place. Nodes' elements are added again.
            tracing::warn!(%detail, "packet rules are made anew");
            program::nft(ACTION, &["-f", "-"], &(rules::removal(names) + &text))?;
        }
        let listing = listing(names)?.ok_or_else(|| FabricError::Kernel {
            action: ACTION.to_owned(),
            detail: format!("the table {} has vanished at once", names.table),
        })?;
        self.loaded = Some(Loaded { text, listing });
        Ok(())
    }

    /// Links and routes of known attachments that somebody has switched off or removed.
    fn mend_routes(
        &self,
        names: &Names,
        host: &mut impl Routing,
        links: &[Link],
        routes: &[Route],
    ) -> Result<Vec<Repair>, FabricError> {
        let mut repairs = Vec::new();
        let by_name: BTreeMap<&str, &Link> = links.iter().map(|l| (l.name.as_str(), l)).collect();
        let present: BTreeSet<_> = routes.iter().map(|r| (r.to, r.index)).collect();
        for attachment in self.known.values() {
            let name = names.link(attachment.sliver);
            let Some(link) = by_name.get(name.as_str()) else { continue };
            let mut changes = Vec::new();
            if !link.up {
                changes.push(Change::Up { link: crate::netlink::LinkRef::Index(link.index) });
            }
            let addresses =
                [Some(IpAddr::from(attachment.address.ipv4)), attachment.address.ipv6.map(IpAddr::from)];
            let missing =
                addresses.into_iter().flatten().filter(|ip| !present.contains(&(single(*ip), link.index)));
            changes.extend(missing.map(|ip| interface::host_route(ip, link.index)));
            if changes.is_empty() {
                continue;
            }
            match host.apply(&changes) {
                Ok(()) => repairs.push(Repair::Setting(format!("interface {name}"))),
                // The node ended meanwhile.
                Err(error) if error.refusal.errno == Errno::ENODEV => {}
                Err(error) => return Err(refused(error)),
            }
        }
        Ok(repairs)
    }

    /// Makes a node's rules so, before its interface is there. Returns the flows that the kernel must forget now.
    pub(crate) fn admit(
        &mut self,
        names: &Names,
        attachment: &Attachment,
    ) -> Result<Vec<Flows>, FabricError> {
        let mark = owner(attachment.slice, attachment.sliver);
        let wanted = wanted::elements(names, attachment);
        self.check_ports(attachment)?;
        let change = wanted::difference(&self.elements, &wanted, &mark);
        let fresh: BTreeSet<_> = change.add.keys().filter_map(host_port).collect();
        let mut taken: Vec<(Protocol, u16)> = Vec::new();
        for (protocol, port) in wanted.keys().filter_map(host_port).collect::<BTreeSet<_>>() {
            match self.held.take(protocol, port) {
                Ok(true) => taken.push((protocol, port)),
                // Ours in the kernel already: a restarted agent must not take a running node's port away.
                Ok(false) if !fresh.contains(&(protocol, port)) => {
                    tracing::warn!(port, %protocol, "a program of this host listens on a port that leads to a node");
                }
                Ok(false) => {
                    for (protocol, port) in taken.into_iter().filter(|t| fresh.contains(t)) {
                        self.held.release(protocol, port);
                    }
                    return Err(FabricError::PortTaken { port });
                }
                Err(errno) => return Err(kernel(&format!("holding port {port}/{protocol}"), &errno.into())),
            }
        }
        for (protocol, port) in change.remove.keys().filter_map(host_port).filter(|p| !fresh.contains(p)) {
            self.held.release(protocol, port);
        }
        let removed = self.change(names, change)?;
        self.known.insert(attachment.sliver, attachment.clone());
        Ok(wanted::stale(&removed, &fresh))
    }

    /// Another node's port, by what this process was told.
    fn check_ports(&self, attachment: &Attachment) -> Result<(), FabricError> {
        let others = self.known.values().filter(|a| a.sliver != attachment.sliver);
        let theirs: BTreeSet<_> =
            others.flat_map(|a| &a.forwards).map(|f| (f.port.protocol, f.host_port)).collect();
        let clash = attachment.forwards.iter().find(|f| theirs.contains(&(f.port.protocol, f.host_port)));
        clash.map_or(Ok(()), |f| Err(FabricError::PortTaken { port: f.host_port }))
    }

    /// Lets the tunnels of these hosts in.
    pub(crate) fn let_in(&mut self, names: &Names, peers: &BTreeSet<IpAddr>) -> Result<(), FabricError> {
        let lacking = peers.iter().map(|peer| Element::from(*peer));
        let add: Elements = lacking
            .filter(|element| !self.elements.contains_key(element))
            .map(|element| (element, String::new()))
            .collect();
        self.change(names, Difference { remove: Elements::new(), add }).map(drop)
    }

    /// Lets no tunnels in any more but those of hosts where links of slices go on: of this one on these, or none if it has
    /// parted. `joined` tells which slices have links; some may be those of an earlier process, of which it is not known yet
    /// where they go on.
    pub(crate) fn keep_out(
        &mut self,
        names: &Names,
        slice: SliceId,
        peers: Option<BTreeSet<IpAddr>>,
        joined: impl FnOnce() -> Result<Vec<SliceId>, FabricError>,
    ) -> Result<(), FabricError> {
        match peers {
            Some(peers) => drop(self.peers.insert(slice, peers)),
            None => drop(self.peers.remove(&slice)),
        }
        let wanted: BTreeSet<Element> = self.peers.values().flatten().map(|peer| (*peer).into()).collect();
        let is_peer = |element: &Element| matches!(element, Element::Peer4 { .. } | Element::Peer6 { .. });
        let of_none = self.elements.iter().filter(|(e, _)| is_peer(e) && !wanted.contains(e));
        let remove: Elements = of_none.map(|(e, mark)| (e.clone(), mark.clone())).collect();
        if remove.is_empty() || joined()?.iter().any(|slice| !self.peers.contains_key(slice)) {
            return Ok(());
        }
        self.change(names, Difference { remove, add: Elements::new() }).map(drop)
    }

    /// Takes a node's rules away, after its interface. `group` was its interface's; `links` lists the host's. Returns
    /// the flows that the kernel must forget now.
    pub(crate) fn dismiss(
        &mut self,
        names: &Names,
        sliver: SliverId,
        group: Option<u32>,
        host: &mut impl Routing,
    ) -> Result<Vec<Flows>, FabricError> {
        let known = self.known.remove(&sliver);
        let is_its = |mark: &str| read_owner(mark).is_some_and(|(_, s)| s == sliver);
        let mut remove: Elements = self
            .elements
            .iter()
            .filter(|(_, mark)| is_its(mark))
            .map(|(e, m)| (e.clone(), m.clone()))
            .collect();
        let tag = known.map(|a| a.tag.0.get()).or(group);
        let others = |tag: u32| self.known.values().any(|a| a.tag.0.get() == tag);
        if !remove.is_empty() && tag.is_none_or(|tag| !others(tag)) {
            // The last of its slice as far as this process knows: the kernel knows all.
            let links = host.links().map_err(|r| kernel("listing interfaces", &r))?;
            let groups: BTreeSet<u32> =
                links.iter().filter(|l| l.name.starts_with(&names.prefix)).map(|l| l.group).collect();
            let unused = |e: &&Element| matches!(e, Element::SameSlice { tag } if !groups.contains(&tag.get()) && !others(tag.get()));
            let unused: Vec<Element> = self.elements.keys().filter(unused).cloned().collect();
            remove.extend(unused.into_iter().map(|e| (e, String::new())));
        }
        for (protocol, port) in remove.keys().filter_map(host_port) {
            self.held.release(protocol, port);
        }
        let stale = wanted::stale(&remove, &BTreeSet::new());
        self.change(names, Difference { remove, add: Elements::new() })?;
        Ok(stale)
    }

    /// Changes the kernel and the mirror. Where they differ, the kernel is read and asked once more. Returns what was
    /// removed.
    fn change(&mut self, names: &Names, mut change: Difference) -> Result<Elements, FabricError> {
        if change.remove.is_empty() && change.add.is_empty() {
            return Ok(Elements::new());
        }
        let failed = |(element, refusal): (String, Refusal)| {
            kernel(&format!("changing packet rules ({element})"), &refusal)
        };
        match self.table(names)?.change(&change.remove, &change.add) {
            Ok(()) => {}
            Err((_, Refusal { errno: Errno::ENOENT | Errno::EEXIST, .. })) => {
                let Some(present) = self.present(names)? else {
                    return Err(FabricError::Kernel {
                        action: "changing packet rules".to_owned(),
                        detail: "somebody has removed them; they are made again when that is noticed"
                            .to_owned(),
                    });
                };
                let ports: BTreeSet<_> =
                    change.add.keys().filter_map(|e| Some((e.set(), host_port(e)?))).collect();
                change.remove.retain(|e, _| present.contains_key(e));
                change.remove.extend(
                    present
                        .iter()
                        .filter(|(e, _)| {
                            !change.add.contains_key(e)
                                && host_port(e).is_some_and(|port| ports.contains(&(e.set(), port)))
                        })
                        .map(|(e, m)| (e.clone(), m.clone())),
                );
                change.add.retain(|e, _| !present.contains_key(e));
                self.elements = present;
                self.table(names)?.change(&change.remove, &change.add).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        self.elements.retain(|e, _| !change.remove.contains_key(e));
        self.elements.extend(change.add);
        Ok(change.remove)
    }

    /// What is there: links by their mark, and rules of nodes whose link has gone with their namespace.
    pub(crate) fn attached(&self, names: &Names, links: &[Link]) -> Vec<Attached> {
        let mut all: BTreeMap<SliverId, (SliceId, bool)> = BTreeMap::new();
        let sources = self.elements.iter().filter(|(e, _)| matches!(e, Element::Source4 { .. }));
        all.extend(
            sources.filter_map(|(_, mark)| read_owner(mark)).map(|(slice, sliver)| (sliver, (slice, false))),
        );
        let ours = links.iter().filter_map(|link| names.read_alias(&link.alias));
        all.extend(ours.map(|(slice, sliver)| (sliver, (slice, true))));
        all.into_iter().map(|(sliver, (slice, alive))| Attached { slice, sliver, alive }).collect()
    }

    /// Whether rules have been looked at by this process.
    pub(crate) fn is_prepared(&self) -> bool {
        self.loaded.is_some()
    }

    /// Reads the elements that are there, when nothing has been made yet.
    pub(crate) fn read_elements(&mut self, names: &Names) -> Result<(), FabricError> {
        self.elements = self.present(names)?.unwrap_or_default();
        Ok(())
    }

    /// What is in the kernel's sets; `None` without a table.
    fn present(&mut self, names: &Names) -> Result<Option<Elements>, FabricError> {
        self.table(names)?.read().map_err(|r| kernel("reading packet rules", &r))
    }

    fn table(&mut self, names: &Names) -> Result<&mut Table, FabricError> {
        match &mut self.table {
            Some(table) => Ok(table),
            none => Ok(none.insert(open_table(names)?)),
        }
    }

    /// Removes everything with the instance's mark.
    pub(crate) fn reset(
        &mut self,
        names: &Names,
        config: &FabricConfig,
        host: &mut impl Routing,
    ) -> Result<(), FabricError> {
        let links = host.links().map_err(|r| kernel("listing interfaces", &r))?;
        for link in links.iter().filter(|link| names.read_alias(&link.alias).is_some()) {
            interface::remove(host, &link.name)?;
        }
        if let (Some(net), true) = (config.ipv6, config.ipv6_proxy) {
            let proxies = host.proxies().map_err(|r| kernel("listing neighbours", &r))?;
            let ours = proxies.into_iter().filter(|(_, ip)| matches!(ip, IpAddr::V6(v6) if net.contains(v6)));
            let changes: Vec<Change> =
                ours.map(|(index, ip)| Change::Proxy { index, ip, present: false }).collect();
            host.apply(&changes).map_err(refused)?;
        }
        // Looked for first, so that nothing is touched where there never was anything.
        if listing(names)?.is_some() {
            program::nft("removing packet rules", &["-f", "-"], &rules::removal(names))?;
        }
        for program in ["iptables", "ip6tables"] {
            jump::remove(program, names)?;
        }
        self.held.clear();
        *self = Self::default();
        Ok(())
    }
}

/// Every node's wanted elements at once: what is missing, and what stands in its way.
fn difference_of_all(present: &Elements, wanted: &Elements) -> Difference {
    // No element is marked like this, so only what is in the way goes: others' attachments may not be known yet.
    wanted::difference(present, wanted, "nobody")
}

/// The table without its elements and counters; `None` if there is no such table.
fn listing(names: &Names) -> Result<Option<String>, FabricError> {
    let arguments = ["-s", "-t", "list", "table", "inet", &names.table];
    let output = program::run("nft", &arguments, "")?.ok_or_else(|| {
        FabricError::Lacking("the program nft is missing: install the package nftables".to_owned())
    })?;
    Ok(output.success.then_some(output.stdout))
}

fn open_table(names: &Names) -> Result<Table, FabricError> {
    Table::open(&names.table).map_err(|refusal| match refusal.errno {
        Errno::EPROTONOSUPPORT => {
            FabricError::Lacking("the kernel has no nftables: load the module nf_tables".to_owned())
        }
        _ => kernel("opening a netfilter socket", &refusal),
    })
}

fn uplink(links: &[Link], routes: &[Route]) -> Uplink {
    let defaults: Vec<(&Route, &Link)> = routes
        .iter()
        .filter(|route| route.to.prefix_len() == 0)
        .filter_map(|route| Some((route, links.iter().find(|link| link.index == route.index)?)))
        .collect();
    let first =
        |v4: bool| defaults.iter().find(|(route, _)| route.to.addr().is_ipv4() == v4).map(|(_, link)| *link);
    Uplink {
        names: defaults.iter().map(|(_, link)| link.name.clone()).collect(),
        ipv6: first(false).map(|link| (link.index, link.name.clone())),
        mtu: first(true).or(first(false)).map(|link| link.mtu),
    }
}

//! Links, and what nodes know of the network.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use testyard_model::host_table::Listed;
use testyard_model::name::ClientId;
use testyard_model::topology::Variable;

use crate::diff::{Change, Difference, HOST_NAME, note};
use crate::network::pairs::pairs;
use crate::network::parts::{NetworkLink, NetworkMember, NetworkNode, NetworkPlan};
use crate::render::impairment_text;

/// Routes and neighbours' names are compared node by node as long as that is not more than so many nodes times
/// networks: about a second's work. Beyond, all nodes are told that may be concerned.
const MOST_COMPARED: usize = 20_000_000;

pub(super) fn diff(old: &NetworkPlan, new: &NetworkPlan) -> Vec<Change> {
    if old == new {
        return Vec::new();
    }
    let mut changes = Vec::new();
    let gone = old.nodes().iter().filter(|node| new.node(&node.client_id).is_none());
    changes.extend(gone.map(|node| Change::NodeRemoved { node: node.client_id.clone() }));
    for node in new.nodes() {
        match old.node(&node.client_id) {
            None => changes.push(Change::NodeAdded { node: node.client_id.clone() }),
            Some(old) => changes.extend(node_change(old, node)),
        }
    }
    links(old, new, &mut changes);
    let mut what = Vec::new();
    note(&mut what, "routing", &old.routing(), &new.routing(), |routing| {
        format!("{routing:?}").to_lowercase()
    });
    changes.extend(what.pop().map(Change::RoutingChanged));
    let variables = |all: &[Variable]| {
        let names: Vec<&str> = all.iter().map(|variable| variable.name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    };
    note(&mut what, "environment", &old.environment(), &new.environment(), |all| variables(all));
    changes.extend(what.pop().map(Change::EnvironmentChanged));
    let nodes = names_changed(old, new);
    if !nodes.is_empty() {
        changes.push(Change::NamesChanged { nodes });
    }
    let nodes = routes_changed(old, new);
    if !nodes.is_empty() {
        changes.push(Change::RoutesChanged { nodes });
    }
    changes
}

fn node_change(old: &NetworkNode, new: &NetworkNode) -> Option<Change> {
    let node = new.client_id.clone();
    let mut what = Vec::new();
    note(&mut what, HOST_NAME, &old.hostname, &new.hostname, ToString::to_string);
    let restarts = !what.is_empty();
    let on = |on: &bool| if *on { "on".to_owned() } else { "off".to_owned() };
    note(&mut what, "forwarding", &old.forwarding, &new.forwarding, on);
    let names = |programs: &Vec<testyard_model::service::Program>| {
        let names: Vec<&str> = programs.iter().map(|program| program.client_id.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    };
    note(&mut what, "programs", &old.programs, &new.programs, names);
    match (restarts, what.is_empty()) {
        (_, true) => None,
        (true, _) => Some(Change::NodeRestarts { node, what }),
        (false, _) => Some(Change::NodeChanged { node, what }),
    }
}

fn links(old: &NetworkPlan, new: &NetworkPlan, changes: &mut Vec<Change>) {
    let before: HashMap<&ClientId, &NetworkLink> =
        old.links().iter().map(|link| (&link.client_id, link)).collect();
    let after: HashMap<&ClientId, &NetworkLink> =
        new.links().iter().map(|link| (&link.client_id, link)).collect();
    for link in old.links().iter().filter(|link| !after.contains_key(&link.client_id)) {
        changes.push(Change::LinkRemoved { link: link.client_id.clone() });
    }
    for link in new.links() {
        let name = link.client_id.clone();
        match before.get(&link.client_id) {
            None => {
                let members = link.members.iter().map(|member| member.node.clone()).collect();
                changes.push(Change::LinkAdded { link: name, members });
            }
            Some(old) if *old == link => {}
            Some(old) => changes.push(Change::LinkChanged { link: name, what: differences(old, link) }),
        }
    }
}

fn differences(old: &NetworkLink, new: &NetworkLink) -> Vec<Difference> {
    let mut what = Vec::new();
    let networks = |networks: &Vec<IpNet>| {
        let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(" ") }
    };
    let yes = |yes: &bool| if *yes { "yes".to_owned() } else { "no".to_owned() };
    note(&mut what, "kind", &old.kind, &new.kind, |kind| format!("{kind:?}").to_lowercase());
    note(&mut what, "network", &old.subnets, &new.subnets, networks);
    note(&mut what, "network chosen by the planner", &old.automatic, &new.automatic, yes);
    note(&mut what, "MTU", &old.mtu, &new.mtu, ToString::to_string);
    note(&mut what, "seed", &old.seed, &new.seed, ToString::to_string);
    note(&mut what, "down at the start", &old.down, &new.down, yes);
    note(&mut what, "across hosts", &old.crosses_hosts, &new.crosses_hosts, yes);
    note(&mut what, "by netem alone", &old.only_netem, &new.only_netem, yes);
    let capture = |capture: &Option<testyard_model::link::Capture>| {
        capture.as_ref().map_or("none".to_owned(), |capture| {
            format!("{} bytes {}", capture.snap_length, capture.filter.as_deref().unwrap_or_default())
        })
    };
    note(&mut what, "capture", &old.capture, &new.capture, capture);
    let places = pairs(&old.member_names(), &new.member_names());
    let stay: HashSet<usize> = places.iter().flatten().copied().collect();
    for (member, _) in old.members.iter().zip(0..).filter(|(_, place)| !stay.contains(place)) {
        let old = Some(member.interface.to_string());
        what.push(Difference { what: "interface".to_owned(), old, new: None });
    }
    for (member, place) in new.members.iter().zip(places) {
        match place.map(|place| &old.members[place]) {
            None => {
                let new = Some(member.interface.to_string());
                what.push(Difference { what: "interface".to_owned(), old: None, new });
            }
            Some(old) if old == member => {}
            Some(old) => member_differences(old, member, &mut what),
        }
    }
    if what.is_empty() {
        what.push(Difference { what: "order of its interfaces".to_owned(), old: None, new: None });
    }
    what
}

fn member_differences(old: &NetworkMember, new: &NetworkMember, what: &mut Vec<Difference>) {
    let name = new.interface.as_str();
    let of = |thing: &str| format!("{name} {thing}");
    let addresses = |addresses: &Vec<IpNet>| {
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(" ") }
    };
    note(what, &of("called"), &old.interface, &new.interface, ToString::to_string);
    note(what, &of("named"), &old.device, &new.device, ToString::to_string);
    note(what, &of("Ethernet address"), &old.mac, &new.mac, ToString::to_string);
    note(what, &of("address"), &old.addresses, &new.addresses, addresses);
    note(what, &of("cost"), &old.cost, &new.cost, ToString::to_string);
    note(what, &of("to link"), &old.to_link, &new.to_link, impairment_text);
    note(what, &of("from link"), &old.from_link, &new.from_link, impairment_text);
}

/// Nodes of both plans.
fn common<'p>(old: &'p NetworkPlan, new: &'p NetworkPlan) -> impl Iterator<Item = (u32, u32, &'p ClientId)> {
    new.nodes()
        .iter()
        .zip(0_u32..)
        .filter_map(|(node, number)| Some((old.number(&node.client_id)?, number, &node.client_id)))
}

fn names_changed(old: &NetworkPlan, new: &NetworkPlan) -> Vec<ClientId> {
    if old.same_names(new) {
        return Vec::new();
    }
    // A file that lists everything is the same for all but the bare names, and these follow from who is on which link,
    // which the other names say too.
    if old.listed() == Listed::All && new.listed() == Listed::All {
        if old.host_table().all_lines() == new.host_table().all_lines() {
            return Vec::new();
        }
        return common(old, new).map(|(.., node)| node.clone()).collect();
    }
    let work: usize = new.neighbourhoods().saturating_add(old.neighbourhoods());
    let differs =
        |node: &ClientId| work > MOST_COMPARED / 10 || old.hosts_lines(node) != new.hosts_lines(node);
    common(old, new).filter(|(.., node)| differs(node)).map(|(.., node)| node.clone()).collect()
}

fn routes_changed(old: &NetworkPlan, new: &NetworkPlan) -> Vec<ClientId> {
    let same = old.index.graphs == new.index.graphs
        && old.index.numbers == new.index.numbers
        && old.routing() == new.routing()
        && old.nodes().iter().zip(new.nodes()).all(|(old, new)| old.listed_routes == new.listed_routes);
    if same {
        return Vec::new();
    }
    let work = new.nodes().len().saturating_mul(old.links().len().max(new.links().len()));
    let (mut before, mut after) = (old.router(), new.router());
    let mut differs = |(from, to, _): &(u32, u32, &ClientId)| {
        if work <= MOST_COMPARED {
            return before.of_number(*from) != after.of_number(*to);
        }
        !(old.places(*from).is_empty() && new.places(*to).is_empty())
    };
    common(old, new).filter(|node| differs(node)).map(|(.., node)| node.clone()).collect()
}

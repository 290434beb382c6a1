//! Plans: what nodes get, what is refused and with which words, and that nothing is given out twice.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use testyard_model::host::HostLimits;
use testyard_model::link::{Link, LinkKind};
use testyard_model::name::ClientId;
use testyard_model::sliver_type::{Port, SliverType};
use testyard_model::topology::{Node, Topology};
use testyard_plan::{
    Existing, Host, HostStanding, HostView, LinkPolicy, Plan, PlanError, PortRange, Site, Usage, plan,
};
use testyard_testkit::kinds::plain;

fn kind(name: &str, ports: &[&str]) -> SliverType {
    SliverType { ports: ports.iter().map(|port| port.parse().unwrap()).collect(), ..plain(name) }
}

fn node(client_id: &str) -> Node {
    Node::new(client_id.parse().unwrap())
}

fn nodes(count: usize) -> Topology {
    Topology { nodes: (0..count).map(|index| node(&format!("n{index}"))).collect(), ..Topology::default() }
}

fn host(name: &str, capacity: u32, only: Option<&str>) -> Host {
    let range = PortRange::new(2000, 2000 + 3 * capacity as u16).unwrap();
    let types = only.map(|name| vec![name.parse().unwrap()]);
    let ipv6 = Some("2001:db8::/120".parse().unwrap());
    Host::new(name.parse().unwrap(), capacity, range, "10.0.0.0/24".parse().unwrap(), ipv6, types).unwrap()
}

struct Yard {
    hosts: Vec<(Host, Usage, bool)>,
    types: Vec<SliverType>,
    links: LinkPolicy,
}

impl Yard {
    fn new(hosts: &[(&str, u32)]) -> Self {
        let hosts = hosts
            .iter()
            .map(|(name, capacity)| (host(name, *capacity, None), Usage::default(), true))
            .collect();
        Self { hosts, types: vec![kind("plain", &[]), kind("web", &["80/tcp"])], links: LinkPolicy::LeaveOut }
    }

    fn plan(&self, topology: &Topology, existing: &Existing) -> Result<Plan, PlanError> {
        let authority = "am.example.net".parse().unwrap();
        let views: Vec<_> = self
            .hosts
            .iter()
            .map(|(host, usage, healthy)| HostView {
                host,
                usage,
                standing: if *healthy { HostStanding::Ready } else { HostStanding::Ill },
                limits: &HostLimits::UNKNOWN,
            })
            .collect();
        let site = Site {
            authority: &authority,
            sliver_types: &self.types,
            nodes_per_slice: 10_000,
            links: self.links,
        };
        plan(topology, site, &views, existing)
    }

    fn carry_out(&mut self, plan: &Plan) {
        for node in &plan.nodes {
            let (_, usage, _) = self.hosts.iter_mut().find(|(host, ..)| *host.name() == node.host).unwrap();
            usage.hold(&node.holding()).unwrap();
        }
    }

    fn refusal(&self, topology: &Topology) -> String {
        self.plan(topology, &Existing::default()).unwrap_err().to_string()
    }
}

#[test]
fn what_nodes_get() {
    let yard = Yard::new(&[("a", 10)]);
    let mut topology = nodes(2);
    topology.nodes[1].sliver_type = Some("web".parse().unwrap());
    topology.nodes[1].ports = ["22", "53/udp", "80"].map(|port| port.parse::<Port>().unwrap()).into();
    topology.nodes[1].image = Some("alpine:3".parse().unwrap());
    let plan = yard.plan(&topology, &Existing::default()).unwrap();
    assert_eq!(plan.nodes[0].image.as_str(), "debian:12");
    assert_eq!(plan.nodes[0].ipv4.to_string(), "10.0.0.2");
    assert_eq!(plan.nodes[0].ipv6.unwrap().to_string(), "2001:db8::2");
    let ports: Vec<_> =
        plan.nodes[1].forwards.iter().map(|forward| (forward.host_port, forward.port.to_string())).collect();
    assert_eq!(ports, [(2001, "22/tcp".into()), (2002, "80/tcp".into()), (2003, "53/udp".into())]);
    assert_eq!(plan.nodes[1].ipv4.to_string(), "10.0.0.3");
}

#[test]
fn nodes_spread_and_bound_ones_stay_where_they_are_bound() {
    let yard = Yard::new(&[("a", 4), ("b", 3)]);
    let mut topology = nodes(4);
    topology.nodes[3].component = Some("urn:publicid:IDN+am.example.net+node+b".parse().unwrap());
    let plan = yard.plan(&topology, &Existing::default()).unwrap();
    let hosts: Vec<_> = plan.nodes.iter().map(|node| node.host.as_str()).collect();
    assert_eq!(hosts, ["a", "a", "a", "b"]);
}

#[test]
fn refusals_name_the_thing() {
    let mut yard = Yard::new(&[("a", 2), ("b", 1)]);
    let mut topology = nodes(1);
    topology.nodes[0].sliver_type = Some("wep".parse().unwrap());
    assert_eq!(
        yard.refusal(&topology),
        "node \"n0\": there is no sliver type \"wep\" here; there are plain, web"
    );
    topology.nodes[0].sliver_type = Some("plian".parse().unwrap());
    assert!(matches!(yard.plan(&topology, &Existing::default()),
        Err(PlanError::SliverType { suggestion: Some(name), .. }) if name == "plain"));
    topology = nodes(1);
    topology.nodes[0].exclusive = true;
    assert!(yard.refusal(&topology).starts_with("node \"n0\": exclusive nodes cannot be had here"));
    topology = nodes(1);
    topology.nodes[0].component = Some("urn:publicid:IDN+am.example.nett+node+a".parse().unwrap());
    assert!(yard.refusal(&topology).contains("did you mean \"urn:publicid:IDN+am.example.net+node+a\"?"));
    assert_eq!(
        yard.refusal(&nodes(4)),
        "not enough room: asked for 4 nodes with 4 ports, free 2 on a (7 ports), 1 on b (4 ports); ask for less, or wait \
         until others have gone"
    );
    yard.hosts[1].2 = false;
    assert!(
        yard.refusal(&nodes(3)).contains("free 2 on a (7 ports), none on b (it cannot start nodes now);")
    );
    assert_eq!(yard.refusal(&nodes(0)), "the request has no node for this testbed");
    topology = nodes(1);
    topology.links = vec![Link::new("lan".parse().unwrap(), LinkKind::Lan)];
    assert!(yard.plan(&topology, &Existing::default()).is_ok());
    yard.links = LinkPolicy::Refuse;
    assert!(yard.refusal(&topology).contains("1 (lan)"));
    topology = nodes(2);
    topology.nodes[1].client_id = "n0".parse().unwrap();
    assert!(yard.refusal(&topology).contains("two nodes"));
    let existing = Existing {
        client_ids: ["n0", "n1"].map(|id| id.parse::<ClientId>().unwrap()).into(),
        ..Existing::default()
    };
    let error = yard.plan(&nodes(2), &existing).unwrap_err();
    assert!(matches!(&error, PlanError::Duplicate(ids) if ids.len() == 2));
    assert!(error.to_string().contains("\"n0\", \"n1\""));
}

#[test]
fn kinds_that_a_host_does_not_take() {
    let mut yard = Yard::new(&[("a", 4)]);
    yard.hosts.push((host("b", 2, Some("web")), Usage::default(), true));
    yard.hosts[0].0 = host("a", 4, Some("plain"));
    let mut topology = nodes(1);
    topology.nodes[0].sliver_type = Some("web".parse().unwrap());
    assert_eq!(yard.plan(&topology, &Existing::default()).unwrap().nodes[0].host.as_str(), "b");
    topology.nodes[0].component = Some("urn:publicid:IDN+am.example.net+node+a".parse().unwrap());
    assert_eq!(yard.refusal(&topology), "node \"n0\": host a takes no web nodes");
}

proptest! {
    /// Plans are made and carried out one after the other, and some are given up again: nothing is held twice, no
    /// host is over its capacity, and a refusal for lack of room comes only when there is none.
    #[test]
    fn nothing_is_given_out_twice(steps in prop::collection::vec((1usize..6, any::<bool>(), any::<bool>()), 1..40)) {
        let mut yard = Yard::new(&[("a", 12), ("b", 7)]);
        let mut plans: Vec<Plan> = vec![];
        for (count, web, remove) in steps {
            if remove && !plans.is_empty() {
                let gone = plans.remove(count % plans.len());
                for node in &gone.nodes {
                    let (_, usage, _) = yard.hosts.iter_mut().find(|(host, ..)| *host.name() == node.host).unwrap();
                    usage.release(&node.holding());
                }
                continue;
            }
            let mut topology = nodes(count);
            if web {
                topology.nodes[0].sliver_type = Some("web".parse().unwrap());
            }
            let free: u32 = yard.hosts.iter().map(|(host, usage, _)| usage.free(host)).sum();
            match yard.plan(&topology, &Existing::default()) {
                Ok(plan) => {
                    let names: BTreeSet<_> = plan.nodes.iter().map(|node| node.hostname.clone()).collect();
                    prop_assert_eq!(names.len(), count);
                    yard.carry_out(&plan);
                    plans.push(plan);
                }
                Err(PlanError::TooBig { .. }) => prop_assert!((free as usize) < count),
                Err(other) => prop_assert!(false, "{other}"),
            }
            let mut on: BTreeMap<_, u32> = BTreeMap::new();
            plans.iter().flat_map(|plan| &plan.nodes).for_each(|node| *on.entry(node.host.as_str()).or_default() += 1);
            for (host, usage, _) in &yard.hosts {
                prop_assert_eq!(usage.nodes(), on.get(host.name().as_str()).copied().unwrap_or(0));
                prop_assert!(usage.nodes() <= host.capacity());
            }
        }
    }
}

#[test]
fn who_can_be_called_as_its_user_says_is() {
    let yard = Yard::new(&[("a", 9)]);
    let topology = Topology { nodes: ["a_b", "a-b", "localhost"].map(node).into(), ..Topology::default() };
    let planned = yard.plan(&topology, &Existing::default()).unwrap();
    let names: Vec<&str> = planned.nodes.iter().map(|node| node.hostname.as_str()).collect();
    assert_eq!(names, ["a-b-2", "a-b", "localhost-2"]);
    let told: Vec<&str> = planned.diagnostics.iter().map(|told| told.message.as_str()).collect();
    assert!(told.iter().any(|text| text.contains("\"a_b\" is called a-b-2")), "{told:?}");
}

#[test]
fn a_slice_has_no_more_nodes_than_it_may() {
    let yard = Yard::new(&[("a", 9)]);
    let few = Topology { nodes: vec![node("x")], ..Topology::default() };
    let existing = Existing {
        client_ids: (0..10_000).map(|number| format!("n{number}").parse().unwrap()).collect(),
        ..Existing::default()
    };
    let refused = yard.plan(&few, &existing).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a slice may have 10000 nodes here: it has 10000, and 1 more were asked for"
    );
}

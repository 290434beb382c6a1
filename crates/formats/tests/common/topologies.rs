//! Topologies by chance: any that hold together, with everything that a model can say.

use std::num::{NonZeroU16, NonZeroU32};

use proptest::prelude::*;
use proptest::sample::Index;
use testyard_model::impairment::{Distribution, Impairment, Jitter, Loss, Queue, QueueLimit, Red};
use testyard_model::link::{Attribute, Capture, Link, LinkKind, Member};
use testyard_model::mac::Mac;
use testyard_model::name::ClientId;
use testyard_model::quantity::{Probability, Rate, Size, Span};
use testyard_model::route::{Destination, NextHop, Route, Routing};
use testyard_model::schedule::{Action, Event};
use testyard_model::service::{Execute, Install, Program, Services, Shell};
use testyard_model::setting::Setting;
use testyard_model::sliver_type::{Port, Protocol};
use testyard_model::topology::{Interface, InterfaceAddress, Node, OnFailure, Storage, Topology, Variable};

fn name() -> impl Strategy<Value = ClientId> {
    let text = prop_oneof![
        6 => "[a-z]{1,3}(-[0-9]{1,2})?",
        2 => "[a-c][:.+_ ][a-c0]{1,4}",
        1 => "[0-9]{1,3}",
        1 => "(true|no|null|10\\.0\\.0\\.1|lan|a:lan|\u{e9}\u{4e2d})",
        1 => "[!-~]{1,12}",
    ];
    text.prop_filter_map("a name", |text| text.parse().ok())
}

fn probability() -> impl Strategy<Value = Probability> {
    let parts = prop_oneof![(0_u64..=100).prop_map(|p| p * 10_000_000), 0_u64..=1_000_000_000];
    parts.prop_map(|parts| Probability::from_parts_per_billion(parts).unwrap())
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        (0_u64..1000).prop_map(Span::from_millis),
        (0_u64..1_000_000).prop_map(Span::from_micros),
        (0_u64..2_000_000_000).prop_map(Span::from_nanos),
    ]
}

fn rate() -> impl Strategy<Value = Rate> {
    let bits = prop_oneof![
        (1_u64..10_000).prop_map(|mbit| mbit * 1_000_000),
        (1_u64..1000).prop_map(|kbit| kbit * 1000),
        1_000_u64..1_000_000_000,
    ];
    bits.prop_map(|bits| Rate::from_bits_per_second(bits).unwrap())
}

fn queue() -> impl Strategy<Value = Queue> {
    let limit = prop_oneof![
        (1_u32..2000).prop_map(QueueLimit::Packets),
        (2000_u64..1 << 24).prop_map(|bytes| QueueLimit::Bytes(format!("{bytes}").parse::<Size>().unwrap())),
    ];
    let red = (0_u32..50, 1_u32..100, probability(), probability(), any::<bool>()).prop_map(
        |(min, more, probability, weight, gentle)| Red { min, max: min + more, probability, weight, gentle },
    );
    let red = prop::option::of(prop_oneof![Just(Red::NS), red]);
    (limit, red).prop_map(|(limit, red)| Queue { limit, red })
}

fn jitter() -> impl Strategy<Value = Jitter> {
    let distribution =
        prop_oneof![Just(Distribution::Uniform), Just(Distribution::Normal), Just(Distribution::Exponential)];
    (span(), distribution).prop_map(|(spread, distribution)| Jitter { spread, distribution })
}

fn loss() -> impl Strategy<Value = Loss> {
    let leave = (1_u64..=1_000_000_000).prop_map(|parts| Probability::from_parts_per_billion(parts).unwrap());
    prop_oneof![
        4 => probability().prop_map(Loss::Random),
        1 => (probability(), leave).prop_map(|(enter, leave)| Loss::Burst { enter, leave }),
        1 => (1_u32..1000).prop_map(|nth| Loss::Every(NonZeroU32::new(nth).unwrap())),
    ]
}

/// What most languages can say.
fn plain_impairment() -> impl Strategy<Value = Impairment> {
    let loss = prop::option::of(probability().prop_filter("some", |p| !p.is_never()).prop_map(Loss::Random));
    (prop::option::of(rate()), prop_oneof![Just(Span::ZERO), span()], loss)
        .prop_map(|(rate, delay, loss)| Impairment { rate, delay, loss, ..Impairment::default() })
}

fn impairment() -> impl Strategy<Value = Impairment> {
    let few = prop_oneof![3 => Just(Probability::NEVER), 1 => probability()];
    let rest = (prop::option::of(jitter()), prop::option::of(loss()), few.clone(), few.clone(), few);
    let whole = (plain_impairment(), rest, prop::option::of(queue())).prop_map(
        |(plain, (jitter, loss, duplicate, reorder, corrupt), queue)| Impairment {
            jitter,
            loss,
            duplicate,
            reorder,
            corrupt,
            queue,
            ..plain
        },
    );
    prop_oneof![2 => Just(Impairment::default()), 3 => plain_impairment(), 2 => whole]
}

fn setting() -> impl Strategy<Value = Setting> {
    prop_oneof![
        prop::option::of(rate()).prop_map(Setting::Rate),
        span().prop_map(Setting::Delay),
        prop::option::of(jitter()).prop_map(Setting::Jitter),
        prop::option::of(loss()).prop_map(Setting::Loss),
        probability().prop_map(Setting::Corrupt),
        prop::option::of(queue()).prop_map(Setting::Queue),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z =&;$\"'<>#:{}\\[\\]-]{1,20}", "[ -~]{1,10}", "\\PC{1,8}"]
        .prop_map(|text| format!("{text}x"))
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    let one = ("[a-c]{1,2}(:[a-z]{1,3})?", text()).prop_map(|(key, value)| Attribute { key, value });
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(one, 1..4)]
}

fn services() -> impl Strategy<Value = Services> {
    let timeout = || prop::option::of((1_u32..100_000).prop_map(|s| NonZeroU32::new(s).unwrap()));
    let shell = prop_oneof![3 => Just(Shell::Sh), 1 => Just(Shell::Bash)];
    let execute =
        (shell, text(), timeout()).prop_map(|(shell, command, timeout)| Execute { shell, command, timeout });
    let install = ("[a-z]{1,5}", any::<bool>()).prop_map(|(name, checked)| Install {
        url: format!("https://example.net/{name}.tgz"),
        path: format!("/opt/{name}"),
        checksum: checked.then(|| format!("sha256:{}", "0a".repeat(32)).parse().unwrap()),
    });
    let some = (prop::collection::vec(install, 0..3), prop::collection::vec(execute, 0..3))
        .prop_map(|(installs, executes)| Services { installs, executes });
    prop_oneof![3 => Just(Services::default()), 1 => some]
}

fn node() -> impl Strategy<Value = Node> {
    let words = (
        prop::option::of(Just("docker-container")),
        prop::option::of(prop_oneof![Just("debian:12"), Just("lab/tool")]),
        prop::option::weighted(0.1, Just("urn:publicid:IDN+am.example.net+node+local")),
        prop::option::weighted(0.2, "[a-z]{1,4}"),
    );
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    let port = (protocol, 23_u16..9000)
        .prop_map(|(protocol, number)| Port { protocol, number: NonZeroU16::new(number).unwrap() });
    let ports = prop::collection::btree_set(port, 0..3).prop_map(|ports| ports.into_iter().collect());
    let storage = ("/[a-z]{1,5}", prop::option::of(0_u64..1 << 40)).prop_map(|(mount_point, size)| Storage {
        mount_point,
        size: size.map(|size| size.to_string().parse().unwrap()),
    });
    let storage = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(storage, 1..3)];
    let failure = prop_oneof![4 => Just(OnFailure::Fatal), 1 => Just(OnFailure::Nonfatal), 1 => Just(OnFailure::Ignore)];
    (name(), words, any::<bool>(), ports, services(), storage, failure, attributes()).prop_map(
        |(client_id, words, exclusive, ports, services, storage, on_failure, attributes)| Node {
            sliver_type: words.0.map(|text| text.parse().unwrap()),
            image: words.1.map(|text| text.parse().unwrap()),
            component: words.2.map(|text| text.parse().unwrap()),
            partition: words.3,
            exclusive,
            ports,
            services,
            storage,
            on_failure,
            attributes,
            ..Node::new(client_id)
        },
    )
}

#[derive(Clone, Debug)]
struct Wish {
    name: ClientId,
    kind: LinkKind,
    ends: Vec<End>,
    even: bool,
    rest: (Option<u16>, bool, Option<u64>, Option<Capture>, Vec<Attribute>),
}

#[derive(Clone, Debug)]
struct End {
    node: Index,
    /// Named by chance, or as the language would.
    named: Option<ClientId>,
    addressed: Option<bool>,
    mac: bool,
    cost: Option<u32>,
    attributes: Vec<Attribute>,
    to: Impairment,
    from: Impairment,
}

fn end(rich: bool) -> impl Strategy<Value = End> {
    let shaping = move || if rich { impairment().boxed() } else { plain_impairment().boxed() };
    let named = prop::option::weighted(0.3, name());
    let details = (
        prop::option::weighted(0.4, any::<bool>()),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.1, 0_u32..100),
    );
    (any::<Index>(), named, details, attributes(), shaping(), shaping()).prop_map(
        |(node, named, (addressed, mac, cost), attributes, to, from)| End {
            node,
            named,
            addressed,
            mac,
            cost,
            attributes,
            to,
            from,
        },
    )
}

fn wish(rich: bool) -> impl Strategy<Value = Wish> {
    let kind = prop_oneof![Just(LinkKind::PointToPoint), Just(LinkKind::Lan)];
    let capture = (64_u32..9000, prop::option::of(text()))
        .prop_map(|(snap_length, filter)| Capture { snap_length, filter });
    let rest = (
        prop::option::weighted(0.2, 576_u16..9000),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.2, any::<u64>()),
        prop::option::weighted(0.2, capture),
        attributes(),
    );
    (name(), kind, prop::collection::vec(end(rich), 2..6), any::<bool>(), rest)
        .prop_map(|(name, kind, ends, even, rest)| Wish { name, kind, ends, even, rest })
}

/// Any topology that holds together; `rich` ones use every field of the model.
pub(crate) fn topologies(rich: bool) -> impl Strategy<Value = Topology> {
    let routing = prop_oneof![
        3 => Just(Routing::Static),
        1 => Just(Routing::None),
        1 => Just(Routing::Manual),
        1 => Just(Routing::Session),
    ];
    let program = (any::<Index>(), name(), text(), prop::option::of(0_i32..100));
    let programs = prop::collection::vec(program, 0..4);
    let event = (
        span(),
        0_u8..8,
        any::<Index>(),
        any::<Index>(),
        prop::collection::vec(setting(), 1..4),
        any::<bool>(),
    );
    let events = prop::collection::vec(event, 0..6);
    let routes = prop::collection::vec((any::<Index>(), any::<Index>(), 0_u8..5, any::<Index>()), 0..4);
    let variables = prop::collection::vec(("[A-Z]{1,3}", text()), 0..3);
    let parts = (prop::collection::vec(node(), 1..6), prop::collection::vec(wish(rich), 0..6), routing);
    (parts, programs, events, routes, variables, attributes(), any::<bool>()).prop_map(
        move |((nodes, wishes, routing), programs, events, routes, variables, attributes, spare)| {
            let mut topology = Topology { routing, ..Topology::default() };
            for node in nodes {
                if topology.nodes.iter().all(|known| known.client_id != node.client_id) {
                    topology.nodes.push(node);
                }
            }
            if spare {
                let id: ClientId = "spare".parse().unwrap();
                topology.nodes[0].interfaces.push(Interface::new(id));
            }
            for (number, wish) in wishes.into_iter().enumerate() {
                add_link(&mut topology, wish, number);
            }
            if rich {
                add_rest(&mut topology, programs, events, routes);
                topology.environment =
                    variables.into_iter().map(|(name, value)| Variable { name, value }).collect();
                topology.attributes = attributes;
            }
            topology
        },
    )
}

fn add_link(topology: &mut Topology, wish: Wish, number: usize) {
    if topology.links.iter().any(|link| link.client_id == wish.name) {
        return;
    }
    let mut link = Link::new(wish.name, wish.kind);
    let count = if wish.kind == LinkKind::PointToPoint { 2 } else { wish.ends.len() };
    let (first_to, first_from) = (wish.ends[0].to, wish.ends[0].from);
    for (position, end) in wish.ends.into_iter().take(count).enumerate() {
        let index = end.node.index(topology.nodes.len());
        let taken = |id: &ClientId| {
            topology
                .nodes
                .iter()
                .flat_map(|node| &node.interfaces)
                .any(|interface| interface.client_id == *id)
        };
        let plain = format!("{}:{}", topology.nodes[index].client_id, link.client_id);
        let numbered = (2..).map(|n| format!("{plain}:{n}").parse().unwrap());
        let usual = std::iter::once(plain.parse().unwrap()).chain(numbered).find(|id| !taken(id)).unwrap();
        let client_id = end.named.filter(|id| !taken(id)).unwrap_or(usual);
        let host = u8::try_from(position + 1).unwrap();
        let addresses = end.addressed.map(|with_length| InterfaceAddress {
            address: [10, 1, u8::try_from(number).unwrap(), host].into(),
            prefix_length: with_length.then_some(24),
        });
        let mac = end.mac.then(|| Mac::new([2, 0, 0, 1, u8::try_from(number).unwrap(), host]).unwrap());
        topology.nodes[index].interfaces.push(Interface {
            addresses: addresses.into_iter().collect(),
            mac,
            cost: end.cost,
            attributes: end.attributes,
            client_id: client_id.clone(),
        });
        let (to_link, from_link) = if wish.even { (first_to, first_from) } else { (end.to, end.from) };
        link.members.push(Member { interface: client_id, to_link, from_link });
    }
    (link.mtu, link.down, link.seed, link.capture, link.attributes) = wish.rest;
    topology.links.push(link);
}

type Programs = Vec<(Index, ClientId, String, Option<i32>)>;
type Events = Vec<(Span, u8, Index, Index, Vec<Setting>, bool)>;

fn add_rest(
    topology: &mut Topology,
    programs: Programs,
    events: Events,
    routes: Vec<(Index, Index, u8, Index)>,
) {
    let mut ids: Vec<ClientId> = Vec::new();
    for (node, client_id, command, expected_exit) in programs {
        if !ids.contains(&client_id) {
            ids.push(client_id.clone());
            let node = node.index(topology.nodes.len());
            let program = Program { client_id, command, directory: None, timeout: None, expected_exit };
            topology.nodes[node].programs.push(program);
        }
    }
    for (at, kind, index, member, settings, flag) in events {
        let node = topology.nodes[index.index(topology.nodes.len())].client_id.clone();
        let link = (!topology.links.is_empty()).then(|| &topology.links[index.index(topology.links.len())]);
        let program = (!ids.is_empty()).then(|| ids[index.index(ids.len())].clone());
        let action = match (kind, link, program) {
            (0, Some(link), _) => Action::LinkUp(link.client_id.clone()),
            (1, Some(link), _) => Action::LinkDown(link.client_id.clone()),
            (2 | 3, Some(link), _) => Action::LinkSet {
                link: link.client_id.clone(),
                from: flag.then(|| link.members[member.index(link.members.len())].interface.clone()),
                settings,
            },
            (4, _, Some(program)) => Action::ProgramStart { program, command: flag.then(|| "id".to_owned()) },
            (5, _, Some(program)) => Action::ProgramStop(program),
            (6, _, Some(program)) => Action::ProgramSignal { program, signal: "USR1".to_owned() },
            (7, ..) => Action::NodeReload(node),
            _ => Action::NodeRestart(node),
        };
        topology.schedule.push(Event { at, action });
    }
    for (node, target, kind, via) in routes {
        let other = topology.nodes[target.index(topology.nodes.len())].client_id.clone();
        let interface = topology.nodes.iter().flat_map(|node| &node.interfaces).next();
        let link = (!topology.links.is_empty()).then(|| &topology.links[target.index(topology.links.len())]);
        let to = match (kind, link, interface) {
            (0, Some(link), _) => Destination::Link(link.client_id.clone()),
            (1, _, Some(interface)) => Destination::Interface(interface.client_id.clone()),
            (2, ..) => Destination::Network { address: [10, 9, 0, 0].into(), prefix_length: 16 },
            _ => Destination::Node(other),
        };
        let via = match kind {
            3 => NextHop::Address([10, 1, 0, 2].into()),
            _ => NextHop::Node(topology.nodes[via.index(topology.nodes.len())].client_id.clone()),
        };
        let node = node.index(topology.nodes.len());
        topology.nodes[node].routes.push(Route { to, via });
    }
}

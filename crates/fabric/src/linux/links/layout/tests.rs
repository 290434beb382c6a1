use testyard_model::netem::Unsaid;

use super::*;
use crate::links::{FarEnd, Passed};
use crate::linux::links::netem::Counted;

fn end(node: u8, settings: &[&str]) -> LinkEnd {
    let mut to_link = Impairment::default();
    for setting in settings {
        setting.parse::<testyard_model::setting::Setting>().unwrap().apply(&mut to_link);
    }
    let node = format!("0197e7a0-0000-7000-8000-0000000000{node:02x}").parse().unwrap();
    LinkEnd { port: PortId { node, device: "eth1".into() }, to_link, from_link: Impairment::default() }
}

fn link(kind: LinkKind, ends: Vec<LinkEnd>) -> HostLink {
    HostLink {
        sliver: "0197e7a0-0000-7000-8000-0000000000ff".parse().unwrap(),
        name: "lan0".into(),
        kind,
        up: true,
        mtu: 1500,
        seed: 7,
        is_seed_chosen: false,
        capture: None,
        ends,
        beyond: None,
    }
}

fn means(choice: Choice) -> Means {
    Means { choice, tunnel_port: 14_789 }
}

fn by_wire(link: HostLink) -> Layout {
    Layout::of(&[link], means(Choice::Wire)).unwrap()
}

const AUTO: Choice = Choice::Netem { is_only: false };

#[test]
fn a_clear_cable_is_two_redirects() {
    let (a, b) = (end(1, &[]), end(2, &[]));
    let layout = by_wire(link(LinkKind::PointToPoint, vec![a.clone(), b.clone()]));
    assert_eq!(layout.gates[&half(&a.port)].joint, Joint::Redirect(half(&b.port)));
    assert_eq!(layout.gates[&half(&b.port)].joint, Joint::Redirect(half(&a.port)));
    assert!(layout.pipes.is_empty() && layout.bridges.is_empty());
    assert_eq!(layout.joints_of(a.port.node).count(), 2, "the peer's redirect leads to the new half");
}

#[test]
fn an_impaired_cable_is_a_pipe() {
    let (a, b) = (end(1, &["delay=5ms"]), end(2, &[]));
    let layout = by_wire(link(LinkKind::PointToPoint, vec![a.clone(), b]));
    assert_eq!(layout.gates[&half(&a.port)].joint, Joint::Wire);
    let [pipe] = layout.pipes.as_slice() else { panic!("one pipe: {:?}", layout.pipes) };
    assert_eq!((pipe.seed, pipe.directions[0].stages.len(), pipe.directions[1].stages.len()), (7, 1, 0));
    assert_eq!(layout.joints_of(a.port.node).count(), 1);
}

#[test]
fn only_impaired_members_of_a_lan_go_by_the_wire() {
    let (a, b, c) = (end(1, &["loss=1%"]), end(2, &[]), end(3, &[]));
    let layout = by_wire(link(LinkKind::Lan, vec![a.clone(), b.clone(), c]));
    let bridge = bridge("0197e7a0-0000-7000-8000-0000000000ff".parse().unwrap());
    assert_eq!(layout.gates[&half(&b.port)].joint, Joint::Bridge(bridge.clone()));
    assert_eq!(layout.gates[&half(&a.port)].joint, Joint::Wire);
    assert_eq!(layout.stubs[&stub(&a.port)].bridge, bridge);
    assert_eq!(layout.pipes[0].ports[1].as_str(), stub(&a.port));
}

#[test]
fn a_link_that_is_down_has_no_carrier() {
    let mut down = link(LinkKind::PointToPoint, vec![end(1, &["delay=5ms"]), end(2, &[])]);
    down.up = false;
    let layout = by_wire(down);
    assert!(layout.gates.values().all(|gate| !gate.up));
    assert!(!layout.pipes[0].up);
}
#[test]
fn netem_is_where_frames_leave() {
    let (a, b) = (end(1, &["delay=5ms"]), end(2, &[]));
    let cable = link(LinkKind::PointToPoint, vec![a.clone(), b.clone()]);
    let layout = Layout::of(&[cable], means(AUTO)).unwrap();
    assert!(layout.pipes.is_empty() && layout.has_netem());
    let [gate_a, gate_b] = [&a, &b].map(|end| &layout.gates[&half(&end.port)]);
    assert_eq!(gate_a.joint, Joint::Redirect(half(&b.port)));
    assert_eq!(gate_b.joint, Joint::Redirect(half(&a.port)));
    // Both have one, so that a change of either is in place.
    assert!(gate_b.netem.is_some() && gate_a.netem.is_some() && gate_a.netem != gate_b.netem);

    let mut lan = link(LinkKind::Lan, vec![a.clone(), b.clone()]);
    lan.up = false;
    let layout = Layout::of(&[lan], means(AUTO)).unwrap();
    let (outer, inner) = (&layout.gates[&half(&a.port)], &layout.gates[&stub(&a.port)]);
    assert_eq!(
        (&outer.joint, &inner.joint),
        (&Joint::Redirect(stub(&a.port)), &Joint::Redirect(half(&a.port)))
    );
    assert_eq!(inner.netem, gate_b.netem, "what is done to what it sends");
    assert!(inner.up && !outer.up, "only the node loses its carrier");
    assert_eq!(layout.gates[&half(&b.port)].netem, None);
    assert_eq!(layout.joints_of(a.port.node).count(), 2, "the stub's redirect leads to the new half");
}

#[test]
fn what_netem_cannot_say_is_the_wires_or_refused() {
    let ends = || vec![end(1, &["loss=every 5"]), end(2, &["delay=5ms"])];
    let layout = Layout::of(&[link(LinkKind::PointToPoint, ends())], means(AUTO)).unwrap();
    assert_eq!((layout.pipes.len(), layout.has_netem()), (1, false), "a link is all of one back end");
    for kind in [LinkKind::PointToPoint, LinkKind::Lan] {
        let refused = Layout::of(&[link(kind, ends())], means(Choice::Netem { is_only: true })).unwrap_err();
        assert_eq!((refused.link.as_str(), refused.why), ("lan0", Unsaid::Every));
    }
}

#[test]
fn netem_counts_by_links() {
    let (a, b) = (end(1, &["loss=1%"]), end(2, &["rate=1Mbit"]));
    let cable = link(LinkKind::PointToPoint, vec![a.clone(), b.clone()]);
    let layout = Layout::of(&[cable], means(AUTO)).unwrap();
    let counted = Counted { delivered: 90, bytes: 9_000, lost: 10, full: 2, waiting: 3 };
    let all = layout.queued(|_| Some(counted));
    let from = |port: &PortId| all.iter().find(|way| way.from.as_ref() == Some(port)).unwrap().passed;
    let passed = Passed { offered: 105, delivered: 90, bytes: 9_000, lost: 10, dropped: 2 };
    assert_eq!(from(&a.port), passed);
    assert_eq!(from(&b.port), Passed { lost: 0, dropped: 12, ..passed });
    assert!(layout.queued(|_| None).is_empty(), "a node that is not there");
}

fn beyond(vni: u32, far: Option<FarEnd>) -> Beyond {
    let [local, peer] = [1, 2].map(|number| [192, 0, 2, number].into());
    Beyond { vni: vni.try_into().unwrap(), local, peers: [peer].into(), far }
}

/// The same link, with these ends here and others on another host.
fn shared(link: HostLink, here: usize) -> HostLink {
    let far = (link.kind == LinkKind::PointToPoint)
        .then(|| FarEnd { port: link.ends[1 - here].port.clone(), is_first: here == 1 });
    HostLink { beyond: Some(beyond(77, far)), ends: vec![link.ends[here].clone()], ..link }
}

#[test]
fn a_clear_cable_to_another_host_leads_to_its_trunk() {
    let (a, b) = (end(1, &[]), end(2, &[]));
    let layout = by_wire(shared(link(LinkKind::PointToPoint, vec![a.clone(), b]), 0));
    let [(name, trunk)] = layout.trunks.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", layout.trunks) };
    assert_eq!((trunk.vni.get(), &trunk.bridge, trunk.mtu), (77, &None, 1500));
    assert_eq!(layout.gates[&half(&a.port)].joint, Joint::Redirect(name.clone()));
    assert_eq!(layout.gates[name].joint, Joint::Redirect(half(&a.port)));
    assert_eq!(layout.joints_of(a.port.node).count(), 2, "the trunk's redirect leads to the new half");
}

#[test]
fn each_host_does_what_its_end_does_and_chances_are_those_of_one_host() {
    for choice in [Choice::Wire, AUTO] {
        let (a, b) = (end(1, &["delay=5ms"]), end(2, &["loss=1%"]));
        let whole = link(LinkKind::PointToPoint, vec![a.clone(), b.clone()]);
        let on_one = Layout::of(std::slice::from_ref(&whole), means(choice)).unwrap();
        for (here, end, far) in [(0, &a, &b), (1, &b, &a)] {
            let layout = Layout::of(&[shared(whole.clone(), here)], means(choice)).unwrap();
            let trunk = layout.trunks.keys().next().unwrap();
            if choice == Choice::Wire {
                let [pipe] = &layout.pipes[..] else { panic!("{:?}", layout.pipes) };
                assert_eq!(pipe.ports[here].as_str(), half(&end.port));
                assert_eq!(pipe.ports[1 - here].as_str(), trunk);
                assert_eq!(pipe.directions[here], on_one.pipes[0].directions[here], "what it sends");
                assert_eq!(pipe.directions[1 - here].stages, [], "what the other does");
                assert_eq!((pipe.seed, &pipe.name), (7, &on_one.pipes[0].name));
            } else {
                assert_eq!(layout.gates[trunk].netem, on_one.gates[&half(&far.port)].netem);
            }
        }
    }
}

#[test]
fn a_lan_on_several_hosts_has_one_trunk() {
    let (a, b) = (end(1, &["delay=5ms"]), end(2, &[]));
    let mut lan = link(LinkKind::Lan, vec![a.clone(), b.clone()]);
    lan.up = false;
    lan.beyond = Some(beyond(78, None));
    let layout = by_wire(lan);
    let trunk = layout.trunks.values().next().unwrap();
    assert_eq!(trunk.bridge.as_deref(), layout.bridges.keys().next().map(String::as_str));
    assert_eq!((layout.trunks.len(), layout.gates.len()), (1, 3), "it is no gate");
}

#[test]
fn a_cable_that_is_down_stays_joined_to_the_other_host() {
    let mut down = shared(link(LinkKind::PointToPoint, vec![end(1, &[]), end(2, &[])]), 0);
    down.up = false;
    let layout = by_wire(down);
    let (trunks, halves): (Vec<_>, Vec<_>) =
        layout.gates.iter().partition(|(name, _)| layout.trunks.contains_key(*name));
    assert!(trunks.iter().all(|(_, gate)| gate.up) && halves.iter().all(|(_, gate)| !gate.up));
}

//! How long it takes to read and write a large topology: 10,000 nodes, 20,000 links with impairments.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::time::Instant;

use testyard_formats::export::export;
use testyard_formats::import::Site;
use testyard_formats::language::Language;
use testyard_formats::read::Reader;
use testyard_model::impairment::Impairment;
use testyard_model::link::{Link, LinkKind, Member};
use testyard_model::name::ClientId;
use testyard_model::setting::Setting;
use testyard_model::topology::{Interface, InterfaceAddress, Node, Topology};

const NODES: usize = 10_000;
const LINKS: usize = 20_000;
const ROUNDS: usize = 5;

fn large() -> Topology {
    let id = |text: String| -> ClientId { text.parse().unwrap() };
    let mut topology = Topology::default();
    topology.nodes.extend((0..NODES).map(|n| Node::new(id(format!("node-{n}")))));
    let mut impairment = Impairment::default();
    for setting in ["rate=100Mbit", "delay=12.5ms", "loss=0.1%"] {
        setting.parse::<Setting>().unwrap().apply(&mut impairment);
    }
    for number in 0..LINKS {
        let mut link = Link::new(id(format!("link-{number}")), LinkKind::PointToPoint);
        // A ring, and chords.
        let (a, step) = (number % NODES, if number < NODES { 1 } else { 137 });
        for (host, node) in [(1, a), (2, (a + step) % NODES)] {
            let interface = id(format!("node-{node}:link-{number}"));
            let address = [10, (number / 256) as u8, (number % 256) as u8, host].into();
            topology.nodes[node].interfaces.push(Interface {
                addresses: vec![InterfaceAddress { address, prefix_length: Some(24) }],
                ..Interface::new(interface.clone())
            });
            link.members.push(Member { to_link: impairment, ..Member::clear(interface) });
        }
        topology.links.push(link);
    }
    topology
}

fn main() {
    let topology = large();
    let site = Site::default();
    let reader = Reader { site: &site, context: None, hosts: None, ns: None };
    println!("{NODES} nodes, {LINKS} links; best of {ROUNDS}");
    for language in Language::ALL {
        let best = |work: &mut dyn FnMut()| {
            let times = (0..ROUNDS).map(|_| {
                let started = Instant::now();
                work();
                started.elapsed()
            });
            times.min().unwrap()
        };
        let Ok(written) = export(&topology, language) else { continue };
        let writing = best(&mut || drop(export(&topology, language)));
        print!(
            "{language:<10} {:>6} KiB  write {:>7.1} ms",
            written.text.len() >> 10,
            writing.as_secs_f64() * 1e3
        );
        if let Ok(import) = reader.read(&written.text, language) {
            assert_eq!(import.topology.links.len(), LINKS);
            let reading = best(&mut || drop(reader.read(&written.text, language)));
            print!("  read {:>7.1} ms", reading.as_secs_f64() * 1e3);
        }
        println!();
    }
}

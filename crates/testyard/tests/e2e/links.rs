//! Links between nodes, as an RSpec asks for them: addresses, names, impairments, and what survives what.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Bed, attributes, run, wires};

/// Four nodes of the examples: an office LAN with 2 ms each way, and an uplink with 50 ms, 10 Mbit/s and 1 % of loss.
fn four_nodes(bed: &mut Bed) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/four-nodes.rspec");
    bed.ok(&format!("am up {} --slice demo", file.display()));
}

/// The shortest of some echoes, in milliseconds.
fn round_trip(bed: &mut Bed, from: &str, to: &str) -> f64 {
    let said = bed.ssh("demo", from, &format!("ping -q -c 8 -i 0.05 -W 3 {to} | tail -1"));
    said.split(['=', '/']).nth(4).unwrap_or_else(|| panic!("{said}")).trim().parse().unwrap()
}

fn sliver(bed: &mut Bed, node: &str) -> String {
    let slivers = bed.status("demo");
    let found = slivers.iter().find(|sliver| sliver["client_id"] == node).unwrap();
    found["urn"].as_str().unwrap().to_owned()
}

/// What of an interface a peer's restart must not touch.
fn identity(bed: &mut Bed, node: &str) -> String {
    bed.ssh("demo", node, "ip -o address show dev eth1; ip -o link show dev eth1").replace(" tentative", "")
}

#[test]
fn e2e_links_of_an_rspec() {
    let mut bed = Bed::new();
    four_nodes(&mut bed);
    let (office, uplink) = (round_trip(&mut bed, "alice", "bob"), round_trip(&mut bed, "router", "server"));
    assert!((4.0..9.0).contains(&office), "{office}");
    assert!((100.0..110.0).contains(&uplink), "{uplink}");
    let hosts = bed.ssh("demo", "alice", "cat /etc/hosts");
    for line in ["alice-office alice-0 alice", "router-uplink router-1", "server-uplink server-0 server"] {
        assert!(hosts.contains(line), "{line}: {hosts}");
    }
    assert!(!bed.ssh_succeeds("demo", "alice", "ping -c 1 -W 1 server"), "there are no routes");

    let manifest = bed.manifest("demo");
    let macs = attributes(&manifest, "interface", "mac_address");
    assert_eq!(macs.len(), 5, "{manifest}");
    let slivers = attributes(&manifest, "link", "sliver_id");
    assert_eq!(slivers.len(), 2, "{manifest}");
    let inside = bed.ssh("demo", "alice", "cat /sys/class/net/eth1/address").trim().replace(':', "");
    assert!(macs.iter().any(|mac| mac.replace(':', "") == inside), "{inside}: {macs:?}");
    let addresses = attributes(&manifest, "ip", "address");
    assert_eq!(addresses, ["10.1.1.2", "10.1.1.3", "10.1.1.4", "10.1.2.2", "10.1.2.3"]);

    // One node less: its peers stay as they are, and find nobody.
    let before = identity(&mut bed, "alice");
    let bob = sliver(&mut bed, "bob");
    bed.ok(&format!("am delete demo --sliver {bob}"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while bed.ssh_succeeds("demo", "alice", "ping -c 1 -W 1 bob") {
        assert!(Instant::now() < deadline);
    }
    assert!(bed.ssh_succeeds("demo", "alice", "ping -c 3 -i 0.2 -W 2 router"));
    assert_eq!(identity(&mut bed, "alice"), before);
}

#[test]
fn e2e_links_of_an_ns_file() {
    let mut bed = Bed::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/four-nodes.ns");
    bed.ok(&format!("am up {} --slice demo", file.display()));
    let over_the_router = round_trip(&mut bed, "alice", "server");
    assert!((104.0..115.0).contains(&over_the_router), "{over_the_router}");
    let route = bed.ssh("demo", "server", "ip route get 10.1.1.2");
    assert!(route.contains("via 10.1.2.2"), "{route}");
}

#[test]
fn e2e_a_restart_touches_no_peer() {
    let mut bed = Bed::new();
    four_nodes(&mut bed);
    let (alice, server) = (identity(&mut bed, "alice"), identity(&mut bed, "server"));
    let router = sliver(&mut bed, "router");
    for action in ["geni_restart", "geni_reload"] {
        bed.ok(&format!("am perform demo {action} --sliver {router} --wait"));
        assert!((4.0..9.0).contains(&round_trip(&mut bed, "alice", "router")), "{action}");
        assert!((100.0..110.0).contains(&round_trip(&mut bed, "router", "server")), "{action}");
        assert_eq!(identity(&mut bed, "alice"), alice, "{action}");
        assert_eq!(identity(&mut bed, "server"), server, "{action}");
    }
}

#[test]
fn e2e_links_outlive_the_server_and_their_wire() {
    let mut bed = Bed::new();
    four_nodes(&mut bed);
    let before = identity(&mut bed, "alice");
    let running = wires(&mut bed);
    assert_eq!(running.len(), 1, "a wire for the slice");

    bed.testbed().kill();
    assert_eq!(wires(&mut bed), running, "it outlives the server");
    bed.testbed().serve();
    bed.wait("demo", "geni_ready");
    assert_eq!(wires(&mut bed), running, "and is taken up again");
    assert!((4.0..9.0).contains(&round_trip(&mut bed, "alice", "bob")));

    run("kill", &["-9", &running[0]]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while wires(&mut bed).is_empty() || wires(&mut bed) == running {
        assert!(Instant::now() < deadline, "no wire takes its place\n{}", bed.testbed().log());
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!((4.0..9.0).contains(&round_trip(&mut bed, "alice", "bob")));

    // Both at once.
    let running = wires(&mut bed);
    bed.testbed().kill();
    run("kill", &["-9", &running[0]]);
    bed.testbed().serve();
    bed.wait("demo", "geni_ready");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !bed.ssh_succeeds("demo", "alice", "ping -c 1 -W 1 bob") {
        assert!(Instant::now() < deadline, "{}", bed.testbed().log());
    }
    assert_eq!(identity(&mut bed, "alice"), before);
}

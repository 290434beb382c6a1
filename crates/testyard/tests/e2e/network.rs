//! Control interfaces between real nodes.

use std::time::{Duration, Instant};

use crate::support::Bed;

fn control_address(bed: &mut Bed, slice: &str, node: &str) -> String {
    let text = bed.ssh(slice, node, "hostname -I");
    text.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn e2e_slices_do_not_see_each_other() {
    let mut bed = Bed::new();
    bed.up("mine", &["a", "b"]);
    bed.up("yours", &["c"]);
    let (b, c) = (control_address(&mut bed, "mine", "b"), control_address(&mut bed, "yours", "c"));
    assert!(
        bed.ssh_succeeds("mine", "a", &format!("ping -c 1 -W 2 {b}")),
        "nodes of a slice reach each other"
    );
    assert!(!bed.ssh_succeeds("mine", "a", &format!("ping -c 1 -W 2 {c}")), "slices are apart");
    let port = bed.manifest("yours");
    let port = port.split("port=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let host = bed.ssh("mine", "a", "ip route show default").split_whitespace().nth(2).unwrap().to_owned();
    let knock = format!("timeout 3 bash -c 'echo > /dev/tcp/{host}/{port}'");
    assert!(!bed.ssh_succeeds("mine", "a", &knock), "nor by way of forwarded ports");
}

#[test]
fn e2e_nodes_have_names_and_a_resolver() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    let resolved = bed.ssh("demo", "one", "cat /etc/resolv.conf");
    assert!(resolved.contains("nameserver"), "{resolved}");
    assert!(bed.ssh("demo", "one", "getent hosts one").contains("one"));
}

#[test]
fn e2e_a_flushed_firewall_is_mended() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    let table = format!("testyard_{}", bed.testbed().instance());
    crate::support::run("nft", &["delete", "table", "inet", &table]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let there = || {
        std::process::Command::new("nft")
            .args(["list", "table", "inet", &table])
            .output()
            .unwrap()
            .status
            .success()
    };
    while !there() {
        assert!(Instant::now() < deadline, "the rules were not mended\n{}", bed.testbed().log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(bed.ssh_succeeds("demo", "one", "true"));
}

//! netem, on a kernel that has it.

use testyard_fabric::links::Passed;
use testyard_fabric::{Links as _, LinuxFabric};
use testyard_wire::conformance::End;

use super::links::slice;
use super::{Netns, World};

/// `required` where netem must be there, `elsewhere` where it is tested in another machine.
const NETEM: &str = "TESTYARD_NETEM";

/// A world whose kernel has netem. Elsewhere nothing is tested, which the output says.
pub(crate) fn world() -> Option<World> {
    match (has_netem(), std::env::var(NETEM).unwrap_or_default().as_str()) {
        (Ok(_), _) => return Some(World::new()),
        (Err(error), "required") => panic!("this kernel must have netem: {error}"),
        (Err(_), "elsewhere") => println!("netem is tested in another machine"),
        (Err(_), _) => {
            println!("NOT RUN: netem, which this kernel does not have; ./test --netem boots one that has")
        }
    }
    None
}

/// By another way than the fabric's own.
pub(crate) fn has_netem() -> Result<String, String> {
    Netns::new().try_command("tc qdisc add dev lo root netem delay 1ms", "")
}

/// The disciplines of a slice, as tc(8) shows them.
pub(crate) fn disciplines(world: &World) -> String {
    let links = world.run_folder().join("links");
    let instance = std::fs::read_dir(links).unwrap().next().unwrap().unwrap().path();
    Netns::open(&instance.join(slice().to_string()).join("netns")).command("tc -s qdisc show")
}

pub(crate) fn has_wire(world: &World) -> bool {
    let links = world.run_folder().join("links");
    let instance = std::fs::read_dir(links).unwrap().next().unwrap().unwrap().path();
    instance.join(slice().to_string()).join("wire").exists()
}

pub(crate) async fn passed(fabric: &LinuxFabric) -> Vec<Passed> {
    fabric.traffic(slice()).await.unwrap().iter().map(|way| way.passed).collect()
}

/// The kernel notices a carrier in its own time, unless it is asked for it.
pub(crate) fn settle(nodes: &[Netns; 2]) {
    nodes.iter().for_each(|node| drop(node.command("ethtool eth1")));
}

pub(crate) fn ends(nodes: &[Netns; 2]) -> [End; 2] {
    for node in nodes {
        // Or it says something of its own now and then.
        node.run(|| std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")).unwrap();
    }
    settle(nodes);
    nodes.each_ref().map(|node| node.run(|| End::open("eth1")))
}

/// Whether the processor is emulated, which makes everything late.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os("TESTYARD_EMULATED").is_some()
}

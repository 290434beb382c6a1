//! Hosts, nodes and an outside world in network namespaces that nobody else sees and that end with the test, however it
//! ends: they have no names, only open files.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod capture;
pub(crate) mod hosts;
pub(crate) mod links;
pub(crate) mod netem;

use std::net::{IpAddr, Ipv4Addr};
use std::num::{NonZeroU16, NonZeroU32};

use testyard_fabric::{Attachment, ControlAddress, Emulator, FabricConfig, Forward, LinuxFabric};
use testyard_model::id::{SliceId, SliceTag, SliverId};
use testyard_model::sliver_type::{Port, Protocol};
pub(crate) use testyard_testkit::netns::Netns;
use uuid::Uuid;

/// A host with an uplink to the outside.
///
/// Outside is 198.51.100.1 and 2001:db8:f::1, with another address 203.0.113.9; the host is 198.51.100.2 and
/// 2001:db8:f::2. Its nodes live in 10.77.0.0/16 and 2001:db8:a::/64, which is routed to the host.
pub(crate) struct World {
    pub(crate) outside: Netns,
    pub(crate) host: Netns,
    run: tempfile::TempDir,
}

/// The wire that cargo builds beside this test.
pub(crate) fn wire_program() -> std::path::PathBuf {
    let own = std::env::current_exe().expect("a test is a file");
    let target = own.ancestors().nth(2).expect("it is in target/PROFILE/deps");
    target.join("examples/wire")
}

pub(crate) const HOST4: &str = "198.51.100.2";
pub(crate) const HOST6: &str = "2001:db8:f::2";
pub(crate) const OUTSIDE4: &str = "198.51.100.1";
pub(crate) const OUTSIDE6: &str = "2001:db8:f::1";
pub(crate) const UPLINK_MTU: u32 = 1400;

impl World {
    pub(crate) fn new() -> Self {
        let (outside, host) = (Netns::new(), Netns::new());
        host.command(&format!(
            "ip link add uplink mtu {UPLINK_MTU} type veth peer name world mtu {UPLINK_MTU} netns {}",
            outside.path().display()
        ));
        for netns in [&outside, &host] {
            // Or the kernel says nothing over IPv6 in the first seconds.
            netns.run(|| {
                for link in ["all", "default", "uplink", "world"] {
                    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/accept_dad"), "0");
                }
            });
        }
        outside.commands(&[
            "ip link set lo up",
            "ip link set world up",
            "ip address add 198.51.100.1/24 dev world",
            "ip address add 203.0.113.9/32 dev lo",
            "ip address add 2001:db8:f::1/64 dev world nodad",
            "ip -6 route add 2001:db8:a::/64 via 2001:db8:f::2",
        ]);
        host.commands(&[
            "ip link set lo up",
            "ip link set uplink up",
            "ip address add 198.51.100.2/24 dev uplink",
            "ip address add 2001:db8:f::2/64 dev uplink nodad",
            "ip route add default via 198.51.100.1",
            "ip -6 route add default via 2001:db8:f::1",
        ]);
        let run = tempfile::tempdir().expect("a temporary folder can be made");
        Self { outside, host, run }
    }

    /// Where namespaces of links and sockets of wires are.
    pub(crate) fn run_folder(&self) -> &std::path::Path {
        self.run.path()
    }

    pub(crate) fn config(&self, instance: &str) -> FabricConfig {
        FabricConfig {
            instance: instance.parse().expect("a name"),
            ipv4: "10.77.0.0/16".parse().expect("a network"),
            ipv6: Some("2001:db8:a::/64".parse().expect("a prefix")),
            ipv6_proxy: false,
            run: self.run.path().to_owned(),
            wire: vec![wire_program().into()],
            emulator: Emulator::Auto,
            captures: Some(self.run.path().join("captures")),
            tunnel_port: hosts::TUNNEL_PORT,
            denied: vec!["203.0.113.0/24".parse().expect("a network")],
        }
    }

    pub(crate) fn fabric(&self, instance: &str) -> LinuxFabric {
        LinuxFabric::in_netns(self.config(instance), self.host.path())
    }

    /// One whose links are impaired so.
    pub(crate) fn fabric_by(&self, instance: &str, emulator: Emulator) -> LinuxFabric {
        LinuxFabric::in_netns(FabricConfig { emulator, ..self.config(instance) }, self.host.path())
    }

    /// Everything that a fabric could leave on the host.
    pub(crate) fn traces(&self) -> String {
        let neighbours = self.host.command("ip neighbour show nud permanent");
        let links = self.host.command("ip -o link show type veth");
        let links = links.lines().filter(|l| !l.contains("uplink")).collect::<Vec<_>>().join("\n");
        let routes = self.host.command("ip route") + &self.host.command("ip -6 route");
        let routes = routes.lines().filter(|l| !l.contains("uplink")).collect::<Vec<_>>().join("\n");
        format!("{links}{neighbours}{routes}")
    }

    /// The elements of all sets of a testbed's table.
    pub(crate) fn elements(&self, instance: &str) -> String {
        let listing = self.host.command(&format!("nft list table inet testyard_{instance}"));
        listing
            .lines()
            .skip_while(|l| !l.contains("set source4"))
            .take_while(|l| !l.contains("chain"))
            .filter(|l| l.contains("elements") || l.contains(" . ") && !l.contains("type"))
            .collect()
    }
}

/// An engine that starts nodes without a network leaves IPv6 off.
pub(crate) fn node() -> Netns {
    let node = Netns::new();
    node.run(|| {
        for link in ["all", "default", "lo"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1").expect("a setting");
        }
    });
    node
}

/// A slice's number and a node's: addresses, and SSH at 30000 and the node's number.
pub(crate) fn attachment(slice: u32, node: u16) -> Attachment {
    let [high, low] = node.to_be_bytes();
    Attachment {
        slice: SliceId::from_uuid(Uuid::from_u128(u128::from(slice))),
        tag: SliceTag(NonZeroU32::new(slice).expect("not 0")),
        sliver: SliverId::from_uuid(Uuid::from_u128(1 << 100 | u128::from(node))),
        address: ControlAddress {
            ipv4: Ipv4Addr::new(10, 77, high, low),
            ipv6: Some(format!("2001:db8:a::{node:x}").parse().expect("an address")),
        },
        forwards: vec![Forward { host_port: 30_000 + node, port: tcp(22) }],
    }
}

pub(crate) fn tcp(number: u16) -> Port {
    Port { protocol: Protocol::Tcp, number: NonZeroU16::new(number).expect("not 0") }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Drop for World {
    fn drop(&mut self) {
        clear_up(self.run.path());
    }
}

/// What a failed test leaves: wires end with their sockets, namespaces with their mounts.
pub(crate) fn clear_up(run: &std::path::Path) {
    let folder = |path: &std::path::Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let instances = folder(&run.join("links"));
    for slice in instances.flat_map(|instance| folder(&instance.path()).collect::<Vec<_>>()) {
        let _ = std::fs::remove_file(slice.path().join("wire"));
        let _ = nix::mount::umount2(&slice.path().join("netns"), nix::mount::MntFlags::MNT_DETACH);
    }
}

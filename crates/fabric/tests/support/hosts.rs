//! Several hosts on one network: each a namespace, with a fabric of its own.

use std::net::IpAddr;
use std::path::Path;

use testyard_fabric::links::{Beyond, FarEnd, HostLink, LinkEnd, SliceLinks};
use testyard_fabric::{Emulator, FabricConfig, Links as _, LinuxFabric};
use testyard_model::link::LinkKind;

use super::links::wanted;
use super::{Netns, wire_program};

pub(crate) const TUNNEL_PORT: u16 = 14_789;
/// Of the network between them.
pub(crate) const UNDERLAY_MTU: u32 = 1500;

/// See the module. Host `n` is 192.0.2.`n` and 2001:db8:2::`n`, counted from 1.
pub(crate) struct Hosts {
    /// Where their cables end, in ports `n1`, `n2`, ...
    pub(crate) underlay: Netns,
    pub(crate) hosts: Vec<Netns>,
    run: tempfile::TempDir,
    is_ipv6: bool,
}

impl Hosts {
    pub(crate) fn new(count: usize) -> Self {
        let underlay = Netns::new();
        underlay.command(&format!("ip link add lan mtu {UNDERLAY_MTU} up type bridge"));
        let host = |number: usize| {
            let host = Netns::new();
            host.command(&format!(
                "ip link add uplink mtu {UNDERLAY_MTU} type veth peer name n{number} mtu {UNDERLAY_MTU} netns {}",
                underlay.path().display()
            ));
            underlay.command(&format!("ip link set n{number} up master lan"));
            host.commands(&[
                "ip link set lo up",
                "ip link set uplink up",
                &format!("ip address add 192.0.2.{number}/24 dev uplink"),
                &format!("ip address add 2001:db8:2::{number}/64 dev uplink nodad"),
                "nft add table inet counted",
                "nft add chain inet counted tunnels { type filter hook prerouting priority -400 ; }",
                &format!("nft add rule inet counted tunnels udp dport {TUNNEL_PORT} counter"),
            ]);
            host
        };
        let hosts = (1..=count).map(host).collect();
        let run = tempfile::tempdir().expect("a temporary folder can be made");
        Self { underlay, hosts, run, is_ipv6: false }
    }

    /// Whose tunnels are over IPv6.
    pub(crate) fn over_ipv6(count: usize) -> Self {
        let mut hosts = Self::new(count);
        hosts.is_ipv6 = true;
        hosts
    }

    /// Where a host's tunnels end.
    pub(crate) fn address(&self, number: usize) -> IpAddr {
        let text = if self.is_ipv6 { format!("2001:db8:2::{number}") } else { format!("192.0.2.{number}") };
        text.parse().expect("an address")
    }

    pub(crate) fn config(&self, number: usize) -> FabricConfig {
        FabricConfig {
            instance: "hosts".parse().expect("a name"),
            ipv4: "10.77.0.0/16".parse().expect("a network"),
            ipv6: None,
            ipv6_proxy: false,
            run: self.run.path().join(number.to_string()),
            wire: vec![wire_program().into()],
            emulator: Emulator::Auto,
            captures: None,
            tunnel_port: TUNNEL_PORT,
            denied: Vec::new(),
        }
    }

    pub(crate) fn fabric(&self, number: usize) -> LinuxFabric {
        LinuxFabric::in_netns(self.config(number), self.hosts[number - 1].path())
    }

    pub(crate) fn fabrics(&self) -> Vec<LinuxFabric> {
        (1..=self.hosts.len()).map(|number| self.fabric(number)).collect()
    }

    /// What each host is to have of a link whose ends are on these hosts; hosts without an end have nothing.
    pub(crate) fn split(&self, link: &HostLink, vni: u32, places: &[usize]) -> Vec<Option<HostLink>> {
        assert_eq!(link.ends.len(), places.len());
        let part = |host: usize| {
            let here = |(_, place): &(&LinkEnd, &usize)| **place == host;
            let ends: Vec<LinkEnd> =
                link.ends.iter().zip(places).filter(here).map(|(end, _)| end.clone()).collect();
            let peers = places.iter().filter(|place| **place != host).map(|place| self.address(*place));
            let far = (0..2).find(|_| link.kind == LinkKind::PointToPoint && ends.len() == 1).map(|_| {
                let first = usize::from(places[0] == host);
                FarEnd { port: link.ends[first].port.clone(), is_first: first == 0 }
            });
            let (vni, local) = (vni.try_into().expect("a number"), self.address(host));
            let beyond = Beyond { vni, local, peers: peers.collect(), far };
            let beyond = (!beyond.peers.is_empty()).then_some(beyond);
            (!ends.is_empty()).then(|| HostLink { ends, beyond, ..link.clone() })
        };
        (1..=self.hosts.len()).map(part).collect()
    }

    /// Has all hosts join their parts of a link.
    pub(crate) async fn join(
        &self,
        fabrics: &[LinuxFabric],
        revision: u64,
        link: &HostLink,
        places: &[usize],
    ) {
        for (fabric, part) in fabrics.iter().zip(self.split(link, 77, places)) {
            let wanted: SliceLinks = wanted(revision, part.into_iter().collect());
            fabric.join(&wanted).await.expect("links");
        }
    }

    /// Cuts a host off, or ends that.
    pub(crate) fn cut(&self, number: usize, is_cut: bool) {
        let state = if is_cut { "down" } else { "up" };
        self.underlay.command(&format!("ip link set n{number} {state}"));
    }

    /// Packets that came to a host by tunnels.
    pub(crate) fn received(&self, number: usize) -> u64 {
        let said = self.hosts[number - 1].command("nft list table inet counted");
        let mut words = said.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).and_then(|count| count.parse().ok()).expect("a counter")
    }

    /// Where a host's fabric keeps its namespaces.
    pub(crate) fn run_folder(&self, number: usize) -> std::path::PathBuf {
        self.run.path().join(number.to_string())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for number in 1..=self.hosts.len() {
            super::clear_up(Path::new(&self.run_folder(number)));
        }
    }
}

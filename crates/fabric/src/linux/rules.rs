//! The packet rules of one testbed: one table, made in one transaction. What belongs to single nodes are elements of
//! its sets, so that rules never change while nodes come and go.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::names::{ANY_LINK, Names};

/// What the rules depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The network of control addresses.
    pub(crate) ipv4: Ipv4Net,
    /// The prefix of IPv6 control addresses.
    pub(crate) ipv6: Option<Ipv6Net>,
    /// Where no node may go.
    pub(crate) denied: Vec<IpNet>,
    /// Name servers, open for DNS also where the host or a denied network answers.
    pub(crate) name_servers: Vec<IpAddr>,
    /// Links with a default route: the way out. Engines' bridges and private networks of the host are none.
    pub(crate) uplinks: BTreeSet<String>,
    /// The UDP port of tunnels to other hosts: only those hosts' packets come in at it, and nodes send none to it.
    pub(crate) tunnel_port: u16,
    /// Whether a node's new flows are bounded: all nodes share the host's table of flows.
    pub(crate) bound: bool,
}

/// What one node may begin without filling the host's table of flows: even its flows that nobody answers last only
/// one or two minutes.
const NEW_FLOWS: &str = "rate over 500/second burst 2000 packets";
const NEW_FLOWS_SET: &str = "\tset new_flows { type ifname; size 65535; flags dynamic; timeout 1m; }\n";

/// The rules as `nft -f` reads them: right whatever is there before. Sets keep their elements.
pub(crate) fn ruleset(names: &Names, policy: &Policy) -> String {
    let (table, prefix, any) = (&names.table, &names.prefix, ANY_LINK);
    let ours = format!("\"{prefix}*\"");
    let net = policy.ipv4;
    let bound = if policy.bound { bound() } else { String::new() };
    let (tunnels, forged) = tunnel_rules(policy.tunnel_port);
    let mut out = declarations(names, policy.bound);
    let _ = write!(
        out,
        "flush table inet {table}
table inet {table} {{
	chain source {{
		iifname != {ours} accept
		ip daddr 127.0.0.0/8 counter drop comment \"nodes have no business with the host's loopback\"
		iifname . ip saddr @source4 accept
		iifname . ip6 saddr @source6 accept
		ip6 saddr {{ ::, fe80::/10 }} ip6 hoplimit 255 icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
		ip6 saddr {{ ::, fe80::/10 }} drop comment \"what an IPv6 stack says by itself\"
		counter drop comment \"forged sources\"
	}}
	chain forward_in {{
		fib daddr type local dnat ip to tcp dport map @tcp4
		fib daddr type local dnat ip to udp dport map @udp4
		fib daddr type local dnat ip6 to tcp dport map @tcp6
		fib daddr type local dnat ip6 to udp dport map @udp6
	}}
	chain forward_own {{
		fib daddr type local dnat ip to tcp dport map @tcp4
		fib daddr type local dnat ip to udp dport map @udp4
		fib daddr type local dnat ip6 to tcp dport map @tcp6
		fib daddr type local dnat ip6 to udp dport map @udp6
	}}
	chain way_out {{
		oifname {ours} ip saddr 127.0.0.0/8 masquerade
		iifname {ours} oifname {ours} ct status dnat masquerade comment \"a node that calls itself by the host's port\"
		oifname != \"{any}*\" ip saddr {net} masquerade
	}}
	chain forward {{
		iifname {ours} goto from_node
		oifname {ours} goto to_node
	}}
	chain input {{
		iifname {ours} goto to_host
{tunnels}	}}
	chain from_node {{
{bound}		oifname {ours} meta iifgroup . meta oifgroup @same_slice accept
{forged}		oifname \"{any}*\" counter goto refuse comment \"other slices\"
		ct state established,related accept
"
    );
    for rule in name_server_rules(&policy.name_servers) {
        let _ = writeln!(out, "\t\t{rule}");
    }
    let _ = writeln!(out, "\t\tip daddr {net} counter goto refuse comment \"nobody has this address\"");
    if let Some(net) = policy.ipv6 {
        let _ = writeln!(out, "\t\tip6 daddr {net} counter goto refuse comment \"nobody has this address\"");
    }
    for rule in denied_rules(&policy.denied) {
        let _ = writeln!(out, "\t\t{rule}");
    }
    if !policy.uplinks.is_empty() {
        let list: Vec<String> = policy.uplinks.iter().map(|u| format!("\"{u}\"")).collect();
        let _ = writeln!(out, "\t\toifname {{ {} }} accept", list.join(", "));
    }
    let _ = write!(
        out,
        "		counter goto refuse comment \"private networks of the host\"
	}}
	chain to_node {{
		ct state established,related accept
		ct status dnat accept
		icmpv6 type {{ echo-request, destination-unreachable, packet-too-big, time-exceeded, parameter-problem }} accept
		ip6 daddr . meta l4proto . th dport @open6 accept
		counter goto refuse comment \"not forwarded\"
	}}
	chain to_host {{
{bound}		ct state established,related accept
		icmp type echo-request limit rate 100/second burst 200 packets accept
		icmpv6 type echo-request limit rate 100/second burst 200 packets accept
		icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
"
    );
    for rule in name_server_rules(&policy.name_servers) {
        let _ = writeln!(out, "\t\t{rule}");
    }
    out.push_str(
        "		counter goto refuse comment \"the host's own services\"
	}
	chain refuse {
		limit rate 200/second burst 400 packets reject with icmpx admin-prohibited
		drop
	}
}
",
    );
    out
}

/// What comes in by tunnels, and what nodes must not send: VXLAN itself knows no forgery.
fn tunnel_rules(port: u16) -> (String, String) {
    let from_peers = [("ip", "peers4"), ("ip6", "peers6")].map(|(family, set)| {
        format!(
            "\t\t{family} saddr != @{set} udp dport {port} counter drop comment \"tunnels of strangers\"\n"
        )
    });
    let forged = format!("\t\tudp dport {port} counter goto refuse comment \"forged tunnels\"\n");
    (from_peers.concat(), forged)
}

/// A flow's first packet: of one that nobody answers, all are "new".
fn bound() -> String {
    format!(
        "\t\tct state new ct status & confirmed == 0 update @new_flows {{ iifname limit {NEW_FLOWS} }} counter drop \
         comment \"too many new flows\"\n"
    )
}

/// A table that nobody loads, to ask whether a host knows the bound.
pub(crate) fn bound_alone(names: &Names) -> String {
    format!("table inet {}_bound {{\n{NEW_FLOWS_SET}\tchain bound {{\n{}\t}}\n}}\n", names.table, bound())
}

/// Removes the table, whether it is there or not.
pub(crate) fn removal(names: &Names) -> String {
    format!("table inet {0}\ndelete table inet {0}\n", names.table)
}

fn declarations(names: &Names, bound: bool) -> String {
    let (table, mark) = (&names.table, names.mark());
    let new_flows = if bound { NEW_FLOWS_SET } else { "" };
    format!(
        "table inet {table} {{
	comment \"{mark}\"
{new_flows}	set source4 {{ type ifname . ipv4_addr; }}
	set source6 {{ type ifname . ipv6_addr; }}
	set same_slice {{ type devgroup . devgroup; }}
	map tcp4 {{ type inet_service : ipv4_addr . inet_service; }}
	map udp4 {{ type inet_service : ipv4_addr . inet_service; }}
	map tcp6 {{ type inet_service : ipv6_addr . inet_service; }}
	map udp6 {{ type inet_service : ipv6_addr . inet_service; }}
	set open6 {{ type ipv6_addr . inet_proto . inet_service; }}
	set peers4 {{ type ipv4_addr; }}
	set peers6 {{ type ipv6_addr; }}
	chain source {{ type filter hook prerouting priority raw; policy accept; }}
	chain forward_in {{ type nat hook prerouting priority dstnat; policy accept; }}
	chain forward_own {{ type nat hook output priority -100; policy accept; }}
	chain way_out {{ type nat hook postrouting priority srcnat; policy accept; }}
	chain forward {{ type filter hook forward priority filter; policy accept; }}
	chain input {{ type filter hook input priority filter; policy accept; }}
	chain from_node {{ }}
	chain to_node {{ }}
	chain to_host {{ }}
	chain refuse {{ }}
}}
"
    )
}

fn name_server_rules(servers: &[IpAddr]) -> Vec<String> {
    by_family(servers.iter().map(|s| IpNet::from(*s)))
        .into_iter()
        .map(|(family, list)| {
            format!("{family} daddr {{ {list} }} meta l4proto {{ tcp, udp }} th dport 53 accept")
        })
        .collect()
}

fn denied_rules(denied: &[IpNet]) -> Vec<String> {
    // Overlapping networks in one list are refused by nft.
    by_family(IpNet::aggregate(&denied.to_vec()).into_iter())
        .into_iter()
        .map(|(family, list)| format!("{family} daddr {{ {list} }} counter goto refuse comment \"denied\""))
        .collect()
}

fn by_family(nets: impl Iterator<Item = IpNet>) -> Vec<(&'static str, String)> {
    let (v4, v6): (BTreeSet<IpNet>, BTreeSet<IpNet>) = nets.partition(|n| n.addr().is_ipv4());
    let list = |nets: BTreeSet<IpNet>| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    [("ip", v4), ("ip6", v6)].into_iter().filter(|(_, n)| !n.is_empty()).map(|(f, n)| (f, list(n))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            ipv4: "10.64.0.0/10".parse().unwrap(),
            ipv6: Some("2001:db8:a::/64".parse().unwrap()),
            denied: ["192.168.0.0/16", "192.168.1.0/24", "169.254.169.254/32", "fd00::/8"]
                .map(|n| n.parse().unwrap())
                .into(),
            name_servers: ["192.0.2.53", "2001:db8::53"].map(|n| n.parse().unwrap()).into(),
            uplinks: ["eth0", "wlan0"].map(str::to_owned).into(),
            tunnel_port: 14_789,
            bound: true,
        }
    }

    /// `GOLDEN=write cargo test` makes the file anew, for review.
    fn check(name: &str, text: &str) {
        let path = format!("{}/tests/golden/{name}.nft", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("GOLDEN").is_some_and(|v| v == "write") {
            std::fs::write(&path, text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{path}");
    }

    #[test]
    fn rules_are_as_reviewed() {
        let names = Names::new(&"main".parse().unwrap());
        check("full", &ruleset(&names, &policy()));
        let bare = Policy {
            ipv6: None,
            denied: Vec::new(),
            name_servers: Vec::new(),
            uplinks: BTreeSet::new(),
            bound: false,
            ..policy()
        };
        check("bare", &ruleset(&names, &bare));
    }
}

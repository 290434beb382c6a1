//! Control addresses of IPv6, from prefixes of any length.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::support::{Bed, attributes, request, run};

/// Slices of one testbed whose nodes have addresses of this prefix.
fn bed(prefix: &str) -> Bed {
    Bed::with(|config| {
        let with = config.lines().map(|line| match line.starts_with("#ipv6 = ") {
            true => format!("ipv6 = \"{prefix}\"\n"),
            false => format!("{line}\n"),
        });
        let with: String = with.collect();
        assert!(with.contains(prefix), "the template of the configuration has changed");
        with
    })
}

/// A prefix of this length that no other test has at this time.
fn prefix(length: u8) -> (Ipv6Addr, String) {
    let [high, low] = u16::try_from(std::process::id() % 0x1_0000).unwrap().to_be_bytes();
    let address = Ipv6Addr::from([0xfd, 0x77, 0x79, high, low, length, 0, 7, 0, 3, 0, 1, 0, 9, 0, 0]);
    let network = Ipv6Addr::from(u128::from(address) >> (128 - length) << (128 - length));
    (network, format!("{network}/{length}"))
}

/// The IPv6 address of each node, as the manifest tells it: as its address and as a login.
fn addresses(manifest: &str) -> Vec<Ipv6Addr> {
    let told: Vec<Ipv6Addr> = attributes(manifest, "testyard:address", "ipv6")
        .iter()
        .map(|address| address.parse().unwrap_or_else(|error| panic!("{address}: {error}\n{manifest}")))
        .collect();
    for address in &told {
        let login = format!("hostname=\"{address}\" port=\"22\"");
        assert!(manifest.contains(&login), "no login by {address} in {manifest}");
    }
    told
}

/// ssh(1) to this address, taking nothing for the node but who has the manifest's host key.
fn ssh(bed: &mut Bed, manifest: &str, address: Ipv6Addr, command: &str) -> Output {
    let keys = manifest.split("</testyard:host_key>").filter_map(|rest| rest.rsplit_once("host_key>"));
    let known: String = keys.map(|(_, key)| format!("{address} {key}\n")).collect();
    assert!(known.contains("ssh-"), "no host keys in {manifest}");
    let known: PathBuf = bed.file("known-by-ipv6", &known).into();
    let key = bed.testbed().dir().join("users/ann/ssh");
    Command::new("ssh")
        .args(["-6", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-p", "22"])
        .args(["-o", "ConnectTimeout=10", "-o", "GlobalKnownHostsFile=none", "-o"])
        .arg(format!("UserKnownHostsFile={}", known.display()))
        .arg("-i")
        .arg(key)
        .arg(format!("ann@{address}"))
        .arg(command)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// How many packets the testbed's rules have dropped for a source address that is not the sender's.
fn forged(bed: &mut Bed) -> u64 {
    let table = format!("testyard_{}", bed.testbed().instance());
    let rules = run("nft", &["list", "table", "inet", &table]);
    let rule =
        rules.lines().find(|line| line.contains("forged sources")).unwrap_or_else(|| panic!("{rules}"));
    let count = rule.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{rule}"))
}

#[test]
fn e2e_nodes_have_ipv6_of_prefixes_of_any_length() {
    for length in [64, 80, 112] {
        let (network, text) = prefix(length);
        let mut bed = bed(&text);
        // Whoever may administer its own interface can give itself any address.
        let two = request(&["a", "b"]).replacen("docker-container", "docker-container-with-tunnel", 1);
        let file = bed.file("demo.rspec", &two);
        bed.ok(&format!("am up {file} --slice demo"));
        bed.up("other", &["c"]);

        let manifest = bed.manifest("demo");
        let nodes = addresses(&manifest);
        let [a, b] = nodes[..] else { panic!("{text}: not two addresses in {manifest}") };
        let other = addresses(&bed.manifest("other"));
        let [c] = other[..] else { panic!("{text}: {other:?}") };
        for address in [a, b, c] {
            let within = u128::from(address) >> (128 - length) == u128::from(network) >> (128 - length);
            assert!(within && address != network, "{address} is not a node's in {text}");
        }
        assert!(a != b && b != c && a != c);

        for (address, name) in [(a, "a"), (b, "b")] {
            let output =
                ssh(&mut bed, &manifest, address, "hostname; ip -6 address show dev eth0 scope global");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(said.lines().next(), Some(name));
            assert!(said.contains(&format!("inet6 {address}/128")), "{said}");
        }

        // Its slice is open to a node, other slices are not.
        let ping = |from: &str, to: Ipv6Addr| format!("ping -6 -n -c 1 -W 2 {from} {to}");
        assert!(bed.ssh_succeeds("demo", "b", &ping("", a)), "{text}: nodes of a slice reach each other");
        assert!(!bed.ssh_succeeds("demo", "b", &ping("", c)), "{text}: slices are apart");

        // An address that nobody was given, and one that is another node's.
        let stranger = Ipv6Addr::from(u128::from(network) + 0x77);
        for source in [stranger, c] {
            bed.ssh("demo", "a", &format!("sudo ip -6 address add {source}/128 dev eth0 nodad"));
            let before = forged(&mut bed);
            assert!(
                !bed.ssh_succeeds("demo", "a", &ping(&format!("-I {source}"), b)),
                "{text}: a node sends as {source}"
            );
            assert!(forged(&mut bed) > before, "{text}: what {source} sent was not dropped for its source");
            bed.ssh("demo", "a", &format!("sudo ip -6 address del {source}/128 dev eth0"));
        }
        assert!(
            bed.ssh_succeeds("demo", "a", &ping(&format!("-I {a}"), b)),
            "{text}: its own address is its"
        );

        // The same address after a boot.
        bed.ok("am perform demo geni_restart --wait");
        assert_eq!(addresses(&bed.manifest("demo")), nodes);
        assert!(ssh(&mut bed, &manifest, a, "true").status.success());
    }
}

#[test]
fn e2e_without_a_prefix_there_is_no_ipv6() {
    let mut bed = Bed::new();
    bed.up("demo", &["one"]);
    let manifest = bed.manifest("demo");
    assert!(attributes(&manifest, "testyard:address", "ipv6").is_empty(), "{manifest}");
    assert_eq!(attributes(&manifest, "testyard:address", "ipv4").len(), 1, "{manifest}");
    assert_eq!(bed.ssh("demo", "one", "ip -6 address show dev eth0 scope global"), "");
}

//! What a configuration with mistakes is told: file, line, column, key, and what to do.

use std::path::Path;

use testyard::config;

fn mistakes(text: &str) -> String {
    match config::parse(Path::new("/etc/testyard/testyard.toml"), text) {
        Ok(settings) => panic!("accepted: {settings:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_mistake_is_named_with_its_place() {
    insta::assert_snapshot!(mistakes(include_str!("config/mistakes.toml")));
}

#[test]
fn a_node_needs_room_for_its_guest() {
    let with = |pids: u32| {
        format!("[testbed]\nname = \"am.example.net\"\n[[sliver_type]]\nname = \"small\"\npids = {pids}\n")
    };
    let told = mistakes(&with(31));
    assert!(told.contains(":5:8: sliver_type[1].pids: a node needs at least 32"), "{told}");
    for fine in [0, 32] {
        config::parse(Path::new("/etc/testyard/testyard.toml"), &with(fine)).unwrap();
    }
}

#[test]
fn the_grammar_of_toml() {
    insta::assert_snapshot!(mistakes("[testbed]\nname = \"am.example.net\"\nname = \"other\"\n"));
    insta::assert_snapshot!(mistakes("[testbed]\nname = am.example.net\n"));
}

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(mistakes(""));
}

#[test]
fn the_least_that_must_be_said() {
    let settings =
        config::parse(Path::new("/etc/testyard/testyard.toml"), "[testbed]\nname = \"am.example.net\"\n")
            .unwrap();
    assert_eq!(settings.testbed.authority.as_str(), "am.example.net");
    assert_eq!(settings.testbed.public_url, "https://am.example.net:8001/");
    assert_eq!(settings.paths.trusted, Path::new("/etc/testyard/trusted"));
    assert_eq!(settings.hosts[0].public_name, "am.example.net");
    let names: Vec<_> = settings.sliver_types.iter().map(|kind| kind.name.as_str()).collect();
    assert_eq!(names, ["docker-container", "docker-container_100M", "docker-container-with-tunnel"]);
}

#[test]
fn texts_about_the_testbed() {
    let about = |lines: &str| format!("[testbed]\nname = \"am.example.net\"\n[testbed.about]\n{lines}");
    let good = about("f4f_testbed_homepage = \"https://example.net/\"\n");
    let settings = config::parse(Path::new("testyard.toml"), &good).unwrap();
    assert_eq!(settings.testbed.about["f4f_testbed_homepage"], "https://example.net/");

    let wrong = mistakes(&about("homepage = \"https://example.net/\"\nf4f_testbed_picture = 5\n"));
    let expected = "testyard.toml:4:1: testbed.about.homepage: names here begin with f4f_";
    assert!(wrong.contains(expected), "{wrong}");
    assert!(wrong.contains("testyard.toml:5:23: testbed.about.f4f_testbed_picture: expected"), "{wrong}");
}

#[test]
fn what_cannot_be_kept_ready() {
    let kind = "[[sliver_type]]\nname = \"sealed\"\nread_only = true\n[pool]\n";
    let text = format!("[testbed]\nname = \"am.example.net\"\n{kind}");
    assert!(config::parse(Path::new("testyard.toml"), &text).is_ok(), "without spares it is fine");
    let wrong = mistakes(&format!("{text}size = 2\n"));
    assert!(wrong.contains("testyard.toml:7:8: pool.size: nodes with read_only"), "{wrong}");
}

#[test]
fn a_missing_file_says_how_to_get_one() {
    let error = config::load(Path::new("/nonexistent/testyard.toml")).unwrap_err().to_string();
    assert!(error.contains("`testyard init` writes one"), "{error}");
}

#[test]
fn the_limits_that_are_promised_are_the_defaults() {
    let settings =
        config::parse(Path::new("testyard.toml"), "[testbed]\nname = \"am.example.net\"\n").unwrap();
    let specification = include_str!("../../../SPECIFICATION.md");
    let limits = specification.split_once("\n## Limits\n").unwrap().1.split_whitespace();
    let limits = limits.collect::<Vec<_>>().join(" ");
    let rspec = testyard_formats::rspec::RequestLimits::default();
    for (count, of) in [
        (u64::from(settings.hosts[0].capacity), "nodes a host"),
        (u64::from(settings.limits.nodes_per_slice), "nodes a slice"),
        (settings.limits.request_size >> 20, "MiB a request,"),
        (u64::from(settings.limits.requests_per_second), "requests a second and client"),
        (rspec.bytes as u64 >> 20, "MiB and"),
        (rspec.nodes as u64, "nodes a request RSpec"),
        (testyard_trust::verifier::MAX_CREDENTIALS as u64, "credentials of"),
    ] {
        let digits = count.to_string();
        let number = match digits.len() {
            0..4 => digits,
            length => format!("{},{}", &digits[..length - 3], &digits[length - 3..]),
        };
        assert!(limits.contains(&format!(" {number} {of}")), "{number} {of}: {limits}");
    }
}

#[test]
fn this_machine_is_one_host() {
    let hosts = |agents: [&str; 3]| {
        let host = |(number, agent): (usize, &&str)| {
            format!(
                "[[host]]\nname = \"h{number}\"\nagent = \"{agent}\"\npublic_name = \"h{number}.example.net\"\n"
            )
        };
        let hosts: String = agents.iter().enumerate().map(host).collect();
        config::parse(Path::new("testyard.toml"), &format!("[testbed]\nname = \"am.example.net\"\n{hosts}"))
    };
    assert_eq!(hosts(["inside", "network", "network"]).unwrap().hosts.len(), 3);
    for agents in
        [["inside", "inside", "network"], ["inside", "network", "socket"], ["socket", "inside", "network"]]
    {
        let said = hosts(agents).unwrap_err().to_string();
        assert!(said.contains("agent: this machine is one host: only one can be so"), "{agents:?}: {said}");
    }
}

#[test]
fn tunnels_are_between_hosts_that_reach_each_other() {
    let parsed = |head: &str, hosts: [&str; 2]| {
        let host = |(number, more): (usize, &&str)| {
            format!("[[host]]\nname = \"h{number}\"\npublic_name = \"h{number}.example.net\"\n{more}\n")
        };
        let hosts: String = hosts.iter().enumerate().map(host).collect();
        config::parse(
            Path::new("testyard.toml"),
            &format!("[testbed]\nname = \"am.example.net\"\n{head}{hosts}"),
        )
    };
    let both = ["tunnel = \"192.0.2.1\"", "tunnel = \"192.0.2.2\""];
    let settings = parsed("", both).unwrap();
    assert_eq!((settings.tunnels.port, settings.tunnels.mtu), (14_789, 1500));
    let other = parsed("instance = \"course\"\n", both).unwrap().tunnels.port;
    assert!((14_089..14_789).contains(&other), "another testbed on the same machines has another: {other}");
    for (head, hosts, wanted) in [
        (
            "",
            ["tunnel = \"192.0.2.1\"", "tunnel = \"2001:db8::2\""],
            "tunnels are between addresses of one family",
        ),
        ("", ["tunnel = \"192.0.2.1\"", "tunnel = \"192.0.2.1\""], "two hosts have the address 192.0.2.1"),
        ("", ["tunnel = \"127.0.0.1\"", ""], "127.0.0.1 is no address that other hosts reach"),
        ("", ["tunnel = \"fe80::1\"", ""], "fe80::1 is no address that other hosts reach"),
        ("", ["tunnel = \"h1.example.net\"", ""], "tunnel"),
        ("[tunnels]\nport = 80\n", both, "use one of 1024 or more"),
        ("[tunnels]\nport = 70000\n", both, "70000 is not a number from 0 to 65535"),
        ("[tunnels]\nmtu = 600\n", both, "1280 bytes at least"),
        ("[tunnels]\nport = 12500\n", both, "port 12500 is that of tunnels"),
    ] {
        let said = parsed(head, hosts).unwrap_err().to_string();
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

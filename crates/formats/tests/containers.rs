//! Container lists: addresses become LANs, hosts partitions, and what is wrong is told with its place.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fmt::Write as _;

use testyard_formats::containers::parse;
use testyard_formats::import::{Import, Site};
use testyard_formats::own::parse_yaml;

const LIST: &str = r#"[
  {"name": "web1", "host": "rackhost-a", "image_type": "vagrant", "image_os": "ubuntu 14.04 64",
   "image_name": "lab/ub14", "image_url": "http://mirror.example/ub14.box",
   "interfaces": [{"address": "10.7.1.21", "mac": "02:00:0a:07:01:15"}, {"address": "10.8.3.1"}]},
  {"name": "desk1", "host": "rackhost-b", "image_type": "vagrant", "image_os": "windows",
   "image_name": "lab/win7", "image_url": "http://mirror.example/win7.box",
   "interfaces": [{"address": "10.7.1.31", "mac": "02:00:0a:07:01:1f"}]},
  {"name": "desk2", "host": "rackhost-b", "image_type": "vagrant", "image_os": "windows",
   "image_name": "lab/win7", "image_url": "http://mirror.example/win7.box",
   "interfaces": [{"address": "10.8.4.2"}]}
]"#;

fn site() -> Site {
    Site {
        images: [("ub14".to_owned(), "debian:12".parse().unwrap())].into(),
        hosts: vec!["rackhost-a".to_owned()],
        ..Site::default()
    }
}

fn shown(import: &Import) -> String {
    let mut text = String::new();
    for node in &import.topology.nodes {
        let image = node.image.as_ref().map_or("the default", |image| image.as_str());
        let _ = writeln!(text, "{} on {:?}, {image}", node.client_id, node.partition.as_deref());
    }
    for link in &import.topology.links {
        let members: Vec<&str> = link.members.iter().map(|member| member.interface.as_str()).collect();
        let _ = writeln!(text, "{}: {}", link.client_id, members.join(", "));
    }
    for remark in &import.diagnostics {
        let _ = writeln!(text, "{:?} {remark}", remark.severity);
    }
    text
}

#[test]
fn equal_networks_are_one_lan() {
    let import = parse(LIST, &site(), None).unwrap();
    insta::assert_snapshot!(shown(&import));
    assert!(import.clone().strict().is_err(), "a host that is not there is refused strictly");
    insta::assert_json_snapshot!("first_node", import.topology.nodes[0]);
}

#[test]
fn an_address_takes_the_mask_of_its_hosts_lan() {
    let hosts = "nodes: [rackhost-a, rackhost-b]\nlinks:\n- lan: [{node: rackhost-a, address: 10.8.0.1/16}, \
                 {node: rackhost-b, address: 10.8.0.2/16}]\n";
    let hosts = parse_yaml(hosts).unwrap().topology;
    let import = parse(LIST, &site(), Some(&hosts)).unwrap();
    assert!(shown(&import).contains("lan-10-8-0-0-16: web1:if1, desk2:if0\n"), "{}", shown(&import));
    // One address tells the network of the whole LAN, and with it that of every host on it.
    let hosts = "nodes: [rackhost-a, rackhost-b]\nlinks:\n- lan: [{node: rackhost-a, address: 10.7.0.1/16}, rackhost-b]\n";
    let import = parse(LIST, &site(), Some(&parse_yaml(hosts).unwrap().topology)).unwrap();
    assert!(shown(&import).contains("lan-10-7-0-0-16: web1:if0, desk1:if0\n"), "{}", shown(&import));
    let other = parse_yaml("nodes: [rackhost-a, rackhost-c]").unwrap().topology;
    let import = parse(LIST, &site(), Some(&other)).unwrap();
    assert!(
        shown(&import).contains("host \"rackhost-b\" is not in the file of the hosts (did you mean"),
        "{}",
        shown(&import)
    );
}

#[test]
fn what_is_wrong() {
    let one = |inside: &str| format!("[{{\"name\": \"a\", \"host\": \"h\", {inside}}}]");
    let two = |first: &str, second: &str| {
        format!(
            "[{{\"name\": \"a\", \"interfaces\": [{first}]}},\n {{\"name\": \"b\", \"interfaces\": [{second}]}}]"
        )
    };
    let table = [
        (
            LIST.replace("ub14.box\",", "ub14.box\""),
            "3:75: a comma is missing between \"http://mirror.example/ub14.box\" and \"interfaces\" \
             (put a comma after \"http://mirror.example/ub14.box\")",
        ),
        ("{}".to_owned(), "1:1: the file is a map, not a list of containers"),
        ("[]".to_owned(), "the list is empty"),
        ("[{\"host\": \"h\"}]".to_owned(), "1:2: a container has no name"),
        ("[{\"name\": \"\"}]".to_owned(), "name: the client_id is empty"),
        (
            "[{\"name\": 5}, {\"name\": \"5\"}]".to_owned(),
            "1:24: the name \"5\" is taken: another container has it, at 1:11",
        ),
        ("[{\"name\": [\"a\"]}]".to_owned(), "name is a list, not a text"),
        (one("\"interfaces\": [{\"address\": \"10.1.1.300\"}]"), "\"10.1.1.300\" is no IPv4 address"),
        (one("\"interfaces\": [{\"address\": \"fe80::1\"}]"), "is no IPv4 address"),
        (
            one("\"interfaces\": [{\"address\": \"10.1.1.0\"}]"),
            "10.1.1.0 is the address of the whole network 10.1.1.0/24",
        ),
        (one("\"interfaces\": [{\"address\": \"10.1.1.255\"}]"), "is the address of the whole network"),
        (one("\"interfaces\": [{\"mac\": \"02:00\"}]"), "mac: \"02:00\" is no Ethernet address"),
        (one("\"interfaces\": \"10.1.1.1\""), "interfaces is no list"),
        (
            two("{\"address\": \"10.1.1.1\"}", "{\"address\": \"10.1.1.1\"}"),
            "2:43: address 10.1.1.1 is taken: another interface has it, at 1:43",
        ),
        (
            two(
                "{\"address\": \"10.1.1.1\", \"mac\": \"02:00:00:00:00:01\"}",
                "{\"address\": \"10.1.1.2\", \"mac\": \"020000000001\"}",
            ),
            "mac 02:00:00:00:00:01 is taken: another interface has it, at 1:62",
        ),
        (format!("[{{\"name\": \"{}\"}}]", "x".repeat(10 << 20)), "bytes, more than 4194304"),
        ("[{\"name\": \"a\0b\"}]".to_owned(), "a control character (U+0000) in a text"),
        (format!("[{}]", "[".repeat(1000)), "nested deeper than 16 levels"),
        (
            format!(
                "[{}]",
                (0..10_001).map(|n| format!("{{\"name\":\"n{n}\"}}")).collect::<Vec<_>>().join(",")
            ),
            "more than 10000 containers",
        ),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in table {
        let refused = parse(&text, &site(), None).unwrap_err();
        let all: Vec<String> = refused.diagnostics.iter().map(ToString::to_string).collect();
        if !all.iter().any(|one| one.contains(expected)) {
            wrong.push(format!("{all:#?}\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_odd() {
    let text = r#"[{"name": "web_1", "host": "rackhost-A", "image_nmae": "lab/ub14", "image_name": "lab/ub15",
      "image_type": "qemu", "interfaces": [{"address": "10.1.1.1/16"}, {"address": "10.1.1.2/24"}, {"adress": "10.1.1.3"}]}]"#;
    insta::assert_snapshot!(shown(&parse(text, &site(), None).unwrap()));
}

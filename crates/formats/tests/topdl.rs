//! topdl: DETER's own example, what is wrong, and what is left out with a word.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use testyard_formats::import::{Refused, Site};
use testyard_formats::topdl::parse;

const EXAMPLE: &str = r#"<experiment>
  <version>1.0</version>
  <substrates><name>uplink</name>
    <capacity><rate>100000.0</rate><kind>max</kind></capacity>
    <latency><time>5.0</time><kind>max</kind></latency>
    <attribute><attribute>loss</attribute><value>0.02</value></attribute>
  </substrates>
  <substrates><name>empty</name></substrates>
  <elements><computer><name>probe</name>
    <os><attribute><attribute>osid</attribute><value>Ubuntu1604-STD</value></attribute></os>
    <cpu><type>x86</type></cpu>
    <software><location>https://example.net/tool.tar.gz</location><install>/opt/tool</install></software>
    <software><location>tcpdump.rpm</location></software>
    <interface><substrate>uplink</substrate><name>inf000</name>
      <capacity><rate>10000.0</rate><kind>max</kind></capacity>
      <attribute><attribute>ip4_address</attribute><value>10.1.1.2</value></attribute>
      <attribute><attribute>ip4_netmask</attribute><value>255.255.255.0</value></attribute>
      <attribute><attribute>benito:vde_port</attribute><value>3</value></attribute>
    </interface>
    <attribute><attribute>containers:node_type</attribute><value>openvz</value></attribute>
    <attribute><attribute>containers:partition</attribute><value>1</value></attribute>
    <attribute><attribute>startup</attribute><value>/proj/lab/bin/go</value></attribute>
    <attribute><attribute>failureaction</attribute><value>nonfatal</value></attribute>
    <attribute><attribute>fixed</attribute><value>pc7</value></attribute>
  </computer></elements>
  <elements><computer><name>sink</name>
    <os><attribute><attribute>osid</attribute><value>debian:12</value></attribute></os>
    <interface><substrate>uplink</substrate></interface>
  </computer></elements>
  <elements><segment><id>x</id></segment></elements>
</experiment>"#;

#[test]
fn what_is_read() {
    let import = parse(EXAMPLE, &Site::default()).unwrap();
    insta::assert_json_snapshot!(import.topology);
    let remarks: Vec<String> = import.diagnostics.iter().map(|d| format!("{:?} {d}", d.severity)).collect();
    insta::assert_snapshot!("what_is_said", remarks.join("\n"));
    let mapped = Site {
        images: [("Ubuntu1604-STD".to_owned(), "ubuntu:24.04".parse().unwrap())].into(),
        ..Site::default()
    };
    let import = parse(EXAMPLE, &mapped).unwrap();
    assert_eq!(import.topology.nodes[0].image.as_ref().unwrap().as_str(), "ubuntu:24.04");
    let as_topology = EXAMPLE.replace("experiment>", "topology>");
    assert_eq!(parse(&as_topology, &mapped).unwrap(), import);
}

#[test]
fn a_start_command_of_csh_is_written_for_sh() {
    let read = |command: &str| {
        let startup = format!(
            "<attribute><attribute>startup</attribute><value>{command}</value></attribute></computer></elements>\n"
        );
        let import =
            parse(&EXAMPLE.replacen("</computer></elements>", &startup, 2), &Site::default()).unwrap();
        let said: Vec<String> =
            import.diagnostics.iter().map(|d| format!("{:?} {}", d.severity, d.message)).collect();
        (import.topology.nodes[1].services.executes[0].command.clone(), said)
    };
    let (command, said) = read("go &gt;&amp; /tmp/log");
    assert_eq!(command, "go >/tmp/log 2>&1");
    assert!(said.iter().any(|one| one.starts_with("Notice startup: the command is csh's")), "{said:#?}");
    let (command, said) = read("foreach i (1 2)");
    assert_eq!(command, "foreach i (1 2)");
    assert!(said.iter().any(|one| one.starts_with("Warning startup: foreach is csh's")), "{said:#?}");
}

#[test]
fn what_is_wrong() {
    let inside = |text: &str| format!("<topology>{text}</topology>");
    let computer = |name: &str, text: &str| {
        format!("<elements><computer><name>{name}</name>{text}</computer></elements>")
    };
    let net = "<substrates><name>n</name></substrates>";
    let on_net = |address: &str| {
        format!(
            "<interface><substrate>n</substrate><attribute><attribute>ip4_address</attribute>\
             <value>{address}</value></attribute></interface>"
        )
    };
    let table = [
        (String::new(), "not well-formed XML"),
        ("<rspec/>".to_owned(), "the root element is \"rspec\""),
        ("<!DOCTYPE topology [<!ENTITY a 'b'>]><topology/>".to_owned(), "DOCTYPE"),
        (inside("<substrates/>"), "a substrate has no name"),
        (inside(&format!("{net}{net}")), "1:50: the name \"n\" is taken: another substrate has it at 1:11"),
        (
            inside(&[computer("a", ""), computer("a", "")].concat()),
            "the name \"a\" is taken: another computer has it",
        ),
        (inside(&computer("", "")), "a computer has no name"),
        (inside(&computer(&"x".repeat(200), "")), "computer: the client_id is longer than 128 characters"),
        (
            inside(&computer("a", "<interface><substrate>x</substrate></interface>")),
            "there is no substrate \"x\"",
        ),
        (
            inside(&format!("{net}{}", computer("a", &on_net("10.1.1.300")))),
            "\"10.1.1.300\" with mask \"\" is no address",
        ),
        (
            inside(
                &[net.to_owned(), computer("a", &on_net("10.1.1.1")), computer("b", &on_net("10.1.1.1"))]
                    .concat(),
            ),
            "address 10.1.1.1 is on substrate \"n\" twice",
        ),
        (
            inside(&computer("a", &"<interface><name>i</name></interface>".repeat(2))),
            "the name \"i\" is taken: another interface",
        ),
        (
            inside("<substrates><name>n</name><capacity><rate>fast</rate></capacity></substrates>"),
            "capacity is \"fast\" (write kilobits per second",
        ),
        (
            inside("<substrates><name>n</name><latency><time>-5</time></latency></substrates>"),
            "latency is \"-5\" (write milliseconds",
        ),
        (
            inside(
                "<substrates><name>n</name><attribute><attribute>loss</attribute><value>2</value></attribute></substrates>",
            ),
            "loss is \"2\" (write a fraction",
        ),
        ("<topology>".repeat(100), "levels of elements"),
        (format!("<topology>{}</topology>", " ".repeat(33 << 20)), "more than 33554432"),
        ("<topology>\0</topology>".to_owned(), "not well-formed XML"),
    ];
    let mut wrong = Vec::new();
    for (text, expected) in table {
        match parse(&text, &Site::default()) {
            Ok(import) => wrong.push(format!("{text}: {import:?}")),
            Err(Refused { diagnostics }) => {
                let all: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
                if !all.iter().any(|one| one.contains(expected)) {
                    wrong.push(format!("{all:#?}\n{expected}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

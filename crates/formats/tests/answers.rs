//! Every odd thing that users send gets a deliberate answer (am-api.md §4.5; `docs/reference/rspec.md`): the table
//! says which, the snapshot in which words.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod common;

use std::fmt::Write as _;

use common::{OPEN, US, context, node, request};
use testyard_formats::export::{export, export_for};
use testyard_formats::language::Language;
use testyard_formats::rspec::{Request, RequestError, RequestLimits, TESTYARD, Unbound, parse_request};
use testyard_model::diagnostic::Severity;
use testyard_model::link::LinkKind;
use testyard_model::route::Routing;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Taken without a word.
    Taken,
    Notice,
    Warning,
    NotXml,
    NotRSpec,
    WrongVersion,
    WrongType,
    NothingForUs,
    Invalid,
}

fn answer(result: &Result<Request, RequestError>) -> Answer {
    match result {
        Ok(request) => match request.diagnostics.iter().map(|d| d.severity).max() {
            None => Answer::Taken,
            Some(Severity::Notice) => Answer::Notice,
            Some(_) => Answer::Warning,
        },
        Err(RequestError::NotXml { .. }) => Answer::NotXml,
        Err(RequestError::NotRSpec(_)) => Answer::NotRSpec,
        Err(RequestError::WrongVersion { .. }) => Answer::WrongVersion,
        Err(RequestError::WrongType { .. }) => Answer::WrongType,
        Err(RequestError::NothingForUs(_)) => Answer::NothingForUs,
        Err(RequestError::Invalid(_)) => Answer::Invalid,
    }
}

fn bound(client_id: &str, inside: &str) -> String {
    format!("<node client_id=\"{client_id}\" component_manager_id=\"{US}\">{inside}</node>")
}

fn by(manager: &str) -> String {
    request(&format!("<node client_id=\"a\" component_manager_id=\"{manager}\"/>"))
}

fn execute(attributes: &str) -> String {
    node(&format!("<services><execute {attributes}/></services>"))
}

fn install(url: &str, path: &str) -> String {
    node(&format!("<services><install url=\"{url}\" install_path=\"{path}\"/></services>"))
}

fn image(attributes: &str) -> String {
    node(&format!("<sliver_type name=\"docker-container\"><disk_image {attributes}/></sliver_type>"))
}

fn ip(attributes: &str) -> String {
    node(&format!("<interface client_id=\"a:if0\"><ip {attributes}/></interface>"))
}

fn property(from: &str, to: &str, values: &str) -> String {
    format!("<property source_id=\"{from}\" dest_id=\"{to}\" {values}/>")
}

/// a and b with a delay node between them.
fn delay_node(pipes: &str) -> String {
    const DELAY: &str = "http://www.protogeni.net/resources/rspec/ext/delay/1";
    let shaping = format!("<d:sliver_type_shaping xmlns:d=\"{DELAY}\">{pipes}</d:sliver_type_shaping>");
    let node = format!(
        "<sliver_type name=\"delay\">{shaping}</sliver_type><interface client_id=\"d:0\"/><interface client_id=\"d:1\"/>"
    );
    let link = |name: &str, a: &str, b: &str| {
        format!(
            "<link client_id=\"{name}\"><interface_ref client_id=\"{a}\"/><interface_ref client_id=\"{b}\"/></link>"
        )
    };
    request(
        &[
            bound("a", "<interface client_id=\"a:0\"/>"),
            bound("d", &node),
            bound("b", "<interface client_id=\"b:0\"/>"),
            link("left", "a:0", "d:0"),
            link("right", "d:1", "b:0"),
        ]
        .concat(),
    )
}

/// geni-lib's namespace for Docker at Emulab.
const EMULAB: &str = "xmlns:emulab=\"http://www.protogeni.net/resources/rspec/ext/emulab/1\"";

fn table() -> Vec<(&'static str, String, Answer)> {
    use Answer::*;
    const TY: &str = "xmlns:testyard=\"http://testyard.dev/rspec/ext/testyard/1\"";
    let one = bound("a", "");
    let two = format!(
        "{}{}",
        bound("a", "<interface client_id=\"a:0\"/>"),
        bound("b", "<interface client_id=\"eth-b\"/>")
    );
    let link = |inside: &str| request(&format!("{two}<link client_id=\"l\">{inside}</link>"));
    let refs = "<interface_ref client_id=\"a:0\"/><interface_ref client_id=\"eth-b\"/>";
    vec![
        // The document.
        ("plain", request(&one), Taken),
        ("empty", String::new(), NotXml),
        ("only white space", " \n ".to_owned(), NotXml),
        ("no XML", "node a".to_owned(), NotXml),
        ("JSON", "{\"node\": 1}".to_owned(), NotXml),
        ("end tag opened instead", request(&one).replace("</rspec>", "<rspec>"), NotXml),
        ("HTML-escaped", request(&one).replace('<', "&lt;").replace('>', "&gt;"), NotXml),
        ("bare ampersands", execute("shell=\"sh\" command=\"a && b\""), NotXml),
        ("DOCTYPE", format!("<!DOCTYPE rspec [<!ENTITY x \"y\">]>{}", request(&one)), NotXml),
        ("too deep", request(&format!("{}{}", "<x:a xmlns:x=\"u\">".repeat(70), "</x:a>".repeat(70))), NotXml),
        ("two roots", format!("{0}{0}", request(&one)), NotXml),
        ("undeclared prefix", node("<jfed:location x=\"1\"/>"), NotXml),
        ("byte order mark", format!("\u{feff}{}", request(&one)), Taken),
        ("CRLF", node("<services>\n</services>").replace('\n', "\r\n"), Taken),
        ("declaration with an encoding", format!("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\n{}", request(&one)), Taken),
        ("white space in front of the declaration", format!("\n  <?xml version=\"1.0\"?>{}", request(&one)), Taken),
        ("XML 1.1", format!("<?xml version=\"1.1\"?>{}", request(&one)), Taken),
        ("comments in front of the root", format!("<!-- é --><?pi x?>\n{}", request(&one)), Taken),
        ("non-ASCII", request(&bound("Knoten \u{e9}\u{4e2d}", "<!-- ü -->")), Taken),
        ("manifest's schema in a request", request(&one).replace("type=", "xmlns:x=\"http://www.w3.org/2001/XMLSchema-instance\" x:schemaLocation=\"http://www.geni.net/resources/rspec/3 http://www.geni.net/resources/rspec/3/manifest.xsd\" type="), Taken),
        ("prefix form", format!("<r:rspec xmlns:r=\"http://www.geni.net/resources/rspec/3\" type=\"request\"><r:node client_id=\"a\" component_manager_id=\"{US}\"/></r:rspec>"), Taken),
        ("default namespace on every element", request(&one.replace("<node", "<node xmlns=\"http://www.geni.net/resources/rspec/3\"")), Taken),
        // The root.
        ("another root", "<html/>".to_owned(), NotRSpec),
        ("root in capitals", request(&one).replace("rspec xmlns", "RSpec xmlns").replace("</rspec", "</RSpec"), NotRSpec),
        ("no namespace", format!("<rspec type=\"request\">{one}</rspec>"), NotRSpec),
        ("near miss of the namespace", request(&one).replace("resources/rspec/3", "resource/rspec/3"), NotRSpec),
        ("namespace with https", request(&one).replace("http://www.geni", "https://www.geni"), NotRSpec),
        ("some namespace", request(&one).replace("http://www.geni.net/resources/rspec/3", "urn:x"), NotRSpec),
        ("RSpec 2", request(&one).replace("http://www.geni.net/resources/rspec/3", "http://www.protogeni.net/resources/rspec/2"), WrongVersion),
        ("manifest", request(&one).replace("\"request\"", "\"manifest\""), WrongType),
        ("advertisement", request(&one).replace("\"request\"", "\"advertisement\""), WrongType),
        ("unknown type", request(&one).replace("\"request\"", "\"wish\""), WrongType),
        ("type in capitals", request(&one).replace("\"request\"", "\"Request\""), Taken),
        ("no type", request(&one).replace(" type=\"request\"", ""), Warning),
        // Whose nodes.
        ("no nodes", request(""), NothingForUs),
        ("another testbed", by("urn:publicid:IDN+pgeni.gpolab.bbn.com+authority+cm"), NothingForUs),
        ("our authority as cm", by("urn:publicid:IDN+am.example.net+authority+cm"), Taken),
        ("our authority in capitals", by("urn:publicid:IDN+AM.example.NET+authority+am"), Taken),
        ("white space around the URN", by(&format!(" {US}\n")), Taken),
        ("our authority as sa", by("urn:publicid:IDN+am.example.net+authority+sa"), NothingForUs),
        ("a slip in the authority", by("urn:publicid:IDN+am.exmaple.net+authority+am"), NothingForUs),
        ("a slip in the URN", by("urn:publicid:IDM+am.example.net+authority+am"), NothingForUs),
        ("only the authority's name", by("am.example.net"), NothingForUs),
        ("nodes in a near-miss namespace", request(&one.replace("<node", "<node xmlns=\"http://www.geni.net/resource/rspec/3\"")), NothingForUs),
        ("nodes in no namespace", request(&one.replace("<node", "<node xmlns=\"\"")), NothingForUs),
        ("all unbound", request("<node client_id=\"a\"/><node client_id=\"b\"/>"), Taken),
        ("one unbound beside ours", request(&format!("{one}<node client_id=\"b\"/>")), Warning),
        ("one unbound beside another testbed's", request("<node client_id=\"a\"/><node client_id=\"b\" component_manager_id=\"urn:publicid:IDN+x.org+authority+cm\"/>"), NothingForUs),
        ("bound to our host only", request("<node client_id=\"a\" component_id=\"urn:publicid:IDN+am.example.net+node+local\"/>"), Taken),
        ("bound to a foreign host only", request("<node client_id=\"a\" component_id=\"urn:publicid:IDN+x.org+node+pc1\"/>"), NothingForUs),
        ("ours and a near miss", request(&format!("{one}<node client_id=\"b\" component_manager_id=\"urn:publicid:IDN+am.exmaple.net+authority+am\"/>")), Warning),
        ("same client_id in two testbeds", request(&format!("{one}<node client_id=\"a\" component_manager_id=\"urn:publicid:IDN+x.org+authority+cm\"/>")), Warning),
        // Nodes.
        ("client_ids with colon, plus, blank", request(&format!("{}{}", bound("PC 1:x+y", ""), bound(" b", ""))), Taken),
        ("no client_id", request(&format!("<node component_manager_id=\"{US}\"/>")), Invalid),
        ("empty client_id", request(&bound("", "")), Invalid),
        ("control character in client_id", request(&bound("a&#10;b", "")), Invalid),
        ("long client_id", request(&bound(&"x".repeat(200), "")), Invalid),
        ("duplicate client_id", request(&format!("{}\n  {}", bound("a", ""), bound("a", ""))), Invalid),
        ("exclusive in Python's spelling", request(&one.replace("client_id", "exclusive=\"True\" client_id")), Warning),
        ("exclusive is 0", request(&one.replace("client_id", "exclusive=\"0\" client_id")), Taken),
        ("exclusive is a word", request(&one.replace("client_id", "exclusive=\"maybe\" client_id")), Invalid),
        ("component_id is no URN", request(&one.replace("client_id", "component_id=\"pc3\" client_id")), Invalid),
        ("no sliver_type", node(""), Taken),
        ("sliver_type without name", node("<sliver_type/>"), Invalid),
        ("sliver_type with a hostile name", node("<sliver_type name=\"a;rm -rf\"/>"), Invalid),
        ("two sliver_types", node("<sliver_type name=\"x\"/><sliver_type name=\"y\"/>"), Warning),
        ("misspelt element", node("<sliver_typ name=\"x\"/>"), Warning),
        ("element in no namespace", node("<sliver_type xmlns=\"\" name=\"x\"/>"), Warning),
        ("element in a near-miss namespace", node("<sliver_type xmlns=\"http://www.geni.net/resource/rspec/3\" name=\"x\"/>"), Warning),
        ("jFed's location", node("<jfed:location xmlns:jfed=\"http://jfed.iminds.be/rspec/ext/jfed/1\" x=\"1\" y=\"2\"/>"), Taken),
        ("hardware_type with a child", node(&format!("<hardware_type name=\"pc\"><emulab:node_type {EMULAB} type_slots=\"1\"/></hardware_type>")), Taken),
        ("geni-lib's Docker attributes", node(&format!("<sliver_type name=\"emulab-docker\"><emulab:docker {EMULAB} extimage=\"ubuntu\" cores=\"2\" privileged=\"False\"/></sliver_type>")), Notice),
        ("privileged container", node(&format!("<sliver_type name=\"emulab-docker\"><emulab:docker {EMULAB} privileged=\"True\"/></sliver_type>")), Invalid),
        ("routable control address", node(&format!("<emulab:routable_control_ip {EMULAB}/>")), Taken),
        // Images.
        ("image by name", image("name=\"debian:12\" os=\"Linux\" version=\"12\""), Taken),
        ("image without name", image("os=\"Linux\""), Warning),
        ("image by URL", image("url=\"https://example.net/Dockerfile\""), Taken),
        ("image URL as name", image("name=\"https://example.net/Dockerfile\""), Taken),
        ("image URL with a user", image("url=\"https://ann:secret@example.net/Dockerfile\""), Invalid),
        ("image URL with an odd fragment", image("url=\"https://example.net/Dockerfile#top\""), Invalid),
        ("image URL of files", image("url=\"file:///etc/passwd\""), Invalid),
        ("number of an image", image("name=\"sha256:0123456789ab\""), Invalid),
        ("image name as url", image("url=\"debian:12\""), Taken),
        ("image name and url", image("name=\"debian:12\" url=\"https://example.net/x\""), Warning),
        ("image URN", image("name=\"urn:publicid:IDN+emulab.net+image+emulab-ops:UBUNTU10-STD\""), Invalid),
        ("image in capitals", image("name=\"Debian\""), Invalid),
        ("hostile image", image("name=\"--privileged; rm -rf / #\""), Invalid),
        ("disk_image directly in node", node("<disk_image name=\"debian:12\"/>"), Invalid),
        ("two images", node("<sliver_type name=\"x\"><disk_image name=\"a\"/><disk_image name=\"b\"/></sliver_type>"), Warning),
        // Services.
        ("empty services", node("<services/><services></services>"), Taken),
        ("request's own login", node("<services><login authentication=\"ssh-keys\"/></services>"), Taken),
        ("shell by path", execute("shell=\"/bin/bash\" command=\"id\""), Taken),
        ("unknown shell", execute("shell=\"zsh\" command=\"id\""), Invalid),
        ("hostile shell", execute("shell=\"sh -c id;\" command=\"id\""), Invalid),
        ("no shell", execute("command=\"id\""), Warning),
        ("no command", execute("shell=\"sh\""), Invalid),
        ("empty command", execute("shell=\"sh\" command=\" \""), Invalid),
        ("command with everything", execute("shell=\"sh\" command=\"a &amp;&amp; b; 'c' &quot;d&quot; &gt; /e&#10;$(f) `g`\""), Taken),
        ("huge command", execute(&format!("shell=\"sh\" command=\"{}\"", "x".repeat(70_000))), Invalid),
        ("execute directly in node", node("<execute shell=\"sh\" command=\"id\"/>"), Invalid),
        ("misspelt service", node("<services><exceute shell=\"sh\" command=\"id\"/></services>"), Warning),
        ("install of a script", install("http://example.net/x.sh?format=raw", "/local"), Taken),
        ("install without url", node("<services><install install_path=\"/x\"/></services>"), Invalid),
        ("install without path", node("<services><install url=\"http://example.net/x\"/></services>"), Invalid),
        ("install by ftp", install("ftp://example.net/x.tgz", "/local"), Invalid),
        ("install of a file", install("file:///etc/passwd", "/local"), Invalid),
        ("install from nowhere", install("http:///x", "/local"), Invalid),
        ("install URL with a blank", install("http://example.net/a b", "/local"), Invalid),
        ("install URL with a quote", install("http://example.net/&quot;;id", "/local"), Invalid),
        ("install to a relative path", install("http://example.net/x.tgz", "local"), Invalid),
        ("install to the parent", install("http://example.net/x.tgz", "/a/../../etc"), Invalid),
        // Ports.
        ("ports", node(&format!("<testyard:port {TY} number=\"80\"/><testyard:port {TY} number=\"53\" protocol=\"UDP\"/>")), Taken),
        ("port 0", node(&format!("<testyard:port {TY} number=\"0\"/>")), Invalid),
        ("port without number", node(&format!("<testyard:port {TY} port=\"80\"/>")), Invalid),
        ("port of SCTP", node(&format!("<testyard:port {TY} number=\"80\" protocol=\"sctp\"/>")), Invalid),
        ("port twice", node(&format!("<testyard:port {TY} number=\"80\"/><testyard:port {TY} number=\"80\" protocol=\"tcp\"/>")), Warning),
        ("SSH as port", node(&format!("<testyard:port {TY} number=\"22\"/>")), Notice),
        ("misspelt element of ours", node(&format!("<testyard:ports {TY} number=\"80\"/>")), Warning),
        // Interfaces and links.
        ("interface without client_id", node("<interface/>"), Invalid),
        ("interface not named after its node", node("<interface client_id=\"eth7\"/>"), Taken),
        ("duplicate interface", node("<interface client_id=\"i\"/>\n<interface client_id=\"i\"/>"), Invalid),
        ("address", ip("address=\"10.1.1.1\" netmask=\"255.255.255.0\" type=\"ipv4\""), Taken),
        ("IPv6 address", ip("address=\"fd00::1\" netmask=\"64\" type=\"ipv6\""), Taken),
        ("address with length", ip("address=\"10.1.1.1/24\""), Taken),
        ("address without netmask", ip("address=\"10.1.1.1\""), Taken),
        ("empty address", ip("address=\"\""), Warning),
        ("address that is a name", ip("address=\"provider3\" type=\"ipv4\""), Invalid),
        ("address out of range", ip("address=\"10.1.1.256\""), Invalid),
        ("netmask with a hole", ip("address=\"10.1.1.1\" netmask=\"255.0.255.0\""), Invalid),
        ("address of another type", ip("address=\"10.1.1.1\" netmask=\"24\" type=\"ipv6\""), Warning),
        ("ip directly in node", node("<ip address=\"10.1.1.1\"/>"), Warning),
        ("link", link(refs), Taken),
        ("link with an empty property", link(&format!("{refs}<property source_id=\"a:0\" dest_id=\"eth-b\"/><link_type name=\"\"/>")), Taken),
        ("link to nothing", link(&format!("{refs}<interface_ref client_id=\"eth-c\"/>")), Invalid),
        ("link without client_id", link(refs).replace(" client_id=\"l\"", ""), Invalid),
        ("link to another testbed", link(&format!("<interface_ref client_id=\"a:0\"/><interface_ref client_id=\"far\"/><component_manager name=\"{US}\"/><component_manager name=\"urn:publicid:IDN+x.org+authority+cm\"/>")), Warning),
        ("two links of one name", request(&format!("{two}<link client_id=\"l\">{refs}</link>\n<link client_id=\"l\">{refs}</link>")), Invalid),
        ("links of others only", request(&format!("{two}<link client_id=\"l\"><interface_ref client_id=\"x\"/></link>")), Taken),
        ("link with properties", link(&format!("{refs}{}", property("a:0", "eth-b", "capacity=\"10000\" latency=\"5.5\" packet_loss=\"0.01\""))), Taken),
        ("property of a stranger", link(&format!("{refs}{}", property("a:0", "eth-z", "latency=\"5\""))), Warning),
        ("property without ends", link(&format!("{refs}<property latency=\"5\"/>")), Warning),
        ("property to itself", link(&format!("{refs}{}", property("a:0", "a:0", "latency=\"5\""))), Warning),
        ("property with a unit", link(&format!("{refs}{}", property("a:0", "eth-b", "capacity=\"10Mb\""))), Invalid),
        ("property in per cent", link(&format!("{refs}{}", property("a:0", "eth-b", "packet_loss=\"5\""))), Invalid),
        ("negative latency", link(&format!("{refs}{}", property("a:0", "eth-b", "latency=\"-1\""))), Invalid),
        ("capacity of nothing", link(&format!("{refs}{}", property("a:0", "eth-b", "capacity=\"0\""))), Taken),
        ("capacity that lets nothing through", link(&format!("{refs}{}", property("a:0", "eth-b", "capacity=\"0.5\""))), Invalid),
        ("contradicting properties", link(&format!("{refs}{}\n{}", property("a:0", "eth-b", "latency=\"1\""), property("a:0", "eth-b", "latency=\"2\""))), Warning),
        ("repeated property", link(&format!("{refs}{0}{0}", property("a:0", "eth-b", "latency=\"1\""))), Taken),
        ("interface on two links", request(&format!("{two}<link client_id=\"l\">{refs}</link>\n<link client_id=\"m\">{refs}</link>")), Invalid),
        ("interface twice on one link", link(&format!("{refs}<interface_ref client_id=\"a:0\"/>")), Invalid),
        ("shared VLAN", link(&format!("{refs}<v:link_shared_vlan xmlns:v=\"http://www.protogeni.net/resources/rspec/ext/shared-vlan/1\" name=\"mesoscale\"/>")), Invalid),
        ("Emulab's wishes for a link", link(&format!("{refs}<e:trivial_ok {emulab}/><e:best_effort {emulab} enabled=\"true\"/><e:vlan_tagging {emulab} enabled=\"true\"/><e:link_multiplexing {emulab} enabled=\"true\"/>", emulab = EMULAB.replace("emulab=", "e="))), Taken),
        ("one address twice on a link", request(&(two.replace("<interface client_id=\"a:0\"/>", "<interface client_id=\"a:0\"><ip address=\"10.1.1.1\"/></interface>").replace("<interface client_id=\"eth-b\"/>", "<interface client_id=\"eth-b\"><ip address=\"10.1.1.1\"/></interface>") + &format!("<link client_id=\"l\">{refs}</link>"))), Invalid),
        ("LAN that cannot be had exactly", request(&format!("{}<link client_id=\"l\">{refs}<interface_ref client_id=\"c:0\"/>{}{}</link>", two.clone() + &bound("c", "<interface client_id=\"c:0\"/>"), property("a:0", "eth-b", "latency=\"5\""), property("eth-b", "c:0", "latency=\"9\""))), Warning),
        ("delay node", delay_node("<d:pipe source=\"d:0\" dest=\"d:1\" capacity=\"1000\" latency=\"20\" packet_loss=\"0.5\"/><d:pipe source=\"d:1\" dest=\"d:0\" latency=\"30\" lossrate=\"0.1\" limit=\"30\" red=\"true\"/>"), Notice),
        ("delay node with a strange pipe", delay_node("<d:pipe source=\"d:0\" dest=\"x\"/>"), Invalid),
        ("delay node between nothing", node("<interface client_id=\"d:0\"/><interface client_id=\"d:1\"/><sliver_type name=\"delay\"><d:sliver_type_shaping xmlns:d=\"http://www.protogeni.net/resources/rspec/ext/delay/1\"/></sliver_type>"), Invalid),
        ("delay node with one interface", node("<interface client_id=\"d:0\"/><sliver_type name=\"delay\"><d:sliver_type_shaping xmlns:d=\"http://www.protogeni.net/resources/rspec/ext/delay/1\"/></sliver_type>"), Invalid),
        ("misspelt element at the root", request(&format!("{one}<links client_id=\"l\"/>")), Warning),
    ]
}

#[test]
fn every_odd_thing_has_its_answer() {
    let context = context();
    let mut words = String::new();
    let mut wrong = String::new();
    for (name, text, expected) in table() {
        let result = parse_request(&text, &context);
        if answer(&result) != expected {
            let _ = writeln!(wrong, "{name}: {:?} instead of {expected:?}: {result:?}", answer(&result));
        }
        let _ = writeln!(words, "## {name}: {expected:?}");
        match result {
            Ok(request) => {
                for remark in &request.diagnostics {
                    let _ = writeln!(words, "{:?} {remark}", remark.severity);
                }
            }
            Err(error) => {
                let _ = writeln!(words, "{error}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    insta::assert_snapshot!(words);
}

#[test]
fn what_is_read() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rich.rspec")).unwrap();
    let request = parse_request(&text, &context()).unwrap();
    assert_eq!(request.foreign_nodes, 1);
    assert_eq!(request.routable_control_ip, ["web".parse().unwrap()]);
    assert_eq!(String::from(request.document.clone()), text);
    insta::assert_json_snapshot!(request.topology);
}

#[test]
fn limits() {
    let mut context = context();
    context.limits =
        RequestLimits { bytes: 4000, nodes: 2, interfaces: 1, services: 1, ports: 1, command: 5 };
    let port = "<p:port xmlns:p=\"http://testyard.dev/rspec/ext/testyard/1\" number=";
    for (text, expected) in [
        (
            request(&["a", "b", "c"].map(|id| bound(id, "")).concat()),
            "2:191: the request has 3 nodes for this testbed, more than 2",
        ),
        (
            node("<interface client_id=\"1\"/><interface client_id=\"2\"/>"),
            "more than 1 interfaces on one node",
        ),
        (
            execute("shell=\"sh\" command=\"id\"/><execute shell=\"sh\" command=\"id\""),
            "more than 1 services for one node",
        ),
        (execute("shell=\"sh\" command=\"123456\""), "the command has 6 bytes, more than 5"),
        (node(&format!("{port}\"1\"/>{port}\"2\"/>")), "more than 1 ports for one node"),
        (request(&" ".repeat(4000)), "bytes, more than 4000"),
    ] {
        let error = parse_request(&text, &context).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn checksums_and_timeouts() {
    let services = |install: &str, execute: &str| {
        node(&format!(
            "<services xmlns:ty=\"http://testyard.dev/rspec/ext/testyard/1\"><install url=\"http://a.net/x\" \
             install_path=\"/x\" {install}/><execute shell=\"sh\" command=\"id\" {execute}/></services>"
        ))
    };
    let digits = "0A".repeat(32);
    let text = services(&format!("ty:checksum=\" SHA256:{digits} \""), "ty:timeout=\"90\"");
    let request = parse_request(&text, &context()).unwrap();
    let read = &request.topology.nodes[0].services;
    let checksum = read.installs[0].checksum.as_ref().unwrap().to_string();
    assert_eq!(checksum, format!("sha256:{}", digits.to_lowercase()));
    assert_eq!(read.executes[0].timeout.unwrap().get(), 90);
    for (install, execute, expected) in [
        ("ty:checksum=\"md5:00\"", "", "install has checksum \"md5:00\", which does not begin with sha256:"),
        ("ty:checksum=\"sha256:00\"", "", "which needs 64 hex digits"),
        ("ty:checksum=\"\"", "", "install has checksum \"\""),
        // What is not understood must not be left out in silence.
        ("checksum=\"sha256:00\"", "", "checksum is no attribute of RSpec v3 and would have no effect"),
        ("", "ty:timeout=\"0\"", "execute has timeout \"0\""),
        ("", "ty:timeout=\"1m\"", "execute has timeout \"1m\""),
        ("", "ty:timeout=\"31536001\"", "execute has timeout"),
        ("", "timeout=\"5\"", "timeout is no attribute of RSpec v3"),
    ] {
        let error = parse_request(&services(install, execute), &context()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn unbound_nodes_by_configuration() {
    let mut context = context();
    let mixed = request(&format!("{}<node client_id=\"b\"/>", bound("a", "")));
    let alone = request("<node client_id=\"b\"/>");
    let count = |text: &str, context: &_| {
        parse_request(text, context).map_or(0, |request| request.topology.nodes.len())
    };
    for (unbound, in_mixed, in_alone) in
        [(Unbound::OursIfNoneIsBound, 1, 1), (Unbound::Ours, 2, 1), (Unbound::Foreign, 1, 0)]
    {
        context.unbound = unbound;
        assert_eq!((count(&mixed, &context), count(&alone, &context)), (in_mixed, in_alone), "{unbound:?}");
    }
}

/// Remarks are kept up to a number, and finding their places does not take a pass over the text each.
#[test]
fn a_hostile_request_is_refused_quickly() {
    let started = std::time::Instant::now();
    let bad = bound("a", "<sliver_typ/><interface client_id=\"i\"/>");
    let links =
        "<link client_id=\"l\"><interface_ref client_id=\"i\"/><interface_ref client_id=\"j\"/></link>"
            .repeat(20_000);
    let error = parse_request(&request(&format!("{}{links}", bad.repeat(9_000))), &context()).unwrap_err();
    assert!(error.to_string().len() < 5_000);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

/// What the store holds is checked when it is read, since a manifest relies on it.
#[test]
fn only_requests_become_documents() {
    use testyard_formats::rspec::RequestDocument;
    assert!(RequestDocument::try_from(format!("{OPEN}<")).is_err());
    let good = RequestDocument::try_from(request("")).unwrap();
    let json = serde_json::to_string(&good).unwrap();
    assert_eq!(serde_json::from_str::<RequestDocument>(&json).unwrap(), good);
    assert!(serde_json::from_str::<RequestDocument>("\"<rspec/>\"").is_err());
}

/// What a link is carried over is kept, and a LAN of two is one; nothing is left out without a word.
#[test]
fn types_of_links_are_kept() {
    let nodes = bound("a", "<interface client_id=\"a:0\"/>") + &bound("b", "<interface client_id=\"b:0\"/>");
    let refs = "<interface_ref client_id=\"a:0\"/><interface_ref client_id=\"b:0\"/>";
    let read = |text: &str| parse_request(text, &context()).unwrap();
    for (name, kind, kept) in [
        ("lan", LinkKind::Lan, None),
        ("", LinkKind::PointToPoint, None),
        ("gre-tunnel", LinkKind::PointToPoint, Some("gre-tunnel")),
    ] {
        let link = format!("<link client_id=\"l\">{refs}<link_type name=\"{name}\"/></link>");
        let first = read(&request(&(nodes.clone() + &link))).topology;
        assert_eq!(first.links[0].kind, kind, "{name}");
        let attributes: Vec<&str> = first.links[0].attributes.iter().map(|a| a.value.as_str()).collect();
        assert_eq!(attributes, kept.into_iter().collect::<Vec<_>>(), "{name}");
        let written = export(&first, Language::Rspec).unwrap();
        assert!(written.losses.is_empty(), "{:?}", written.losses);
        assert_eq!(read(&written.text).topology.links, first.links, "{}", written.text);
    }
    let mut lan = read(&request(
        &(nodes.clone() + &format!("<link client_id=\"l\">{refs}<link_type name=\"vlan\"/></link>")),
    ))
    .topology;
    lan.links[0].kind = LinkKind::Lan;
    let written = export(&lan, Language::Rspec).unwrap();
    assert_eq!(
        (read(&written.text).topology.links, written.losses.len()),
        (lan.links.clone(), 0),
        "{}",
        written.text
    );

    let alone = read(&request(&(nodes + "<link client_id=\"l\"/>")));
    assert!(alone.diagnostics[0].to_string().contains("has no interface_ref: it is left out"));
}

/// What is written twice is the same text: a loss has no more digits than it was given with.
#[test]
fn losses_keep_their_digits() {
    let nodes: String =
        ["a", "b", "c"].map(|id| bound(id, &format!("<interface client_id=\"{id}:0\"/>"))).concat();
    let refs: String = ["a", "b", "c"].map(|id| format!("<interface_ref client_id=\"{id}:0\"/>")).concat();
    let pairs = [("a", "b"), ("a", "c"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")];
    for loss in ["0.28", "0.01", "0.125", "0.0005", "1"] {
        let properties: String = pairs
            .iter()
            .map(|(from, to)| {
                format!("<property source_id=\"{from}:0\" dest_id=\"{to}:0\" packet_loss=\"{loss}\"/>")
            })
            .collect();
        let text = request(&format!("{nodes}<link client_id=\"l\">{refs}{properties}</link>"));
        let topology = parse_request(&text, &context()).unwrap().topology;
        let first = export(&topology, Language::Rspec).unwrap().text;
        assert_eq!(first.matches(&format!("packet_loss=\"{loss}\"")).count(), 6, "{first}");
        let again = parse_request(&first, &context()).unwrap().topology;
        assert_eq!(export(&again, Language::Rspec).unwrap().text, first);
    }
}

/// A testbed's own kind of node is written where a node has an image and no kind, as RSpec has no other place for it.
#[test]
fn images_need_a_sliver_type() {
    let mut topology = parse_request(&node(""), &context()).unwrap().topology;
    topology.nodes[0].image = Some("debian:12".parse().unwrap());
    let default = "docker-container".parse().unwrap();
    let written = export_for(&topology, Language::Rspec, Some(&default)).unwrap();
    assert_eq!(written.losses, []);
    let again = parse_request(&written.text, &context()).unwrap().topology;
    assert_eq!(again.nodes[0].image, topology.nodes[0].image);
    assert_eq!(again.nodes[0].sliver_type, Some(default));
    assert_eq!(export(&topology, Language::Rspec).unwrap().losses.len(), 1);
}

/// What a delay node does is done by the link: all of a direction at its sender.
#[test]
fn routes_are_asked_for_once_and_by_name() {
    let with = |inside: &str| request(&format!("<node client_id=\"a\"/>{inside}"));
    let routing = |name: &str| format!("<t:routing xmlns:t=\"{TESTYARD}\" name=\"{name}\"/>");
    let read = |text: &str| parse_request(text, &context()).map(|request| request.topology.routing);
    assert_eq!(read(&with("")).unwrap(), Routing::None);
    assert_eq!(read(&with(&routing("none"))).unwrap(), Routing::None);
    assert_eq!(read(&with(&routing("static"))).unwrap(), Routing::Static);
    let error = read(&with(&routing("statics"))).unwrap_err().to_string();
    assert!(error.contains("did you mean \"static\"?"), "{error}");
    let error = read(&with(&(routing("static") + &routing("none")))).unwrap_err().to_string();
    assert!(error.contains("two routings"), "{error}");
}

#[test]
fn a_delay_node_is_folded_into_its_link() {
    let text = delay_node(
        "<d:pipe source=\"d:0\" dest=\"d:1\" capacity=\"1000\" latency=\"20\"/>\
         <d:pipe source=\"d:1\" dest=\"d:0\" latency=\"30\" packet_loss=\"0.1\" limit=\"30\" red=\"true\"/>",
    );
    let topology = parse_request(&text, &context()).unwrap().topology;
    let names: Vec<&str> = topology.nodes.iter().map(|node| node.client_id.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let [link] = topology.links.as_slice() else { panic!("{:?}", topology.links) };
    let shown: Vec<String> =
        link.members.iter().map(|m| format!("{} {} {}", m.interface, m.to_link, m.from_link)).collect();
    assert_eq!(
        shown,
        ["a:0 rate=1Mbit delay=20ms none", "b:0 delay=30ms loss=10% queue=30 packets red none"],
        "left keeps its name"
    );
    assert_eq!(link.client_id.as_str(), "left");
}

#[test]
fn geni_libs_docker_attributes_name_the_image() {
    let asked = |attributes: &str, inside: &str| {
        node(&format!(
            "<sliver_type name=\"docker-container\">{inside}<emulab:docker {EMULAB} {attributes}/></sliver_type>"
        ))
    };
    let image = |text: String| {
        let read = parse_request(&text, &context()).expect("a request");
        (read.topology.nodes[0].image.as_ref().map(ToString::to_string), read.diagnostics.len())
    };
    let dockerfile = "https://example.net/Dockerfile";
    assert_eq!(
        image(asked("extimage=\"ubuntu:24.04\" tbaugmentation=\"full\"", "")),
        (Some("ubuntu:24.04".to_owned()), 0)
    );
    assert_eq!(image(asked(&format!("dockerfile=\"{dockerfile}\""), "")), (Some(dockerfile.to_owned()), 0));
    // Two images: the extension's, with a warning; what has no effect is said.
    let both = image(asked("extimage=\"ubuntu:24.04\" env=\"A=b\"", "<disk_image name=\"debian:12\"/>"));
    assert_eq!(both, (Some("ubuntu:24.04".to_owned()), 2));
}

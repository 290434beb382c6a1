//! Further ports of nodes: named by the request, by the sliver type, or exposed by the image where policy says so.

use std::io::Read as _;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::{Bed, IMAGE, attributes, request, request_with, run};

/// What answers on a TCP port with the port's number, and on a UDP port with what it got in front.
const TCP: &str = "perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 5, \
                   ReuseAddr => 1) or die; while (my $c = $s->accept) { print $c qq(tcp $ARGV[0]); close $c }'";
const UDP: &str = "perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => $ARGV[0], Proto => q(udp)) \
                   or die; my $d; while ($s->recv($d, 99)) { $s->send(qq($d udp $ARGV[0])) }'";

/// The ports of the host that the manifest gives for the node's: number in the node, protocol, port of the host.
fn forwards(manifest: &str) -> Vec<(u16, String, u16)> {
    let of = |name| attributes(manifest, "testyard:forward", name);
    let ports = of("number").into_iter().zip(of("protocol")).zip(of("port"));
    let mut all: Vec<_> = ports
        .map(|((number, protocol), port)| (number.parse().unwrap(), protocol, port.parse().unwrap()))
        .collect();
    all.sort();
    all
}

/// The numbers and protocols alone.
fn named(forwards: &[(u16, String, u16)]) -> Vec<String> {
    forwards.iter().map(|(number, protocol, _)| format!("{number}/{protocol}")).collect()
}

/// Asks until the node answers, which it does a moment after its program has been started.
fn answer(ask: impl Fn() -> Option<String>) -> Option<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match ask() {
            Some(said) if !said.is_empty() => return Some(said),
            _ if Instant::now() > deadline => return None,
            _ => std::thread::park_timeout(Duration::from_millis(50)),
        }
    }
}

/// Starts what answers on these ports of the node, and demands that the host's ports lead to them.
fn demand_answers(bed: &mut Bed, node: &str, forwards: &[(u16, String, u16)]) {
    for (number, protocol, port) in forwards {
        let program = if protocol == "tcp" { TCP } else { UDP };
        bed.ssh("demo", node, &format!("setsid {program} {number} > /dev/null 2>&1 < /dev/null &"));
        let said = answer(|| {
            let mut said = String::new();
            if protocol == "tcp" {
                let mut stream = TcpStream::connect(("127.0.0.1", *port)).ok()?;
                stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
                stream.read_to_string(&mut said).ok()?;
            } else {
                let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
                socket.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
                socket.send_to(b"asked:", ("127.0.0.1", *port)).ok()?;
                let mut buffer = [0; 99];
                let length = socket.recv(&mut buffer).ok()?;
                said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            }
            Some(said)
        });
        let expected =
            if protocol == "tcp" { format!("tcp {number}") } else { format!("asked: udp {number}") };
        assert_eq!(said.as_deref(), Some(&*expected), "port {port} leads to {node}'s {number}/{protocol}");
    }
}

#[test]
fn e2e_ports_of_the_request_are_forwarded_and_in_the_manifest() {
    let mut bed = Bed::new();
    let port = |number: u16, protocol: &str| {
        format!(
            "<port xmlns=\"http://testyard.dev/rspec/ext/testyard/1\" number=\"{number}\" protocol=\"{protocol}\"/>"
        )
    };
    let inside = port(8080, "tcp") + &port(5300, "udp");
    let file = bed.file("ports.rspec", &request_with(&[("one", &inside), ("two", "")]));
    bed.ok(&format!("am up {file} --slice demo"));
    let ports = forwards(&bed.manifest("demo"));
    assert_eq!(named(&ports), ["5300/udp", "8080/tcp"], "{}", bed.manifest("demo"));
    demand_answers(&mut bed, "one", &ports);
    // They are the node's for as long as it lives.
    bed.ok("am perform demo geni_reload --wait");
    assert_eq!(forwards(&bed.manifest("demo")), ports);
    demand_answers(&mut bed, "one", &ports);
}

#[test]
fn e2e_ports_of_the_sliver_type_are_forwarded_and_in_the_manifest() {
    let kind = "\n[[sliver_type]]\nname = \"server\"\nports = [\"8080/tcp\", \"5353/udp\"]\n\
                [[sliver_type]]\nname = \"docker-container\"\n";
    let mut bed = Bed::with(|config| config + kind);
    let two = request(&["a", "b"]).replacen("docker-container", "server", 1);
    let file = bed.file("two.rspec", &two);
    bed.ok(&format!("am up {file} --slice demo"));
    let manifest = bed.manifest("demo");
    let ports = forwards(&manifest);
    assert_eq!(named(&ports), ["5353/udp", "8080/tcp"], "of node a alone: {manifest}");
    demand_answers(&mut bed, "a", &ports);
}

/// An image that exposes ports; removed when the test is over.
struct Exposing(String);

impl Exposing {
    fn new(bed: &mut Bed) -> Self {
        let name = format!("testyard-test/exposes:{}", bed.testbed().instance());
        let container = run("docker", &["create", "--network", "none", IMAGE, "true"]);
        let change = ["--change", "EXPOSE 9090/tcp", "--change", "EXPOSE 9091/udp"];
        let commit = [&["commit"], &change[..], &[container.trim(), &name]].concat();
        run("docker", &commit);
        run("docker", &["rm", container.trim()]);
        Self(name)
    }
}

impl Drop for Exposing {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

#[test]
fn e2e_exposed_ports_are_forwarded_only_by_policy() {
    let kinds = "\n[[sliver_type]]\nname = \"docker-container\"\n\
                 [[sliver_type]]\nname = \"publishing\"\npublish_exposed = true\n";
    let mut bed = Bed::with(|config| config + kinds);
    let image = Exposing::new(&mut bed);
    for (slice, kind, expected) in
        [("closed", "docker-container", &[][..]), ("demo", "publishing", &["9090/tcp", "9091/udp"])]
    {
        let text = request(&["one"]).replace(
            "<sliver_type name=\"docker-container\"/>",
            &format!("<sliver_type name=\"{kind}\"><disk_image name=\"{}\"/></sliver_type>", image.0),
        );
        let file = bed.file(&format!("{slice}.rspec"), &text);
        bed.ok(&format!("am up {file} --slice {slice}"));
        let manifest = bed.manifest(slice);
        assert_eq!(named(&forwards(&manifest)), expected, "{kind}: {manifest}");
    }
    let ports = forwards(&bed.manifest("demo"));
    demand_answers(&mut bed, "one", &ports);
    // Before the image goes, what is made of it.
    bed.ok("am delete closed");
    bed.ok("am delete demo");
    bed.wait_until_gone(&[]);
}

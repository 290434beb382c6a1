//! Captures of links, on the real kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use support::capture::{Seen, read};
use support::{Netns, World, node};
use testyard_capture::SnapLength;
use testyard_fabric::capture::{
    CaptureEnd, CaptureError, CaptureEvent, CaptureRequest, CaptureStream, CapturedLinks, EndReason,
};
use testyard_fabric::links::{HostLink, KeptCapture, LinkEnd, NodePort, NodePorts, PortId, SliceLinks};
use testyard_fabric::{Links as _, LinuxFabric};
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_model::setting::Setting;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

fn slice() -> SliceId {
    SliceId::from_uuid(Uuid::from_u128(8))
}

fn sliver(number: u8) -> SliverId {
    SliverId::from_uuid(Uuid::from_u128(1 << 90 | u128::from(number)))
}

/// Between alice, 10.1.1.2, and bob, 10.1.1.3; both do this to what they send.
fn cable(settings: &[&str]) -> HostLink {
    let mut to_link = Impairment::default();
    for setting in settings {
        setting.parse::<Setting>().unwrap().apply(&mut to_link);
    }
    let end = |node| LinkEnd {
        port: PortId { node: sliver(node), device: "eth1".to_owned() },
        to_link,
        from_link: Impairment::default(),
    };
    HostLink {
        sliver: sliver(100),
        name: "cable".to_owned(),
        kind: LinkKind::PointToPoint,
        up: true,
        mtu: 1500,
        seed: 1,
        is_seed_chosen: false,
        ends: vec![end(1), end(2)],
        beyond: None,
        capture: None,
    }
}

async fn join(fabric: &LinuxFabric, revision: u64, link: HostLink) {
    let wanted = SliceLinks { slice: slice(), revision: Revision(revision), links: vec![link] };
    fabric.join(&wanted).await.unwrap();
}

async fn plug(fabric: &LinuxFabric, number: u8, netns: &Netns) {
    let port = NodePort {
        device: "eth1".to_owned(),
        mac: format!("02:00:00:00:00:{number:02x}").parse().unwrap(),
        mtu: 1500,
        addresses: vec![format!("10.1.1.{}/24", number + 1).parse().unwrap()],
    };
    let ports = NodePorts { node: sliver(number), ports: vec![port], routes: vec![], forwarding: false };
    fabric.plug(slice(), &ports, &netns.path()).await.unwrap();
}

async fn two(fabric: &LinuxFabric) -> [Netns; 2] {
    let nodes = [node(), node()];
    plug(fabric, 1, &nodes[0]).await;
    plug(fabric, 2, &nodes[1]).await;
    nodes
}

fn request(filter: &str) -> CaptureRequest {
    CaptureRequest {
        links: CapturedLinks::One(sliver(100)),
        filter: Some(filter.to_owned()),
        names: [(sliver(1), "alice".to_owned()), (sliver(2), "bob".to_owned())].into(),
        ..Default::default()
    }
}

/// What a capture has said so far.
struct Taken {
    stream: CaptureStream,
    bytes: Vec<u8>,
}

impl Taken {
    async fn of(fabric: &LinuxFabric, request: CaptureRequest) -> Self {
        Self { stream: fabric.capture(slice(), request).await.unwrap(), bytes: Vec::new() }
    }

    fn packets(&self) -> Vec<Seen> {
        read(&self.bytes).packets
    }

    async fn until(&mut self, what: &str, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let more = async {
            loop {
                let packets = self.packets();
                if enough(&packets) {
                    return packets;
                }
                match self.stream.next().await.unwrap() {
                    CaptureEvent::Blocks(blocks) => self.bytes.extend(blocks),
                    CaptureEvent::Ended(end) => panic!("{what}: {end:?}"),
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, more).await;
        waited.unwrap_or_else(|_| panic!("{what}: {:#?}", self.packets()))
    }

    async fn end(&mut self) -> CaptureEnd {
        loop {
            match self.stream.next().await.unwrap() {
                CaptureEvent::Blocks(blocks) => self.bytes.extend(blocks),
                CaptureEvent::Ended(end) => return end,
            }
        }
    }
}

/// The one echo request, or answer, of this number that passed an interface in this direction.
fn one(packets: &[Seen], at: &str, is_out: bool, echo: (bool, u16)) -> u64 {
    let times: Vec<u64> = packets
        .iter()
        .filter(|p| p.at == at && p.is_out == is_out && p.echo() == Some(echo))
        .map(|p| p.time)
        .collect();
    assert_eq!(times.len(), 1, "{at} {is_out} {echo:?}: {times:?}");
    times[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delay_of_a_link_is_between_out_and_in() {
    const ECHOES: u16 = 5;
    let world = World::new();
    let fabric = world.fabric("capture");
    join(&fabric, 1, cable(&["delay=20ms"])).await;
    let [a, b] = two(&fabric).await;
    let mut capture = Taken::of(&fabric, request("icmp")).await;
    a.command(&format!("ping -q -c {ECHOES} -i 0.1 10.1.1.3"));
    let packets = capture.until("echoes", |packets| packets.len() >= 4 * usize::from(ECHOES)).await;
    assert!(packets.is_sorted_by_key(|p| p.time), "in order of time: {packets:#?}");
    assert!(packets.iter().all(|p| p.echo().is_some()), "only what the filter lets through");
    let mut delays = Vec::new();
    for number in 1..=ECHOES {
        for (from, to, is_request) in [("alice:eth1", "bob:eth1", true), ("bob:eth1", "alice:eth1", false)] {
            let sent = one(&packets, from, true, (is_request, number));
            let got = one(&packets, to, false, (is_request, number));
            delays.push(Duration::from_nanos(got - sent));
        }
    }
    // A busy machine is late, and never early.
    let (shortest, longest) = (*delays.iter().min().unwrap(), *delays.iter().max().unwrap());
    eprintln!("a delay of 20 ms was captured as {shortest:?} to {longest:?}");
    assert!(shortest > Duration::from_micros(19_900) && shortest < Duration::from_millis(25), "{delays:?}");
    fabric.part(slice()).await.unwrap();
    let end = capture.end().await;
    assert_eq!((end.reason, end.received, end.dropped), (EndReason::Parted, 4 * u64::from(ECHOES), 0));
    let all = read(&capture.bytes);
    let names = ["alice:eth1", "bob:eth1"].map(|name| (name.to_owned(), "cable".to_owned()));
    assert_eq!(all.interfaces, names);
    let half = 2 * u64::from(ECHOES);
    assert_eq!(all.statistics, [(0, half, 0), (1, half, 0)]);
    drop(b);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("it.pcapng");
    std::fs::write(&file, &capture.bytes).unwrap();
    let lines = a.command(&format!("tcpdump -n -r {}", file.display()));
    assert_eq!(lines.matches("ICMP echo request").count(), 2 * usize::from(ECHOES), "{lines}");
    let fields = "frame.interface_name -e frame.interface_description -e frame.packet_flags_direction";
    let lines = a.command(&format!("tshark -n -r {} -c 4 -T fields -e {fields}", file.display()));
    let lines: Vec<_> = lines.lines().map(|line| line.replace('\t', " ")).collect();
    let shown = |node: &str, direction| format!("{node}:eth1 cable {direction}");
    let (inward, outward) = ("0x00000001", "0x00000002");
    let wanted =
        [shown("alice", outward), shown("bob", inward), shown("bob", outward), shown("alice", inward)];
    assert_eq!(lines, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_leaves_no_gap_at_its_peer_and_is_captured_anew() {
    const ECHOES: u16 = 60;
    for settings in [[].as_slice(), &["delay=1ms"]] {
        let world = World::new();
        let fabric = world.fabric("capture");
        join(&fabric, 1, cable(settings)).await;
        let [a, mut b] = two(&fabric).await;
        let mut capture = Taken::of(&fabric, request("icmp or arp")).await;
        assert!(a.pings("10.1.1.3"));
        // It goes on asking, whoever is there.
        a.command("ip neighbour replace 10.1.1.3 lladdr 02:00:00:00:00:02 dev eth1 nud permanent");
        let asking = {
            let a = a.clone();
            tokio::task::spawn_blocking(move || {
                let _ = a.try_command(&format!("ping -q -c {ECHOES} -i 0.02 10.1.1.3"), "");
            })
        };
        let is_asked = |p: &Seen| p.at == "alice:eth1" && p.is_out && p.echo().is_some_and(|(is, _)| is);
        let asked = move |packets: &[Seen]| packets.iter().filter(|p| is_asked(p)).count();
        for _ in 0..3 {
            let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
            drop(b);
            b = node();
            plug(&fabric, 2, &b).await;
            assert!(b.pings("10.1.1.2"), "{settings:?}");
            // What the new interface says first: it asks for its peer.
            let asks = |p: &Seen| p.at == "bob:eth1" && p.is_out && p.is_arp() && u128::from(p.time) > ended;
            capture.until("the node's own", |packets| packets.iter().any(asks)).await;
        }
        asking.await.unwrap();
        let all = usize::from(ECHOES) + 1;
        let packets = capture.until("all of the peer's", |packets| asked(packets) >= all).await;
        let mut numbers: Vec<u16> =
            packets.iter().filter(|p| is_asked(p)).map(|p| p.echo().unwrap().1).skip(1).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=ECHOES).collect::<Vec<_>>(), "{settings:?}");
        assert_eq!(read(&capture.bytes).interfaces.len(), 2, "the new interface is the old one's name");
        fabric.part(slice()).await.unwrap();
        assert_eq!(capture.end().await.dropped, 0);
    }
}

/// Sends packets of so many bytes, as fast as it can, until told to stop; how many.
fn flood(from: &Netns, bytes: usize, stop: &AtomicBool) -> u64 {
    from.run(|| {
        let socket = UdpSocket::bind("10.1.1.2:0").unwrap();
        socket.connect("10.1.1.3:9").unwrap();
        let (data, mut sent) = (vec![0; bytes], 0);
        while !stop.load(Ordering::Relaxed) {
            // Nobody listens, which is sometimes said.
            sent += u64::from(socket.send(&data).is_ok());
        }
        sent
    })
}

/// Floods for a while.
async fn flood_for(from: &Netns, bytes: usize, time: Duration) -> u64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(from, bytes, &stop));
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            std::thread::park_timeout(deadline - Instant::now());
        }
        stop.store(true, Ordering::Relaxed);
        flooding.join().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_loses_packets_and_disturbs_nobody() {
    let world = World::new();
    let fabric = world.fabric("capture");
    join(&fabric, 1, cable(&[])).await;
    let [a, _b] = two(&fabric).await;
    let mut capture = Taken::of(&fabric, request("udp")).await;
    // Far more than the queue and the kernel hold.
    let mut sent = 0;
    while sent < 60_000 {
        sent += flood_for(&a, 1400, Duration::from_millis(200)).await;
    }
    assert!(a.pings("10.1.1.3"));
    // Now it reads, and one packet more says what is missing.
    let first = capture.until("the first", |packets| packets.len() > 1000).await;
    assert!(first.iter().all(|p| p.data.len() == 1442 && p.length == 1442));
    let socket = a.run(|| UdpSocket::bind("10.1.1.2:0")).unwrap();
    capture
        .until("what is missing", |packets| {
            let _ = socket.send_to(b"x", "10.1.1.3:9");
            packets.iter().any(|p| p.missing > 0)
        })
        .await;
    fabric.part(slice()).await.unwrap();
    let end = capture.end().await;
    let all = read(&capture.bytes);
    assert!(end.dropped > 0, "{end:?} of {sent}");
    assert_eq!(end.received - end.dropped, all.packets.len() as u64, "what is not dropped is there");
}

#[tokio::test]
async fn a_capture_that_nobody_reads_any_more_lets_go() {
    let world = World::new();
    let fabric = world.fabric("capture");
    join(&fabric, 1, cable(&[])).await;
    let [a, _b] = two(&fabric).await;
    let sockets = || {
        let netns = world.run_folder().join("links/capture").join(slice().to_string()).join("netns");
        let all = a.command(&format!("nsenter --net={} cat /proc/net/packet", netns.display()));
        all.lines().count() - 1
    };
    let capture = fabric.capture(slice(), request("")).await.unwrap();
    assert_eq!(sockets(), 2);
    drop(capture);
    let deadline = Instant::now() + PATIENCE;
    while sockets() > 0 {
        assert!(Instant::now() < deadline);
    }
    fabric.part(slice()).await.unwrap();
}

#[tokio::test]
async fn a_tag_and_the_first_bytes_are_kept() {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};
    use std::os::fd::AsRawFd as _;
    let world = World::new();
    let fabric = world.fabric("capture");
    join(&fabric, 1, cable(&[])).await;
    let [a, _b] = two(&fabric).await;
    let whole = CaptureRequest { filter: None, ..request("") };
    let cut = CaptureRequest { snap_length: SnapLength::new(60), ..request("ether proto 0x88b5") };
    let (mut whole, mut cut) = (Taken::of(&fabric, whole).await, Taken::of(&fabric, cut).await);
    // A tag of VLAN 5, then one of those protocols that are for experiments.
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 5, 0x88, 0xb5];
    frame.extend([7; 82]);
    a.run(|| {
        let fd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None).unwrap();
        let mut all = nix::ifaddrs::getifaddrs().unwrap();
        let is_packet = |a: &nix::ifaddrs::InterfaceAddress| {
            a.interface_name == "eth1" && a.address.as_ref().is_some_and(|a| a.as_link_addr().is_some())
        };
        let address = all.find(is_packet).unwrap().address.unwrap();
        sendto(fd.as_raw_fd(), &frame, address.as_link_addr().unwrap(), MsgFlags::empty()).unwrap();
    });
    let is_ours = |p: &&Seen| p.data.ends_with(&[7; 8]);
    let packets = whole.until("a tag", |packets| packets.iter().filter(is_ours).count() == 2).await;
    for seen in packets.iter().filter(is_ours) {
        assert_eq!((seen.data.as_slice(), seen.length), (frame.as_slice(), 100));
    }
    let packets = cut.until("a part", |packets| packets.len() == 2).await;
    for seen in packets {
        assert_eq!((seen.data.as_slice(), seen.length), (&frame[..60], 100));
    }
    fabric.part(slice()).await.unwrap();
}

#[tokio::test]
async fn a_filter_that_is_none_is_explained() {
    let world = World::new();
    let fabric = world.fabric("capture");
    join(&fabric, 1, cable(&[])).await;
    let refused = fabric.capture(slice(), request("tcp prot 80")).await.unwrap_err();
    assert!(matches!(refused, CaptureError::Filter { .. }));
    let text = refused.to_string();
    assert!(text.contains("`tcp prot 80`") && text.contains("syntax error"), "{text}");
    fabric.part(slice()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_the_topology_asks_for_is_a_file_as_long_as_the_slice() {
    let world = World::new();
    let fabric = world.fabric("capture");
    let names = [(sliver(1), "alice".to_owned()), (sliver(2), "bob".to_owned())].into();
    let kept = KeptCapture { snap_length: SnapLength::MAX, filter: Some("icmp".to_owned()), names };
    let wanted = HostLink { capture: Some(kept), ..cable(&[]) };
    join(&fabric, 1, wanted.clone()).await;
    let [a, b] = two(&fabric).await;
    let folder = world.run_folder().join("captures").join(slice().to_string());
    let (file, before) = (folder.join("cable.pcapng"), folder.join("cable.1.pcapng"));
    let until = |file: &std::path::Path, count: usize| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A block that is being written is cut off.
            let read = a.try_command(&format!("tcpdump -n -r {}", file.display()), "").unwrap_or_default();
            if read.matches("ICMP").count() == count {
                return;
            }
            assert!(Instant::now() < deadline, "{read}");
        }
    };
    assert!(a.pings("10.1.1.3"));
    until(&file, 4);
    // An agent that comes back begins a new file and keeps the old one.
    drop(fabric);
    let fabric = world.fabric("capture");
    join(&fabric, 1, wanted).await;
    plug(&fabric, 1, &a).await;
    plug(&fabric, 2, &b).await;
    assert!(b.pings("10.1.1.2"));
    until(&file, 4);
    until(&before, 4);
    fabric.part(slice()).await.unwrap();
    assert!(!folder.exists());
}

/// Bytes a second of a stream over the link.
fn stream_for(from: &Netns, to: &Netns, time: Duration) -> f64 {
    let listener = to.run(|| TcpListener::bind("10.1.1.3:5001")).unwrap();
    std::thread::scope(|scope| {
        let counting = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut buffer, mut count, began) = (vec![0; 1 << 18], 0, Instant::now());
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                count += read;
            }
            count as f64 / began.elapsed().as_secs_f64()
        });
        let mut stream = from.run(|| TcpStream::connect("10.1.1.3:5001")).unwrap();
        let (data, began) = (vec![0; 1 << 18], Instant::now());
        while began.elapsed() < time {
            stream.write_all(&data).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        counting.join().unwrap()
    })
}

/// The figures are printed; what must hold is that everything is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_capture_costs() {
    const TIME: Duration = Duration::from_millis(700);
    for (settings, kept) in [([].as_slice(), 0), (&[], 96), (&["delay=1ms"], 96)] {
        let world = World::new();
        let fabric = world.fabric("capture");
        join(&fabric, 1, cable(settings)).await;
        let [a, b] = two(&fabric).await;
        // Nobody has to say that nobody listens.
        let _sink = b.run(|| UdpSocket::bind("10.1.1.3:9")).unwrap();
        let mut rates = [[0.0; 2]; 2];
        let mut seen = String::new();
        for captured in [false, true] {
            let reading = if captured {
                let request = CaptureRequest { snap_length: SnapLength::new(kept), ..request("ip") };
                let mut stream = fabric.capture(slice(), request).await.unwrap();
                Some(tokio::spawn(async move {
                    let mut bytes = 0;
                    loop {
                        match stream.next().await.unwrap() {
                            CaptureEvent::Blocks(blocks) => bytes += blocks.len(),
                            CaptureEvent::Ended(end) => return (bytes, end),
                        }
                    }
                }))
            } else {
                None
            };
            let sent = flood_for(&a, 18, TIME).await;
            rates[usize::from(captured)][0] = sent as f64 / TIME.as_secs_f64();
            rates[usize::from(captured)][1] = stream_for(&a, &b, TIME) * 8.0 / 1e9;
            if let Some(reading) = reading {
                fabric.part(slice()).await.unwrap();
                let (bytes, end) = reading.await.unwrap();
                assert!(end.received > end.dropped, "{end:?} of {sent}");
                seen =
                    format!("{} received, {} dropped, {} MB", end.received, end.dropped, bytes / 1_000_000);
            }
        }
        let [[packets, gigabits], [packets_captured, gigabits_captured]] = rates;
        eprintln!(
            "{settings:?}, {kept} bytes kept: {packets:.0} packets/s, captured {packets_captured:.0} ({:.2}); \
             {gigabits:.1} Gbit/s, captured {gigabits_captured:.1} ({:.2}); {seen}",
            packets_captured / packets,
            gigabits_captured / gigabits,
        );
    }
}

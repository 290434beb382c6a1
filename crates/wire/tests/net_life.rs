//! The life of a wire: TCP through all impairments, its end and its next beginning, interfaces that come and go.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{HALVES, Netns, Rig};
use testyard_wire::conformance::{Arrival, End, impairment, number};
use testyard_wire::{Alteration, Change, Client, Direction, Pipe, PortState};

/// Sends bytes by TCP from node 0 to node 1, which must be the same there.
fn transfer(rig: &Rig, address: &str, bytes: usize) {
    let to: SocketAddr = address.parse().unwrap();
    let listener = rig.nodes[1].run(|| TcpListener::bind(to).unwrap());
    let data: Vec<u8> = (0..bytes).map(|i| (i * 31 + i / 251) as u8).collect();
    let sent = data.clone();
    let got = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            got
        });
        let mut stream = rig.nodes[0].run(|| TcpStream::connect(to).unwrap());
        stream.write_all(&sent).unwrap();
        drop(stream);
        receiver.join().unwrap()
    });
    assert!(got == data, "{} of {} bytes, or other ones", got.len(), data.len());
}

#[test]
fn net_tcp_through_every_impairment() {
    let mut rig = Rig::new();
    let mut client = rig.start();
    for settings in [
        "",
        "delay=1ms",
        "rate=500Mbit",
        "loss=1%",
        "delay=1ms;loss=1%;duplicate=2%;reorder=2%;corrupt=1%",
        "rate=200Mbit;queue=100 red;delay=1ms;jitter=500us",
    ] {
        rig.apply(&mut client, settings);
        let begun = std::time::Instant::now();
        transfer(&rig, "10.9.0.2:5001", 2_000_000);
        transfer(&rig, "[2001:db8::2]:5001", 2_000_000);
        println!("{settings}: {:?}", begun.elapsed());
    }
    let observed = client.observe().unwrap();
    let forth = &observed.pipes[0].directions[0];
    // 24 MB in segments of at most 1448 bytes: frames of many segments are counted as those.
    assert!(forth.counts.delivered > 16_000, "{forth:?}");
    assert!(
        forth.counts.lost > 20 && forth.counts.duplicated > 20 && forth.counts.corrupted > 5,
        "{forth:?}"
    );
    let sum = forth.counts.delivered + forth.counts.lost + forth.counts.full + forth.counts.early;
    assert_eq!(forth.counts.offered + forth.counts.duplicated, sum + forth.cut + forth.waiting);
    assert_eq!((forth.unreadable, forth.memory), (0, 0));
}

/// Index, address, carrier of a node's interface and the fabric's half.
fn identity(rig: &Rig) -> Vec<String> {
    let read = |netns: &Netns, name: &str| {
        netns.run(|| {
            let output = Command::new("ip").args(["-o", "link", "show", "dev", name]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
    };
    [(&rig.nodes[0], "eth0"), (&rig.nodes[1], "eth0"), (&rig.fabric, "side0"), (&rig.fabric, "side1")]
        .map(|(netns, name)| read(netns, name))
        .to_vec()
}

#[test]
fn net_a_killed_wire_changes_no_interface_and_its_successor_goes_on() {
    let mut rig = Rig::new();
    let mut client = rig.start();
    rig.apply(&mut client, "delay=1ms;loss=0.1%");
    transfer(&rig, "10.9.0.2:5001", 100_000);
    let before = identity(&rig);
    assert!(before.iter().all(|line| line.contains("LOWER_UP")), "{before:?}");
    // A stream that is open all the while.
    let to: SocketAddr = "10.9.0.2:5002".parse().unwrap();
    let listener = rig.nodes[1].run(|| TcpListener::bind(to).unwrap());
    let mut out = rig.nodes[0].run(|| TcpStream::connect(to).unwrap());
    let (mut into, _) = listener.accept().unwrap();
    into.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    out.write_all(b"before").unwrap();
    into.read_exact(&mut [0; 6]).unwrap();
    rig.kill();
    assert_eq!(identity(&rig), before);
    assert!(client.observe().is_err(), "the client notices");
    out.write_all(b"without").unwrap();
    let mut client = rig.start();
    assert_eq!(client.observe().unwrap().revision, None, "it knows nothing yet");
    rig.apply(&mut client, "delay=1ms;loss=0.1%");
    into.read_exact(&mut [0; 7]).unwrap();
    assert_eq!(identity(&rig), before);
}

#[test]
fn net_interfaces_come_and_go() {
    let mut rig = Rig::new();
    rig.fabric.command("ip link del dev side1");
    let mut client = rig.start();
    rig.apply(&mut client, "");
    let ports = |client: &mut Client| client.observe().unwrap().pipes[0].ports.clone();
    assert!(matches!(ports(&mut client), [PortState::Open { .. }, PortState::Missing]));
    let until = |client: &mut Client, open: bool| {
        for _ in 0..1_000 {
            if matches!(ports(client)[1], PortState::Open { .. }) == open {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!("the wire does not notice");
    };
    for _ in 0..3 {
        rig.attach(1);
        until(&mut client, true);
        transfer(&rig, "10.9.0.2:5001", 10_000);
        rig.fabric.command("ip link del dev side1");
        until(&mut client, false);
    }
    // Down and up again is no change of the wire.
    rig.attach(1);
    until(&mut client, true);
    rig.fabric.command("ip link set dev side0 down");
    rig.fabric.command("ip link set dev side0 up");
    transfer(&rig, "10.9.0.2:5001", 10_000);
}

fn numbers(arrivals: &[Arrival]) -> Vec<u32> {
    let ours = arrivals.iter().filter(|a| a.bytes.len() > 26 && a.bytes[12..14] == [0x88, 0xb5]);
    ours.map(|a| number(&a.bytes)).collect()
}

fn send(from: &End, to: &End, count: u32) -> Vec<u32> {
    from.pace(count, 100, 0);
    numbers(&to.collect(150))
}

#[test]
fn net_a_seed_means_the_same_again() {
    let mut rig = Rig::new();
    let mut seen = Vec::new();
    // Nothing but the test's frames, so that the same packets come.
    for node in &rig.nodes {
        node.run(|| fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").unwrap());
    }
    let mut try_once = |seed| {
        let mut client = rig.start();
        let mut pipe = rig.pipe();
        pipe.seed = seed;
        pipe.directions[0].stages = vec![impairment("loss=20%;duplicate=10%")];
        rig.apply_pipes(&mut client, vec![pipe]);
        let [a, b] = rig.ends();
        let got = send(&a, &b, 500);
        let counts = client.observe().unwrap().pipes[0].directions[0].counts.clone();
        rig.kill();
        // A kernel under load may drop frames before or behind the wire: then these were not the same packets.
        (counts.offered == 500 && counts.delivered == got.len() as u64).then_some(got)
    };
    for seed in [1, 1, 2] {
        seen.push((0..10).find_map(|_| try_once(seed)).expect("once in ten times the kernel drops nothing"));
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
}

#[test]
fn net_changes_are_all_or_none() {
    let mut rig = Rig::new();
    let mut client = rig.start();
    rig.apply(&mut client, "");
    let [a, b] = rig.ends();
    let settings = |settings: &[&str]| Change {
        pipe: "link".parse().unwrap(),
        to: Alteration::Settings {
            direction: 0,
            stage: 0,
            settings: settings.iter().map(|text| text.parse().unwrap()).collect(),
        },
    };
    client.change(&[settings(&["loss=100%"])]).unwrap();
    assert_eq!(send(&a, &b, 10).len(), 0);
    assert_eq!(send(&b, &a, 10).len(), 10, "the other way is another matter");
    let missing = Change { pipe: "other".parse().unwrap(), to: Alteration::Up(false) };
    let refused = client.change(&[settings(&["loss=none"]), missing]).unwrap_err().to_string();
    assert_eq!(refused, "the wire refuses: there is no pipe other: apply a state that has it first");
    let refused = client.change(&[settings(&["loss=none", "rate=5bit"])]).unwrap_err().to_string();
    assert!(refused.contains("pipe link, direction 0: a rate of 5bit lets nothing through"), "{refused}");
    assert_eq!(send(&a, &b, 10).len(), 0, "a refused change changes nothing");
    client.change(&[settings(&["loss=none"])]).unwrap();
    assert_eq!(send(&a, &b, 10).len(), 10);
    let mut pipe = rig.pipe();
    pipe.directions[1] = Direction { stages: vec![impairment("loss=100%")] };
    rig.apply_pipes(&mut client, vec![pipe]);
    assert_eq!((send(&a, &b, 10).len(), send(&b, &a, 10).len()), (10, 0));
    rig.revision = 0;
    let old = testyard_wire::Desired { revision: 1, pipes: Vec::new() };
    assert!(client.apply(&old).unwrap_err().to_string().contains("older"));
}

#[test]
fn net_memory_is_limited() {
    let mut rig = Rig::new();
    rig.extra = vec!["--workers", "1", "--memory", "50000"];
    let mut client = rig.start();
    rig.apply(&mut client, "delay=200ms");
    let [a, b] = rig.ends();
    a.pace(1_000, 1_000, 0);
    let count = numbers(&b.collect(400)).len();
    assert!((40..=50).contains(&count), "{count}");
    let did = client.observe().unwrap().pipes[0].directions[0].clone();
    assert!(did.memory >= 950, "{did:?}");
}

#[test]
fn net_how_a_wire_ends() {
    let mut rig = Rig::new();
    let ended = |rig: &mut Rig| {
        let status = rig.wire.take().unwrap().wait().unwrap();
        assert!(status.success(), "{status}");
    };
    let client = rig.start();
    let second =
        Command::new(env!("CARGO_BIN_EXE_testyard-wire")).arg("--socket").arg(rig.socket()).output().unwrap();
    assert!(String::from_utf8(second.stderr).unwrap().contains("a wire answers"), "only one a socket");
    client.stop().unwrap();
    ended(&mut rig);
    assert!(!rig.socket().exists());
    let client = rig.start();
    assert_eq!(client.process(), rig.wire.as_ref().unwrap().id());
    drop(client);
    let mut client = Client::connect(&rig.socket()).unwrap();
    client.observe().unwrap();
    let capabilities = fs::read_to_string(format!("/proc/{}/status", client.process())).unwrap();
    assert!(capabilities.contains("CapPrm:\t0000000000003000\n"), "{capabilities}");
    let id = rig.wire.as_ref().unwrap().id();
    kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM).unwrap();
    ended(&mut rig);
    let _client = rig.start();
    fs::remove_dir_all(rig.folder.path()).unwrap();
    ended(&mut rig);
}

#[test]
fn net_the_fabric_itself_says_nothing() {
    let mut rig = Rig::new();
    for node in &rig.nodes {
        node.run(|| fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").unwrap());
    }
    let mut client = rig.start();
    rig.apply(&mut client, "");
    let [a, b] = rig.ends();
    // A question for whoever has an address, and an echo request to all.
    let mut ask = vec![0xff; 6];
    ask.extend([2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 9, 0, 77]);
    ask.extend([0, 0, 0, 0, 0, 0, 127, 0, 0, 1]);
    ask.resize(60, 0);
    a.send(&[ask.clone()]);
    assert_eq!(a.collect(300), [], "nobody answers");
    assert_eq!(b.collect(100).iter().map(|got| &got.bytes).collect::<Vec<_>>(), [&ask]);
    rig.fabric.run(|| {
        for half in HALVES {
            let file = format!("/proc/sys/net/ipv6/conf/{half}/disable_ipv6");
            assert_eq!(fs::read_to_string(file).unwrap().trim(), "1");
        }
    });
}

#[test]
fn net_a_chain_of_many_pipes() {
    const PIPES: usize = 40;
    let mut rig = Rig::new();
    let mut lines = String::new();
    for index in 1..PIPES {
        lines += &format!("link add name in{index} type veth peer name out{index}\n");
        lines += &format!("link set dev in{index} up\nlink set dev out{index} up\n");
    }
    rig.fabric.try_command("ip -batch -", &lines).unwrap();
    let mut client = rig.start();
    let pipes = (0..PIPES).map(|index| {
        let from = if index == 0 { HALVES[0].to_owned() } else { format!("out{index}") };
        let to = if index == PIPES - 1 { HALVES[1].to_owned() } else { format!("in{}", index + 1) };
        let mut pipe =
            Pipe::new(format!("pipe {index}").parse().unwrap(), [from, to].map(|n| n.parse().unwrap()));
        pipe.directions[0].stages = vec![impairment("delay=1ms")];
        pipe
    });
    let pipes: Vec<Pipe> = pipes.collect();
    rig.apply_pipes(&mut client, pipes.clone());
    let [a, b] = rig.ends();
    let begun = std::time::Instant::now();
    assert_eq!(send(&a, &b, 20), (0..20).collect::<Vec<_>>());
    assert!(begun.elapsed() >= Duration::from_millis(PIPES as u64));
    assert_eq!(send(&b, &a, 20), (0..20).collect::<Vec<_>>());
    let observed = client.observe().unwrap();
    assert_eq!(observed.pipes.len(), PIPES);
    assert!(observed.pipes.iter().all(|pipe| pipe.directions[0].counts.delivered >= 20));
    // One link of the chain is taken out and put back.
    rig.apply_pipes(&mut client, pipes[1..].to_vec());
    assert_eq!(send(&a, &b, 20).len(), 0);
    rig.apply_pipes(&mut client, pipes);
    assert_eq!(send(&a, &b, 20).len(), 20);
}

/// The kernel takes a killed process apart file by file, 13 ms for each of these sockets: nobody waits for that.
#[test]
fn net_a_killed_wire_of_many_pipes_is_replaced_at_once() {
    const PIPES: usize = 150;
    let mut rig = Rig::new();
    let mut lines = String::new();
    for index in 0..PIPES {
        lines += &format!("link add name in{index} type veth peer name out{index}\n");
        lines += &format!("link set dev in{index} up\nlink set dev out{index} up\n");
    }
    rig.fabric.try_command("ip -batch -", &lines).unwrap();
    let mut client = rig.start();
    let pipe = |index: usize| {
        let ports = [format!("in{index}"), format!("out{index}")].map(|name| name.parse().unwrap());
        Pipe::new(format!("pipe {index}").parse().unwrap(), ports)
    };
    rig.apply_pipes(&mut client, (0..PIPES).map(pipe).collect());
    let killed = std::time::Instant::now();
    rig.kill_and_go_on();
    while client.observe().is_ok() {}
    let noticed = killed.elapsed();
    let mut client = rig.start();
    rig.apply(&mut client, "delay=1ms");
    let replaced = killed.elapsed();
    println!("noticed after {noticed:?}, replaced after {replaced:?}");
    // All of its sockets take about 4 s.
    assert!(
        noticed < Duration::from_secs(1) && replaced < Duration::from_secs(2),
        "{noticed:?}, {replaced:?}"
    );
}

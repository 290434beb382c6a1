//! What a wire costs beside a plain veth and a bridge, in one run: throughput, latency, changes, idling, memory. As root.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run may panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Netns, Rig};
use testyard_wire::conformance::End;
use testyard_wire::{Alteration, Change, Client, Desired, Pipe};

const ROUNDS: usize = 3;
const SECONDS: u64 = 2;

/// Gbit/s of one TCP stream between nodes.
fn throughput(nodes: &[Netns; 2], host: &str) -> f64 {
    let listener = nodes[1].run(|| TcpListener::bind((host, 0)).unwrap());
    let to = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut buffer, mut bytes, mut begun) = (vec![0; 1 << 17], 0, Instant::now());
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(_) if bytes == 0 => (bytes, begun) = (1, Instant::now()),
                    Ok(count) => bytes += count,
                }
            }
            bytes as f64 * 8e-9 / begun.elapsed().as_secs_f64()
        });
        let mut stream = nodes[0].run(|| TcpStream::connect(to).unwrap());
        let (data, until) = (vec![7; 1 << 17], Instant::now() + Duration::from_secs(SECONDS));
        while Instant::now() < until {
            stream.write_all(&data).unwrap();
        }
        drop(stream);
        receiver.join().unwrap()
    })
}

/// Round trips of a small UDP datagram in µs: the median, at a pace and one after the other.
fn latency(nodes: &[Netns; 2], host: &str) -> (f64, f64) {
    let echo = nodes[1].run(|| UdpSocket::bind((host, 0)).unwrap());
    let to = echo.local_addr().unwrap();
    let socket = nodes[0].run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 64];
            while let Ok((count, from)) = echo.recv_from(&mut buffer)
                && count > 1
            {
                echo.send_to(&buffer[..count], from).unwrap();
            }
        });
        let trip = |pace: Duration, count: usize| {
            let mut times: Vec<f64> = (0..count)
                .map(|_| {
                    std::thread::park_timeout(pace);
                    let begun = Instant::now();
                    socket.send(&[0; 32]).unwrap();
                    let _ = socket.recv(&mut [0; 64]);
                    begun.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let result = (trip(Duration::from_millis(3), 300), trip(Duration::ZERO, 3_000));
        socket.send(&[0]).unwrap();
        result
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds of processor time of a process.
fn processor_time(process: u32) -> u64 {
    fs::read_dir(format!("/proc/{process}/task"))
        .unwrap()
        .map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0)
        })
        .sum()
}

fn resident_kib(process: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap_or_default()
        .replace("VmRSS:", "")
        .trim()
        .to_owned()
}

/// Another pair of interfaces between the nodes, without a wire: a veth, or two with a bridge between.
fn plain(rig: &Rig) {
    let [a, b] = rig.nodes.each_ref().map(|node| node.path().display().to_string());
    let ip = |netns: &Netns, line: &str| {
        netns.run(|| assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "{line}"));
    };
    ip(&rig.nodes[0], &format!("link add name veth1 type veth peer name veth1 netns {b}"));
    rig.fabric.commands(&["ip link add name br0 type bridge", "ip link set dev br0 up"]);
    for (index, (node, path)) in rig.nodes.iter().zip([&a, &b]).enumerate() {
        let host = index + 1;
        ip(&rig.fabric, &format!("link add name port{index} type veth peer name br1 netns {path}"));
        rig.fabric.command(&format!("ip link set dev port{index} master br0 up"));
        node.commands(&[&format!("ip addr add 10.9.1.{host}/24 dev veth1"), "ip link set dev veth1 up"]);
        node.commands(&[&format!("ip addr add 10.9.2.{host}/24 dev br1"), "ip link set dev br1 up"]);
    }
}

fn traffic(rig: &mut Rig, client: &mut Client) {
    let cases: [(&str, &str, Option<&str>); 7] = [
        ("plain veth", "10.9.1.2", None),
        ("veth, bridge, veth", "10.9.2.2", None),
        ("wire, clear", "10.9.0.2", Some("")),
        ("wire, delay 1 ms", "10.9.0.2", Some("delay=1ms")),
        ("wire, rate 20 Gbit/s", "10.9.0.2", Some("rate=20Gbit")),
        ("wire, rate 1 Gbit/s", "10.9.0.2", Some("rate=1Gbit")),
        ("wire, loss 0.001 %", "10.9.0.2", Some("loss=0.001%")),
    ];
    let mut rates: [Vec<f64>; 7] = Default::default();
    let mut trips: [Vec<(f64, f64)>; 7] = Default::default();
    let mut busy = [0.0; 7];
    let mut one_way: [Vec<f64>; 7] = Default::default();
    let ends =
        ["veth1", "br1", "eth0"].map(|name| rig.nodes.each_ref().map(|node| node.run(|| End::open(name))));
    for _ in 0..ROUNDS {
        for (index, (_, host, settings)) in cases.iter().enumerate() {
            if let Some(settings) = settings {
                rig.apply(client, settings);
            }
            let (before, begun) = (processor_time(client.process()), Instant::now());
            rates[index].push(throughput(&rig.nodes, host));
            let used = (processor_time(client.process()) - before) as f64;
            busy[index] += used / begun.elapsed().as_nanos() as f64 / ROUNDS as f64;
            trips[index].push(latency(&rig.nodes, host));
            let [from, to] = &ends[index.min(2)];
            one_way[index].push(testyard_wire::conformance::latency(from, to, 300, 1_000_000) as f64 / 1e3);
        }
    }
    let mut table = String::new();
    let plain = median(rates[0].clone());
    let paced = |index: usize| median(trips[index].iter().map(|trip| trip.0).collect());
    let close = |index: usize| median(trips[index].iter().map(|trip| trip.1).collect());
    for (index, (name, ..)) in cases.iter().enumerate() {
        let rate = median(rates[index].clone());
        let _ = writeln!(
            table,
            "| {name} | {rate:.2} | {:.2} | {:.0} % | {:.1} | {:.1} | {:+.1} | {:.1} | {:+.1} |",
            rate / plain,
            busy[index] * 100.0,
            median(one_way[index].clone()),
            paced(index),
            (paced(index) - paced(0)) / 2.0,
            close(index),
            (close(index) - close(0)) / 2.0,
        );
    }
    println!(
        "| path | Gbit/s | of veth | wire's processor | frame one way, µs | RTT, every 3 ms, µs | added one way | RTT, at once, µs | added one way |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n{table}");
}

fn changes(rig: &mut Rig, client: &mut Client) {
    rig.apply(client, "delay=1ms");
    let begun = Instant::now();
    for number in 0..2_000_u32 {
        let settings = vec![format!("delay={}us", 1_000 + number).parse().unwrap()];
        let to = Alteration::Settings { direction: 0, stage: 0, settings };
        client.change(&[Change { pipe: "link".parse().unwrap(), to }]).unwrap();
    }
    println!(
        "changes, each answered when in effect: {:.0} per second\n",
        2_000.0 / begun.elapsed().as_secs_f64()
    );
}

fn idle(rig: &mut Rig, client: &mut Client, pipes: usize) {
    // Nobody speaks: what is measured is silence.
    rig.fabric.run(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap());
    let mut lines = String::new();
    for index in 0..pipes {
        let _ = writeln!(lines, "link add name p{index} type veth peer name q{index}");
        let _ = writeln!(lines, "link set dev p{index} up\nlink set dev q{index} up");
    }
    rig.fabric.try_command("ip -batch -", &lines).expect("interfaces");
    let all = (0..pipes).step_by(2).map(|index| {
        let name = |prefix: &str, index: usize| format!("{prefix}{index}").parse().unwrap();
        let ports = [name("p", index), name("p", index + 1)];
        let mut pipe = Pipe::new(format!("pipe {index}").parse().unwrap(), ports);
        pipe.directions[0].stages = vec![testyard_wire::conformance::impairment("delay=5ms;loss=1%")];
        pipe
    });
    rig.revision += 1;
    let desired = Desired { revision: rig.revision, pipes: all.collect() };
    let begun = Instant::now();
    client.apply(&desired).unwrap();
    let took = begun.elapsed();
    std::thread::park_timeout(Duration::from_secs(2));
    let (before, begun) = (processor_time(client.process()), Instant::now());
    std::thread::park_timeout(Duration::from_secs(5));
    let used = (processor_time(client.process()) - before) as f64 / begun.elapsed().as_nanos() as f64;
    println!(
        "{} pipes: up in {took:.1?}, idle {:.3} % of a processor, {} resident",
        desired.pipes.len(),
        used * 100.0,
        resident_kib(client.process())
    );
    rig.apply_pipes(client, Vec::new());
    let gone: String = (0..pipes).map(|index| format!("link del dev p{index}\n")).collect();
    rig.fabric.try_command("ip -batch -", &gone).expect("interfaces");
}

fn main() {
    for extra in [&[][..], &["--no-real-time"]] {
        let mut rig = Rig::new();
        rig.extra = extra.to_vec();
        plain(&rig);
        let mut client = rig.start();
        println!("\n## wire {}\n", extra.join(" "));
        traffic(&mut rig, &mut client);
        changes(&mut rig, &mut client);
        if extra.is_empty() {
            idle(&mut rig, &mut client, 400);
            idle(&mut rig, &mut client, 2_000);
        }
    }
}

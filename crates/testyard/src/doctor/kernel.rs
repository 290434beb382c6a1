//! The kernel: what can only be known by trying is tried in a network namespace of its own, which ends with the thread
//! that made it.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

use super::Finding;

pub(super) fn examine() -> Vec<Finding> {
    let mut findings = vec![cgroups(), tunnel()];
    findings
        .extend(forwarding(&std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default()));
    findings.extend(programs());
    match std::thread::spawn(tried).join() {
        Ok(tried) => findings.extend(tried),
        Err(_) => findings.push(Finding::limited("kernel", "could not be tried", "run as root")),
    }
    findings
}

fn cgroups() -> Finding {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        Finding::good("cgroups", "version 2")
    } else if Path::new("/sys/fs/cgroup/memory").exists() {
        Finding::good("cgroups", "version 1")
    } else {
        Finding::limited(
            "cgroups",
            "no memory controller is mounted",
            "limits of sliver types cannot hold; mount cgroups",
        )
    }
}

fn tunnel() -> Finding {
    if Path::new("/dev/net/tun").exists() {
        Finding::good("/dev/net/tun", "there")
    } else {
        Finding::limited(
            "/dev/net/tun",
            "not there",
            "modprobe tun; sliver types with tunnels cannot start without it",
        )
    }
}

fn forwarding(setting: &str) -> Option<Finding> {
    match setting.trim() {
        "1" => Some(Finding::good("forwarding", "on")),
        "0" => Some(Finding::good("forwarding", "off; serve switches it on")),
        _ => Some(Finding::lacking(
            "forwarding",
            "/proc/sys/net/ipv4/ip_forward is not there",
            "use a kernel with IPv4",
        )),
    }
}

/// Programs that Testyard runs.
fn programs() -> Vec<Finding> {
    let find = |program: &str, remedy: &str| match which(program) {
        Some(path) => Finding::good("program", path),
        None => Finding::lacking("program", format!("{program} is not there"), remedy),
    };
    vec![
        find("iptables", "apt-get install iptables; Docker needs it too"),
        find("nft", "apt-get install nftables"),
    ]
}

/// Where a program is.
fn which(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .map(|found| found.display().to_string())
}

fn tried() -> Vec<Finding> {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        return vec![Finding::lacking(
            "network namespaces",
            format!("cannot be made: {error}"),
            "run as root, outside a container",
        )];
    }
    let mut findings = vec![Finding::good("network namespaces", "can be made")];
    let Some(ip) = which("ip") else {
        findings.push(Finding::limited(
            "kernel",
            "cannot be tried without ip(8)",
            "apt-get install iproute2",
        ));
        return findings;
    };
    findings.push(if succeeds(&ip, &["link", "add", "ty0", "type", "veth", "peer", "name", "ty1"]) {
        Finding::good("veth", "works")
    } else {
        Finding::lacking(
            "veth",
            "the kernel refuses veth pairs",
            "modprobe veth, or use a kernel with CONFIG_VETH",
        )
    });
    if let Some(nft) = which("nft") {
        findings.push(if succeeds(&nft, &["add", "table", "inet", "testyard-doctor"]) {
            Finding::good("nf_tables", "works")
        } else {
            Finding::lacking(
                "nf_tables",
                "the kernel refuses nftables",
                "modprobe nf_tables, or CONFIG_NF_TABLES",
            )
        });
    }
    if let Some(tc) = which("tc") {
        findings.push(if succeeds(&tc, &["qdisc", "add", "dev", "ty0", "root", "netem", "delay", "1ms"]) {
            Finding::good("netem", "works")
        } else {
            Finding::limited(
                "netem",
                "the kernel has no netem",
                "modprobe sch_netem; control interfaces do without it",
            )
        });
    }
    findings
}

/// Runs a program in this thread's namespace; nobody sees what it says.
fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

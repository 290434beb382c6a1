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
        tcpdump(which("tcpdump")),
    ]
}

fn tcpdump(path: Option<String>) -> Finding {
    match path {
        Some(path) => Finding::good("program", path),
        None => Finding::limited(
            "program",
            "tcpdump is not there: links can be captured, but not with a filter",
            "apt-get install tcpdump",
        ),
    }
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
    findings.push(joining(testyard_fabric::try_joining()));
    if let Some(tc) = which("tc") {
        let netem = ["qdisc", "add", "dev", "ty0", "root", "netem", "delay", "1ms"];
        findings.push(self::netem(succeeds(&tc, &netem)));
    }
    findings
}

/// Every cable without impairments is two redirects.
fn joining(tried: Result<(), String>) -> Finding {
    match tried {
        Ok(()) => Finding::good("ingress, BPF", "work: cables are joined in the kernel"),
        Err(why) => Finding::lacking(
            "ingress, BPF",
            format!("the kernel cannot join two links: {why}"),
            "modprobe sch_ingress cls_bpf, or use a kernel with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF and \
             CONFIG_NET_SCH_INGRESS: slices with links need it, others do not",
        ),
    }
}

fn netem(works: bool) -> Finding {
    if works {
        Finding::good("netem", "works")
    } else {
        Finding::limited(
            "netem",
            "the kernel has no netem",
            "nothing to do: a wire, a process of Testyard's, impairs links instead; modprobe sch_netem sch_tbf for netem",
        )
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn what_links_need_is_told_with_its_remedy() {
        assert_eq!(joining(Ok(())).verdict, Verdict::Good);
        let refused = joining(Err("making link 1 ready: Operation not supported".to_owned()));
        assert_eq!(refused.verdict, Verdict::Lacking);
        assert!(refused.found.contains("Operation not supported"), "{refused:?}");
        assert!(refused.remedy.unwrap().contains("CONFIG_NET_CLS_BPF"));
        let without = netem(false);
        assert_eq!(without.verdict, Verdict::Limited);
        assert!(without.remedy.unwrap().contains("a wire"), "what takes over is named");
        let without = tcpdump(None);
        assert!(without.verdict == Verdict::Limited && without.found.contains("filter"), "{without:?}");
    }

    #[test]
    fn what_is_tried_is_told() {
        let tried = std::thread::spawn(tried).join().unwrap();
        let subjects: Vec<&str> = tried.iter().map(|finding| finding.subject).collect();
        // Who may make no namespace can try nothing, and is told so.
        let expected = if tried[0].verdict == Verdict::Good { "ingress, BPF" } else { "network namespaces" };
        assert!(subjects.contains(&expected), "{subjects:?}");
    }
}

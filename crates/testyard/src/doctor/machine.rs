//! The machine: who we are, what we may do, room, clock, limits.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::{Finding, state_folder};
use crate::config::Settings;

pub(super) fn examine(settings: Option<&Settings>) -> Vec<Finding> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut findings = vec![root(nix::unistd::geteuid().is_root()), capabilities(&status), guest()];
    findings.extend(disk(state_folder(settings)));
    findings.push(memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()));
    findings.push(processes(&fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default()));
    findings.push(clock());
    findings.push(tcl(&std::env::var_os("PATH").unwrap_or_default()));
    findings
}

fn root(is_root: bool) -> Finding {
    if is_root {
        Finding::good("root", "running as root")
    } else {
        Finding::lacking(
            "root",
            "not running as root",
            "sudo testyard doctor; containers and network rules need root",
        )
    }
}

/// The capabilities that no process of this machine can get.
fn capabilities(status: &str) -> Finding {
    const NEEDED: &[(u32, &str)] =
        &[(12, "NET_ADMIN"), (21, "SYS_ADMIN"), (6, "SETGID"), (7, "SETUID"), (18, "SYS_CHROOT")];
    const SYS_RESOURCE: u32 = 24;
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    let has = |bit: u32| bounding >> bit & 1 == 1;
    let missing: Vec<&str> = NEEDED.iter().filter(|(bit, _)| !has(*bit)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        let found = format!("this machine withholds {}", missing.join(", "));
        return Finding::lacking(
            "capabilities",
            found,
            "run Testyard where root may do this: a machine or VM of its own",
        );
    }
    if has(SYS_RESOURCE) {
        Finding::good("capabilities", "all that Testyard needs")
    } else {
        Finding::limited(
            "capabilities",
            "this machine withholds SYS_RESOURCE",
            "Testyard does not need it; containers started with --privileged by others fail here",
        )
    }
}

fn guest() -> Finding {
    match crate::guest::find() {
        Ok(path) => Finding::good("guest program", path.display().to_string()),
        Err(error) => Finding::lacking(
            "guest program",
            error.to_string(),
            "scripts/build-guest, or install the package",
        ),
    }
}

fn disk(state: &Path) -> Vec<Finding> {
    const GIB: u64 = 1 << 30;
    let places = [("state folder", state), ("Docker's folder", Path::new("/var/lib/docker"))];
    places
        .into_iter()
        .filter_map(|(subject, path)| {
            let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
            let free = statvfs(existing).map(|stat| stat.blocks_available() * stat.fragment_size()).ok()?;
            let found = format!("{}: {} free", path.display(), size(free));
            Some(if free < GIB / 2 {
                Finding::lacking(subject, found, "make room: nothing can be kept or started on a full disk")
            } else if free < 5 * GIB {
                Finding::limited(subject, found, "make room for images and nodes' disks")
            } else {
                Finding::good(subject, found)
            })
        })
        .collect()
}

fn memory(meminfo: &str) -> Finding {
    let field = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    let (total, available) = (field("MemTotal:").unwrap_or(0), field("MemAvailable:").unwrap_or(0));
    let found = format!("{} available of {}", size(available), size(total));
    if available < 256 << 20 {
        Finding::limited("memory", found, "end something, or give nodes memory limits by their sliver type")
    } else {
        Finding::good("memory", found)
    }
}

fn processes(pid_max: &str) -> Finding {
    let most: u64 = pid_max.trim().parse().unwrap_or(0);
    let found = format!("at most {most} on this machine");
    if most < 65_536 {
        Finding::limited("processes", found, "sysctl kernel.pid_max=4194304 for many nodes")
    } else {
        Finding::good("processes", found)
    }
}

/// Certificates and credentials are judged by this machine's clock.
fn clock() -> Finding {
    const SIGNS: &[&str] = &[
        "/run/systemd/timesync/synchronized",
        "/run/chrony/chronyd.pid",
        "/run/chronyd.pid",
        "/run/ntpd.pid",
        "/run/openntpd.pid",
    ];
    if SIGNS.iter().any(|sign| Path::new(sign).exists()) {
        Finding::good("clock", "kept right by a time service")
    } else {
        Finding::limited(
            "clock",
            "no time service is seen at work here",
            "apt-get install chrony, unless this machine's clock is kept right from outside: credentials are judged by it",
        )
    }
}

/// NS files are programs, and this runs them.
fn tcl(path: &OsStr) -> Finding {
    const SUBJECT: &str = "Tcl";
    match std::env::split_paths(path).map(|folder| folder.join("tclsh8.6")).find(|program| program.is_file())
    {
        Some(program) => Finding::good(SUBJECT, program.display().to_string()),
        None => Finding::limited(
            SUBJECT,
            "there is no tclsh8.6, which NS files need; nothing else does",
            "apt-get install tcl8.6",
        ),
    }
}

/// A size for people.
fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 10 << 30 => format!("{} GiB", b >> 30),
        b => format!("{} MiB", b >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn withheld_capabilities() {
        assert_eq!(capabilities("CapBnd:\t000001ffffffffff\n").verdict, Verdict::Good);
        assert_eq!(capabilities("CapBnd:\t000001fffeffffff\n").verdict, Verdict::Limited);
        let none = capabilities("CapBnd:\t0000000000000000\n");
        assert_eq!(none.verdict, Verdict::Lacking);
        assert!(none.found.contains("NET_ADMIN"));
    }

    #[test]
    fn tcl_is_wanted_not_needed() {
        let folder = tempfile::tempdir().unwrap();
        let missing = tcl(folder.path().as_os_str());
        assert_eq!(missing.verdict, Verdict::Limited);
        assert!(missing.remedy.unwrap().contains("tcl8.6"));
        std::fs::write(folder.path().join("tclsh8.6"), "").unwrap();
        assert_eq!(tcl(folder.path().as_os_str()).verdict, Verdict::Good);
    }

    #[test]
    fn little_memory() {
        assert_eq!(memory("MemTotal: 1000000 kB\nMemAvailable: 1000 kB\n").verdict, Verdict::Limited);
        assert_eq!(memory("MemTotal: 1000000 kB\nMemAvailable: 900000 kB\n").verdict, Verdict::Good);
    }
}

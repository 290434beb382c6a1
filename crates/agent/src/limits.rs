//! What this machine's kernel has left. What cannot be seen, by whoever asks, is not there to be checked.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use testyard_model::host::HostLimits;
use testyard_model::quantity::Size;

/// There where control groups are of version 2 alone.
const CGROUPS_2: &str = "/sys/fs/cgroup/cgroup.controllers";
/// Where the engine keeps nodes' disks.
const DISKS: &str = "/var/lib/docker";

/// Looks at this machine.
#[must_use]
pub fn observe() -> HostLimits {
    let processes = number("/proc/sys/kernel/pid_max").min(number("/proc/sys/kernel/threads-max"));
    let takes_inotify = Path::new(CGROUPS_2).exists();
    let (inotify, namespaces) = in_use(takes_inotify);
    HostLimits {
        only_netem: false,
        inotify_instances: less(number("/proc/sys/fs/inotify/max_user_instances"), Some(inotify))
            .filter(|_| takes_inotify),
        processes: less(processes, running()),
        ipv4_neighbours: less(
            number("/proc/sys/net/ipv4/neigh/default/gc_thresh3"),
            entries("/proc/net/stat/arp_cache"),
        ),
        ipv6_neighbours: less(
            number("/proc/sys/net/ipv6/neigh/default/gc_thresh3"),
            entries("/proc/net/stat/ndisc_cache"),
        ),
        network_namespaces: less(number("/proc/sys/user/max_net_namespaces"), Some(namespaces)),
        disk: disk(),
    }
}

fn less(most: Option<u64>, used: Option<u64>) -> Option<u64> {
    Some(most?.saturating_sub(used.unwrap_or(0)))
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Processes and threads that there are: the number behind the slash of `0.00 0.01 0.05 1/234 5678`.
fn running() -> Option<u64> {
    threads(&fs::read_to_string("/proc/loadavg").ok()?)
}

fn threads(loadavg: &str) -> Option<u64> {
    loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// Entries of a neighbour table: the first number of its statistics, in hexadecimal, the same in each line.
fn entries(path: &str) -> Option<u64> {
    table_entries(&fs::read_to_string(path).ok()?)
}

fn table_entries(statistics: &str) -> Option<u64> {
    u64::from_str_radix(statistics.lines().nth(1)?.split_whitespace().next()?, 16).ok()
}

/// Root's inotify instances, if they matter, and network namespaces, of the processes that may be looked at. The engine is
/// root's.
fn in_use(takes_inotify: bool) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let mut instances = 0;
    let mut namespaces = HashSet::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in
        processes.filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
    {
        let folder = process.path();
        namespaces.extend(fs::read_link(folder.join("ns/net")));
        if takes_inotify && process.metadata().is_ok_and(|metadata| metadata.uid() == 0) {
            let open = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
            let is_inotify = |file: PathBuf| {
                fs::read_link(file).is_ok_and(|target| target.as_os_str() == "anon_inode:inotify")
            };
            instances += open.filter(|entry| is_inotify(entry.path())).count() as u64;
        }
    }
    (instances, namespaces.len() as u64)
}

fn disk() -> Option<Size> {
    let existing = Path::new(DISKS).ancestors().find(|folder| folder.exists())?;
    let stat = statvfs(existing).ok()?;
    Some(Size::from_bytes(stat.blocks_available().saturating_mul(stat.fragment_size())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts() {
        assert_eq!(threads("0.52 0.58 0.59 3/1234 56789\n"), Some(1234));
        assert_eq!(threads(""), None);
        let statistics =
            "entries  allocs   destroys\n0000001f 00000010 00000020\n0000001f 00000000 00000000\n";
        assert_eq!(table_entries(statistics), Some(31));
        assert_eq!(table_entries("entries\n"), None);
    }

    #[test]
    fn this_machine_has_something_left() {
        let limits = observe();
        assert!(limits.processes.is_some_and(|free| free > 0), "{limits:?}");
        assert!(limits.disk.is_some(), "{limits:?}");
    }
}

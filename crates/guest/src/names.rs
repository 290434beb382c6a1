//! The node's name and those that it can resolve: host name, /etc/hosts, /etc/resolv.conf.

use std::fmt::Write as _;
use std::path::Path;

use testyard_guest_protocol::{HostsLine, Resolver};

use crate::files::{self, FileError};
use crate::state;

/// Sets the names; says which files could not be written because they are read-only.
pub(crate) fn apply(
    root: &Path,
    hostname: &str,
    hosts: &[HostsLine],
    resolver: &Resolver,
) -> Result<Option<String>, FileError> {
    let mut files = Vec::new();
    if !hostname.is_empty() {
        // The engine has set it; a node without the right to do so keeps that name.
        let _ = nix::unistd::sethostname(hostname);
        files.push(("etc/hostname", format!("{hostname}\n")));
    }
    files.push(("etc/hosts", hosts_file(hostname, hosts)));
    if !resolver.servers.is_empty() {
        files.push(("etc/resolv.conf", resolver_file(resolver)));
    }
    let mut result = Ok(());
    let mut kept = Vec::new();
    for (name, contents) in files {
        let path = root.join(name);
        if let Err(error) = files::rewrite(&path, contents.as_bytes()) {
            // Engines mount these three, and some do so read-only where the root is.
            if state::is_read_only(&path) {
                kept.push(format!("/{name}"));
            } else {
                result = result.and(Err(error));
            }
        }
    }
    result.map(|()| {
        (!kept.is_empty()).then(|| {
            format!(
                "{} cannot be written: names of other nodes are not known, addresses are",
                kept.join(", ")
            )
        })
    })
}

/// The text of /etc/hosts. The node's own name always resolves: `sudo` and mail servers wait for it.
fn hosts_file(hostname: &str, hosts: &[HostsLine]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    if !hostname.is_empty() && !hosts.iter().flat_map(|line| &line.names).any(|name| name == hostname) {
        let _ = writeln!(text, "127.0.1.1\t{hostname}");
    }
    for line in hosts {
        let names: Vec<&str> = line.names.iter().map(String::as_str).filter(|name| is_word(name)).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "{}\t{}", line.address, names.join(" "));
        }
    }
    text
}

fn resolver_file(resolver: &Resolver) -> String {
    let mut text = String::new();
    let search: Vec<&str> = resolver.search.iter().map(String::as_str).filter(|name| is_word(name)).collect();
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    for server in &resolver.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

/// Servers and search domains of a text like /etc/resolv.conf.
pub(crate) fn read_resolver(text: &str) -> Resolver {
    let mut resolver = Resolver::default();
    for line in text.lines() {
        let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
        match words.next() {
            Some("nameserver") => {
                resolver.servers.extend(words.next().and_then(|word| word.parse::<std::net::IpAddr>().ok()))
            }
            Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    resolver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_hold_the_peers_and_the_node_itself() {
        let line =
            HostsLine { address: "10.0.0.2".parse().unwrap(), names: vec!["b".into(), "b\nevil".into()] };
        let text = hosts_file("a", std::slice::from_ref(&line));
        assert!(text.ends_with("127.0.1.1\ta\n10.0.0.2\tb\n"), "{text}");
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert!(!hosts_file("b", &[line]).contains("127.0.1.1"));
    }

    #[test]
    fn what_is_written_reads_back() {
        let resolver = Resolver {
            servers: vec!["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
            search: vec!["lab.example".into(), "example".into()],
        };
        let text = resolver_file(&resolver);
        assert_eq!(text, "search lab.example example\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n");
        assert_eq!(read_resolver(&text), resolver);
    }

    #[test]
    fn files_are_written_in_place() {
        let root = tempfile::tempdir().unwrap();
        let resolver = Resolver::default();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/resolv.conf"), "nameserver 127.0.0.11\n").unwrap();
        // An empty host name leaves the name of the machine that runs the test alone.
        apply(root.path(), "", &[], &resolver).unwrap();
        let kept = std::fs::read_to_string(root.path().join("etc/resolv.conf")).unwrap();
        assert_eq!(kept, "nameserver 127.0.0.11\n");
        assert!(root.path().join("etc/hosts").exists());
    }
}

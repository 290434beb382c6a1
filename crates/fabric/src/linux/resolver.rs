//! Which name servers nodes can use: the host's, as far as they can be reached from a node.

use std::net::IpAddr;
use std::path::Path;

use crate::FabricError;

const HOST: &str = "/etc/resolv.conf";
/// systemd-resolved puts itself (127.0.0.53) into the host's file, and where it asks itself into these.
const UPSTREAM: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];
const MAX_BYTES: usize = 1 << 16;
/// As many as the C library looks at.
const MAX_SERVERS: usize = 3;

/// Looks into the host's files.
pub(crate) fn name_servers(ipv6: bool) -> Result<Vec<IpAddr>, FabricError> {
    let host = read(Path::new(HOST))?;
    let upstream = UPSTREAM.iter().map(|path| read(Path::new(path))).collect::<Result<Vec<_>, _>>()?;
    Ok(usable(&host, &upstream, ipv6))
}

/// The host's own where one can be used, else those of the first other file that has some.
fn usable(host: &str, upstream: &[String], ipv6: bool) -> Vec<IpAddr> {
    std::iter::once(host)
        .chain(upstream.iter().map(String::as_str))
        .map(|text| servers(text).into_iter().filter(|ip| ipv6 || ip.is_ipv4()).collect::<Vec<_>>())
        .find(|list| !list.is_empty())
        .unwrap_or_default()
}

/// Servers that a node can reach: neither the host's loopback nor tied to one of its links.
fn servers(text: &str) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // A zone (`fe80::1%eth0`) does not parse, and means nothing elsewhere.
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else { continue };
        let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if !ip.is_loopback() && !ip.is_unspecified() && !link_local && !all.contains(&ip) {
            all.push(ip);
        }
    }
    all.truncate(MAX_SERVERS);
    all
}

fn read(path: &Path) -> Result<String, FabricError> {
    match std::fs::read(path) {
        Ok(mut bytes) => {
            bytes.truncate(MAX_BYTES);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(FabricError::Kernel {
            action: format!("reading {}", path.display()),
            detail: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_are_replaced_by_those_behind_them() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let stub = "# stub\nnameserver 127.0.0.53\noptions edns0\nsearch example.org\n";
        let upstream =
            ["nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\n".to_owned()];
        assert_eq!(usable("nameserver 10.255.255.53\n", &upstream, true), [ip("10.255.255.53")]);
        assert_eq!(usable(stub, &upstream, true), [ip("192.0.2.53"), ip("2001:db8::53")]);
        assert_eq!(usable(stub, &upstream, false), [ip("192.0.2.53")]);
        assert_eq!(usable(stub, &[], true), [] as [IpAddr; 0]);
        assert_eq!(
            usable("nameserver\nnameserver x\n;nameserver 1.2.3.4\nnameserver ::1", &[], true),
            [] as [IpAddr; 0]
        );
        assert_eq!(usable("nameserver 1.1.1.1\nnameserver 1.1.1.1", &[], true), [ip("1.1.1.1")]);
    }
}

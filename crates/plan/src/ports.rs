//! Ports of a host that lead to a node: the lowest that are free, SSH first.

use serde::{Deserialize, Serialize};
use testyard_model::sliver_type::{Port, Protocol};

use crate::host::Host;
use crate::usage::Usage;

/// The port that SSH listens on in every node.
pub const SSH: Port = Port { protocol: Protocol::Tcp, number: std::num::NonZeroU16::new(22).expect("not 0") };

/// A port of the host that leads to one of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForward {
    /// On the host.
    pub host_port: u16,
    /// In the node.
    pub port: Port,
}

/// The node's ports that are to be led to, each once: SSH, then those of its kind, then those of the request.
#[must_use]
pub fn wanted<'a>(ports: impl IntoIterator<Item = &'a Port>) -> Vec<Port> {
    let mut wanted = vec![SSH];
    for port in ports {
        if !wanted.contains(port) {
            wanted.push(*port);
        }
    }
    wanted
}

/// The lowest free port from `from` on.
#[must_use]
pub fn lowest_free(host: &Host, usage: &Usage, from: u16) -> Option<u16> {
    let from = from.max(host.ports().first());
    // The held ports in order: the first one that is not the next number leaves a gap before it.
    let held = usage.ports_from(from).zip(from..).take_while(|(held, number)| held == number).count();
    let free = u32::from(from) + u32::try_from(held).unwrap_or(u32::MAX);
    u16::try_from(free).ok().filter(|free| *free <= host.ports().last())
}

/// Forwards for ports that an image turned out to EXPOSE, beside those that the node has. What finds no free port is
/// left out; the second value says which.
#[must_use]
pub fn exposed(
    host: &Host,
    usage: &Usage,
    has: &[PortForward],
    exposes: &[Port],
) -> (Vec<PortForward>, Vec<Port>) {
    let (mut forwards, mut left_out) = (Vec::new(), Vec::new());
    let mut from = host.ports().first();
    for port in wanted(exposes).into_iter().filter(|port| !has.iter().any(|forward| forward.port == *port)) {
        match lowest_free(host, usage, from) {
            Some(host_port) => {
                forwards.push(PortForward { host_port, port });
                let Some(next) = host_port.checked_add(1) else { continue };
                from = next;
            }
            None => left_out.push(port),
        }
    }
    (forwards, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::PortRange;
    use crate::usage::Holding;

    #[test]
    fn exposed_ports_get_what_is_left() {
        let range = PortRange::new(1000, 1002).unwrap();
        let host =
            Host::new("a".parse().unwrap(), 9, range, "10.0.0.0/24".parse().unwrap(), None, None).unwrap();
        let mut usage = Usage::default();
        usage.hold(&Holding { ports: vec![1000], ..Holding::default() }).unwrap();
        let has = [PortForward { host_port: 1000, port: SSH }];
        let exposes = ["80", "53/udp", "443", "80"].map(|port| port.parse().unwrap());
        let (forwards, left_out) = exposed(&host, &usage, &has, &exposes);
        assert_eq!(forwards.iter().map(|f| f.host_port).collect::<Vec<_>>(), [1001, 1002]);
        assert_eq!(left_out, ["443".parse().unwrap()]);
        assert_eq!(exposed(&host, &usage, &has, &[]), (vec![], vec![]));
    }
}

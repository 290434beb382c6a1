//! Flows that the kernel tracks. It goes on treating one as it treated its first packet, whatever the rules say by
//! then: a flow to a port that leads elsewhere now must be forgotten, or it goes to where the port led before.

use std::net::IpAddr;

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use testyard_model::sliver_type::{Port, Protocol};

use super::elements::protocol_number;
use super::socket::{IN_FLIGHT, Refusal, Refused, Socket};
use super::wire::{Message, Reply, attribute};

/// Kernel headers' numbers that libc does not have (linux/netfilter/nfnetlink_conntrack.h).
mod kernel {
    const SUBSYSTEM: u16 = 1;
    pub(super) const GET: u16 = SUBSYSTEM << 8 | 1;
    pub(super) const DELETE: u16 = SUBSYSTEM << 8 | 2;
    pub(super) const ORIGINAL: u16 = 1;
    pub(super) const REPLY: u16 = 2;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
    pub(super) const SIDE_ADDRESSES: u16 = 1;
    pub(super) const SIDE_PROTOCOL: u16 = 2;
    pub(super) const V4_SOURCE: u16 = 1;
    pub(super) const V4_DESTINATION: u16 = 2;
    pub(super) const V6_SOURCE: u16 = 3;
    pub(super) const V6_DESTINATION: u16 = 4;
    pub(super) const PROTOCOL_NUMBER: u16 = 1;
    pub(super) const SOURCE_PORT: u16 = 2;
    pub(super) const DESTINATION_PORT: u16 = 3;
    pub(super) const NESTED: u16 = 1 << 15;
}

/// Which flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flows {
    /// All from and to a node, by whatever way.
    OfNode(IpAddr),
    /// Through a port of the host to a node's port.
    Forwarded { protocol: Protocol, host_port: u16, ip: IpAddr, port: u16 },
    /// Straight to a node's port.
    To { ip: IpAddr, port: Port },
    /// To a port that led nowhere when they began. Others to a port of this number are among them; the kernel picks
    /// those up again, since nothing about them is translated.
    Untranslated { protocol: Protocol, host_port: u16 },
}

/// One direction, as its packets look where they come from. Protocols without ports have 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flow {
    original: Side,
    reply: Side,
}

impl Flows {
    fn include(&self, Flow { original, reply }: &Flow) -> bool {
        match *self {
            Self::OfNode(ip) => [original.source, original.destination, reply.source].contains(&ip),
            Self::Forwarded { protocol, host_port, ip, port } => {
                original.protocol == protocol_number(protocol)
                    && original.destination_port == host_port
                    && (reply.source, reply.source_port) == (ip, port)
            }
            Self::To { ip, port } => {
                original.protocol == protocol_number(port.protocol)
                    && (original.destination, original.destination_port) == (ip, port.number.get())
            }
            Self::Untranslated { protocol, host_port } => {
                original.protocol == protocol_number(protocol)
                    && original.destination_port == host_port
                    && (reply.source, reply.destination) == (original.destination, original.source)
            }
        }
    }
}

impl Side {
    fn read(bytes: &[u8]) -> Option<Self> {
        let addresses = attribute(bytes, kernel::SIDE_ADDRESSES)?;
        let address = |v4, v6| match attribute(addresses, v4) {
            Some(bytes) => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            None => <[u8; 16]>::try_from(attribute(addresses, v6)?).ok().map(IpAddr::from),
        };
        let protocol = attribute(bytes, kernel::SIDE_PROTOCOL)?;
        let port = |kind| {
            let bytes = attribute(protocol, kind).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u16::from_be_bytes)
        };
        Some(Self {
            source: address(kernel::V4_SOURCE, kernel::V6_SOURCE)?,
            destination: address(kernel::V4_DESTINATION, kernel::V6_DESTINATION)?,
            protocol: *attribute(protocol, kernel::PROTOCOL_NUMBER)?.first()?,
            source_port: port(kernel::SOURCE_PORT),
            destination_port: port(kernel::DESTINATION_PORT),
        })
    }
}

impl Flow {
    fn read(reply: &Reply) -> Option<Self> {
        let body = reply.body.get(4..)?;
        Some(Self {
            original: Side::read(attribute(body, kernel::ORIGINAL)?)?,
            reply: Side::read(attribute(body, kernel::REPLY)?)?,
        })
    }
}

/// The tracked flows of one namespace.
#[derive(Debug)]
pub(crate) struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, Refusal> {
        Ok(Self { socket: Socket::open(SockProtocol::NetlinkNetFilter, 0)? })
    }

    /// Makes the kernel forget flows; says how many. Reads the table once, whatever there is to be forgotten.
    pub(crate) fn forget(&mut self, stale: &[Flows]) -> Result<usize, Refusal> {
        let is_stale =
            |reply: &Reply| Flow::read(reply).is_some_and(|flow| stale.iter().any(|s| s.include(&flow)));
        let found = self.socket.dump_where(&Message::new(kernel::GET, 0, &header(0)), is_stale)?;
        let deletions: Vec<Message> = found.iter().filter_map(deletion).collect();
        for chunk in deletions.chunks(IN_FLIGHT) {
            match self.socket.tell(chunk) {
                // One has ended by itself meanwhile; the kernel does the others all the same.
                Err(Refused { refusal: Refusal { errno: Errno::ENOENT, .. }, .. }) => {}
                other => other.map_err(|refused| refused.refusal)?,
            }
        }
        Ok(deletions.len())
    }
}

/// By its own words, with the number that tells it from a later one with the same ports. A deletion that names no flow
/// would delete all.
fn deletion(found: &Reply) -> Option<Message> {
    let body = found.body.get(4..)?;
    let original = attribute(body, kernel::ORIGINAL)?;
    let mut message = Message::new(kernel::DELETE, 0, &header(found.body[0]))
        .attr(kernel::ORIGINAL | kernel::NESTED, original)
        .attr(kernel::ID, attribute(body, kernel::ID)?);
    if let Some(zone) = attribute(body, kernel::ZONE) {
        message = message.attr(kernel::ZONE, zone);
    }
    Some(message)
}

/// `struct nfgenmsg`.
fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    fn side(source: &str, destination: &str) -> Side {
        let [source, destination] = [source, destination].map(|s| s.parse::<std::net::SocketAddr>().unwrap());
        Side {
            source: source.ip(),
            destination: destination.ip(),
            protocol: 17,
            source_port: source.port(),
            destination_port: destination.port(),
        }
    }

    fn write(side: &Side) -> impl Fn(Message) -> Message {
        let Side { source, destination, protocol, source_port, destination_port } = *side;
        move |message| {
            let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) else { unreachable!() };
            message.nest(1, |m| m.attr(1, &source.octets()).attr(2, &destination.octets())).nest(2, |m| {
                m.attr(1, &[protocol])
                    .attr(2, &source_port.to_be_bytes())
                    .attr(3, &destination_port.to_be_bytes())
            })
        }
    }

    fn forwarded() -> Flow {
        Flow {
            original: side("198.51.100.1:5000", "198.51.100.2:30001"),
            reply: side("10.77.0.1:9000", "198.51.100.1:5000"),
        }
    }

    fn includes(flow: &Flow) -> [bool; 5] {
        let (protocol, host_port) = (Protocol::Udp, 30_001);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let port = Port { protocol, number: NonZeroU16::new(9000).unwrap() };
        [
            Flows::OfNode(ip("10.77.0.1")),
            Flows::Forwarded { protocol, host_port, ip: ip("10.77.0.1"), port: 9000 },
            Flows::Forwarded { protocol, host_port, ip: ip("10.77.0.1"), port: 9001 },
            Flows::To { ip: ip("10.77.0.1"), port },
            Flows::Untranslated { protocol, host_port },
        ]
        .map(|flows| flows.include(flow))
    }

    #[test]
    fn flows_are_told_apart() {
        assert_eq!(includes(&forwarded()), [true, true, false, false, false]);
        let out = Flow {
            original: side("10.77.0.1:5000", "198.51.100.1:30001"),
            reply: side("198.51.100.1:30001", "198.51.100.2:5000"),
        };
        assert_eq!(includes(&out), [true, false, false, false, false], "masqueraded");
        let straight = Flow {
            original: side("10.77.0.2:5000", "10.77.0.1:9000"),
            reply: side("10.77.0.1:9000", "10.77.0.2:5000"),
        };
        assert_eq!(includes(&straight), [true, false, false, true, false]);
        let nowhere = Flow {
            original: side("198.51.100.1:5000", "198.51.100.2:30001"),
            reply: side("198.51.100.2:30001", "198.51.100.1:5000"),
        };
        assert_eq!(includes(&nowhere), [false, false, false, false, true]);
        let tcp = Flow { original: Side { protocol: 6, ..nowhere.original }, ..nowhere };
        assert_eq!(includes(&tcp), [false; 5]);
    }

    #[test]
    fn a_deletion_names_its_flow() {
        let flow = forwarded();
        let mut datagram = Vec::new();
        Message::new(kernel::GET, 0, &header(2))
            .nest(1, write(&flow.original))
            .nest(2, write(&flow.reply))
            .u32(kernel::ID, 77)
            .write(1, 0, &mut datagram);
        let read = crate::netlink::wire::messages(&datagram).remove(0);
        assert_eq!(Flow::read(&read), Some(flow));
        datagram.clear();
        deletion(&read).unwrap().write(2, 0, &mut datagram);
        let written = crate::netlink::wire::messages(&datagram).remove(0);
        assert_eq!((written.kind, written.body[0]), (kernel::DELETE, 2));
        let original = attribute(&written.body[4..], kernel::ORIGINAL).and_then(Side::read);
        assert_eq!(original, Some(flow.original));
        assert_eq!(attribute(&written.body[4..], kernel::ID), Some(&77_u32.to_ne_bytes()[..]));

        let bare = Reply { body: vec![2, 0, 0, 0], ..read };
        assert_eq!(deletion(&bare), None, "it would delete all");
    }
}

//! Elements of the sets and maps of our table of packet rules, changed over nfnetlink: microseconds, where the `nft`
//! program takes twenty milliseconds.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroU32};

use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use testyard_model::sliver_type::{Port, Protocol};

use super::socket::{Refusal, Refused, Socket};
use super::wire::{Message, Reply, attribute, attributes, text, u32_at};

/// Kernel headers' numbers that libc does not have (linux/netfilter/nf_tables.h).
mod kernel {
    pub(super) const LIST_TABLE: u16 = 1;
    pub(super) const LIST_SET: u16 = 2;
    pub(super) const LIST_ELEMENTS: u16 = 3;
    pub(super) const LIST_ELEMENT: u16 = 1;
    pub(super) const ELEMENT_KEY: u16 = 1;
    pub(super) const ELEMENT_DATA: u16 = 2;
    pub(super) const ELEMENT_USERDATA: u16 = 6;
    pub(super) const DATA_VALUE: u16 = 1;
    pub(super) const SUBSYSTEM: u16 = 10;
    pub(super) const BATCH_BEGIN: u16 = 16;
    pub(super) const BATCH_END: u16 = 17;
    pub(super) const NEW_ELEMENT: u16 = SUBSYSTEM << 8 | 12;
    pub(super) const GET_ELEMENT: u16 = SUBSYSTEM << 8 | 13;
    pub(super) const DELETE_ELEMENT: u16 = SUBSYSTEM << 8 | 14;
    pub(super) const FAMILY_INET: u8 = 1;
    /// libnftnl's type of a comment in user data; the kernel does not look.
    pub(super) const USERDATA_COMMENT: u8 = 0;
}

/// Interface names take this much of a key.
const NAME_LENGTH: usize = 16;
/// The kernel's acknowledgements of one transaction must fit the socket's buffer.
const TRANSACTION: usize = 128;

/// An element. Numbers of ports and addresses are in network order on the wire, groups in the host's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Element {
    /// What a link may send from.
    Source4 {
        link: String,
        ip: Ipv4Addr,
    },
    Source6 {
        link: String,
        ip: Ipv6Addr,
    },
    /// A group whose links may talk to each other.
    SameSlice {
        tag: NonZeroU32,
    },
    /// A port of the host that leads to a node.
    Forward4 {
        protocol: Protocol,
        host_port: u16,
        ip: Ipv4Addr,
        port: NonZeroU16,
    },
    Forward6 {
        protocol: Protocol,
        host_port: u16,
        ip: Ipv6Addr,
        port: NonZeroU16,
    },
    /// A node's port that is open from outside over IPv6.
    Open6 {
        ip: Ipv6Addr,
        port: Port,
    },
    /// A host whose tunnels lead here.
    Peer4 {
        ip: Ipv4Addr,
    },
    Peer6 {
        ip: Ipv6Addr,
    },
}

/// Elements with the mark of whose they are.
pub(crate) type Elements = BTreeMap<Element, String>;

/// The sets and maps that elements are in.
pub(crate) const SETS: [&str; 10] =
    ["source4", "source6", "same_slice", "tcp4", "udp4", "tcp6", "udp6", "open6", "peers4", "peers6"];

impl Element {
    /// The name of its set.
    pub(crate) fn set(&self) -> &'static str {
        match self {
            Self::Source4 { .. } => "source4",
            Self::Source6 { .. } => "source6",
            Self::SameSlice { .. } => "same_slice",
            Self::Forward4 { protocol: Protocol::Tcp, .. } => "tcp4",
            Self::Forward4 { protocol: Protocol::Udp, .. } => "udp4",
            Self::Forward6 { protocol: Protocol::Tcp, .. } => "tcp6",
            Self::Forward6 { protocol: Protocol::Udp, .. } => "udp6",
            Self::Open6 { .. } => "open6",
            Self::Peer4 { .. } => "peers4",
            Self::Peer6 { .. } => "peers6",
        }
    }

    /// The key: fields one after the other, each padded to four bytes.
    fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(32);
        match self {
            Self::Source4 { link, ip } => {
                key.extend_from_slice(&name(link));
                key.extend_from_slice(&ip.octets());
            }
            Self::Source6 { link, ip } => {
                key.extend_from_slice(&name(link));
                key.extend_from_slice(&ip.octets());
            }
            Self::SameSlice { tag } => {
                key.extend_from_slice(&tag.get().to_ne_bytes());
                key.extend_from_slice(&tag.get().to_ne_bytes());
            }
            // A key of one field is as long as the field.
            Self::Forward4 { host_port, .. } | Self::Forward6 { host_port, .. } => {
                key.extend_from_slice(&host_port.to_be_bytes());
            }
            Self::Open6 { ip, port } => {
                key.extend_from_slice(&ip.octets());
                key.extend_from_slice(&[protocol_number(port.protocol), 0, 0, 0]);
                key.extend_from_slice(&padded(port.number));
            }
            Self::Peer4 { ip } => key.extend_from_slice(&ip.octets()),
            Self::Peer6 { ip } => key.extend_from_slice(&ip.octets()),
        }
        key
    }

    /// The value in a map.
    fn data(&self) -> Option<Vec<u8>> {
        match self {
            Self::Forward4 { ip, port, .. } => Some([&ip.octets()[..], &padded(*port)].concat()),
            Self::Forward6 { ip, port, .. } => Some([&ip.octets()[..], &padded(*port)].concat()),
            _ => None,
        }
    }

    fn read(set: &str, key: &[u8], data: Option<&[u8]>) -> Option<Self> {
        let v4 = |at: &[u8]| <[u8; 4]>::try_from(at).ok().map(Ipv4Addr::from);
        let v6 = |at: &[u8]| <[u8; 16]>::try_from(at).ok().map(Ipv6Addr::from);
        let number = |at: &[u8]| at.get(..2).and_then(|b| NonZeroU16::new(u16::from_be_bytes([b[0], b[1]])));
        let protocol = if set.starts_with("tcp") { Protocol::Tcp } else { Protocol::Udp };
        Some(match set {
            "source4" => {
                Self::Source4 { link: text(key.get(..NAME_LENGTH)?), ip: v4(key.get(NAME_LENGTH..)?)? }
            }
            "source6" => {
                Self::Source6 { link: text(key.get(..NAME_LENGTH)?), ip: v6(key.get(NAME_LENGTH..)?)? }
            }
            "same_slice" => Self::SameSlice {
                tag: NonZeroU32::new(u32_at(key, 0)).filter(|t| t.get() == u32_at(key, 4))?,
            },
            "tcp4" | "udp4" => {
                let (ip, port) = data?.split_at_checked(4)?;
                Self::Forward4 { protocol, host_port: number(key)?.get(), ip: v4(ip)?, port: number(port)? }
            }
            "tcp6" | "udp6" => {
                let (ip, port) = data?.split_at_checked(16)?;
                Self::Forward6 { protocol, host_port: number(key)?.get(), ip: v6(ip)?, port: number(port)? }
            }
            "open6" => {
                let protocol = match i32::from(*key.get(16)?) {
                    libc::IPPROTO_TCP => Protocol::Tcp,
                    libc::IPPROTO_UDP => Protocol::Udp,
                    _ => return None,
                };
                Self::Open6 {
                    ip: v6(key.get(..16)?)?,
                    port: Port { protocol, number: number(key.get(20..)?)? },
                }
            }
            "peers4" => Self::Peer4 { ip: v4(key)? },
            "peers6" => Self::Peer6 { ip: v6(key)? },
            _ => return None,
        })
    }
}

impl From<IpAddr> for Element {
    /// A host whose tunnels lead here.
    fn from(peer: IpAddr) -> Self {
        match peer {
            IpAddr::V4(ip) => Self::Peer4 { ip },
            IpAddr::V6(ip) => Self::Peer6 { ip },
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source4 { link, ip } => write!(f, "source {ip} of {link}"),
            Self::Source6 { link, ip } => write!(f, "source {ip} of {link}"),
            Self::SameSlice { tag } => write!(f, "slice {tag}"),
            Self::Forward4 { protocol, host_port, ip, port } => {
                write!(f, "port {host_port}/{protocol} to {ip}:{port}")
            }
            Self::Forward6 { protocol, host_port, ip, port } => {
                write!(f, "port {host_port}/{protocol} to [{ip}]:{port}")
            }
            Self::Open6 { ip, port } => write!(f, "port {port} of {ip}"),
            Self::Peer4 { ip } => write!(f, "tunnels from {ip}"),
            Self::Peer6 { ip } => write!(f, "tunnels from {ip}"),
        }
    }
}

/// Names are padded with NUL.
fn name(link: &str) -> [u8; NAME_LENGTH] {
    let mut bytes = [0; NAME_LENGTH];
    for (to, from) in bytes.iter_mut().zip(link.bytes()) {
        *to = from;
    }
    bytes
}

fn padded(port: NonZeroU16) -> [u8; 4] {
    let [high, low] = port.get().to_be_bytes();
    [high, low, 0, 0]
}

/// The protocol's number in packets.
pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    (match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    }) as u8
}

/// One table's elements in the kernel of one namespace.
#[derive(Debug)]
pub(crate) struct Table {
    socket: Socket,
    table: String,
}

impl Table {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open(table: &str) -> Result<Self, Refusal> {
        Ok(Self { socket: Socket::open(SockProtocol::NetlinkNetFilter, 0)?, table: table.to_owned() })
    }

    /// Everything in our sets; `None` where there are none. An older version's table may have fewer.
    pub(crate) fn read(&mut self) -> Result<Option<Elements>, Refusal> {
        let (mut all, mut is_there) = (Elements::new(), false);
        for set in SETS {
            let ask = Message::new(kernel::GET_ELEMENT, 0, &family_header(0))
                .text(kernel::LIST_TABLE, &self.table)
                .text(kernel::LIST_SET, set);
            match self.socket.dump(&ask) {
                Ok(replies) => {
                    is_there = true;
                    all.extend(replies.iter().flat_map(|reply| read_elements(set, reply)));
                }
                Err(Refusal { errno: Errno::ENOENT, .. }) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(is_there.then_some(all))
    }

    /// Removes some elements, then adds others: each up to [`TRANSACTION`] at a time, wholly or not at all. What is
    /// there already stays; what is removed must be there.
    pub(crate) fn change(&mut self, remove: &Elements, add: &Elements) -> Result<(), (String, Refusal)> {
        let removals = remove.keys().map(|e| (e, self.message(kernel::DELETE_ELEMENT, 0, e, "")));
        let create = libc::NLM_F_CREATE as u16;
        let additions = add.iter().map(|(e, mark)| (e, self.message(kernel::NEW_ELEMENT, create, e, mark)));
        let (elements, messages): (Vec<&Element>, Vec<Message>) = removals.chain(additions).unzip();
        let begin = Message::new(kernel::BATCH_BEGIN, 0, &family_header(kernel::SUBSYSTEM));
        let end = Message::new(kernel::BATCH_END, 0, &family_header(kernel::SUBSYSTEM));
        for (elements, messages) in elements.chunks(TRANSACTION).zip(messages.chunks(TRANSACTION)) {
            self.socket.transact(&begin, messages, &end).map_err(|Refused { index, refusal }| {
                (elements.get(index).map(ToString::to_string).unwrap_or_default(), refusal)
            })?;
        }
        Ok(())
    }

    fn message(&self, kind: u16, flags: u16, element: &Element, mark: &str) -> Message {
        Message::new(kind, flags, &family_header(0))
            .text(kernel::LIST_TABLE, &self.table)
            .text(kernel::LIST_SET, element.set())
            .nest(kernel::LIST_ELEMENTS, |m| {
                m.nest(kernel::LIST_ELEMENT, |m| {
                    let m = m.nest(kernel::ELEMENT_KEY, |m| m.attr(kernel::DATA_VALUE, &element.key()));
                    let m = match element.data() {
                        Some(data) => m.nest(kernel::ELEMENT_DATA, |m| m.attr(kernel::DATA_VALUE, &data)),
                        None => m,
                    };
                    if mark.is_empty() { m } else { m.attr(kernel::ELEMENT_USERDATA, &userdata(mark)) }
                })
            })
    }
}

/// `struct nfgenmsg`: the resource is in network order.
fn family_header(resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [if resource == 0 { kernel::FAMILY_INET } else { 0 }, 0, high, low]
}

/// A comment as `nft list` shows it: type, length with the NUL, text.
fn userdata(mark: &str) -> Vec<u8> {
    let length = u8::try_from(mark.len() + 1).expect("marks are two identifiers");
    [&[kernel::USERDATA_COMMENT, length][..], mark.as_bytes(), &[0]].concat()
}

fn read_elements(set: &str, reply: &Reply) -> Vec<(Element, String)> {
    let list =
        reply.body.get(4..).and_then(|body| attribute(body, kernel::LIST_ELEMENTS)).unwrap_or_default();
    let read = |bytes: &[u8]| {
        let value = |kind| attribute(bytes, kind).and_then(|v| attribute(v, kernel::DATA_VALUE));
        let mark = match attribute(bytes, kernel::ELEMENT_USERDATA) {
            Some([kernel::USERDATA_COMMENT, _, comment @ ..]) => text(comment),
            _ => String::new(),
        };
        Some((Element::read(set, value(kernel::ELEMENT_KEY)?, value(kernel::ELEMENT_DATA))?, mark))
    };
    attributes(list).filter_map(|(_, bytes)| read(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Element> {
        let ssh = NonZeroU16::new(22).unwrap();
        let (v4, v6) = (Ipv4Addr::new(10, 0, 0, 7), "2001:db8::7".parse().unwrap());
        let mut all = vec![
            Element::Source4 { link: "ty0123456789abc".into(), ip: v4 },
            Element::Source6 { link: "ty0".into(), ip: v6 },
            Element::SameSlice { tag: NonZeroU32::new(70_000).unwrap() },
            Element::Peer4 { ip: v4 },
            Element::Peer6 { ip: v6 },
        ];
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            all.push(Element::Forward4 { protocol, host_port: 30_001, ip: v4, port: ssh });
            all.push(Element::Forward6 { protocol, host_port: 30_001, ip: v6, port: ssh });
            all.push(Element::Open6 { ip: v6, port: Port { protocol, number: ssh } });
        }
        all
    }

    #[test]
    fn what_the_kernel_is_told_is_read_back() {
        for element in one_of_each() {
            assert_eq!(
                Element::read(element.set(), &element.key(), element.data().as_deref()),
                Some(element)
            );
        }
    }

    #[test]
    fn keys_are_as_the_kernel_lays_them_out() {
        let keys: Vec<usize> = one_of_each().iter().map(|e| e.key().len()).collect();
        assert_eq!(keys, [20, 32, 8, 4, 16, 2, 2, 24, 2, 2, 24]);
        let forward = &one_of_each()[5];
        assert_eq!(forward.key(), [0x75, 0x31]);
        assert_eq!(forward.data().unwrap(), [10, 0, 0, 7, 0, 22, 0, 0]);
    }

    #[test]
    fn short_or_strange_elements_are_none() {
        for element in one_of_each() {
            // A port's own padding may be missing, never part of its number.
            let padding = if matches!(element, Element::Open6 { .. }) { 2 } else { 0 };
            for length in 0..element.key().len() - padding {
                assert_eq!(
                    Element::read(element.set(), &element.key()[..length], element.data().as_deref()),
                    None
                );
            }
            assert_eq!(Element::read("other", &element.key(), None), None);
        }
    }
}

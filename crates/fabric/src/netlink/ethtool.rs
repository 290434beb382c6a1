//! What ethtool(8) does, as far as links need it.
//!
//! Waits for a carrier: when the second half of a veth goes up, the kernel makes the first one ready to send a little
//! later, in its own time, and drops packets until then. Whoever asks for the link's state gets it done at once.

use nix::sys::socket::SockProtocol;

use super::socket::{Refusal, Socket};
use super::wire::{Message, attribute};

/// linux/genetlink.h and linux/ethtool_netlink.h.
const GENERIC_VERSION: u8 = 1;
const CONTROLLER_GET_FAMILY: u8 = 3;
const CONTROLLER_FAMILY_ID: u16 = 1;
const CONTROLLER_FAMILY_NAME: u16 = 2;
const LINK_STATE_GET: u8 = 6;
const LINK_STATE_HEADER: u16 = 1;
const HEADER_DEVICE_INDEX: u16 = 1;
const FEATURES_SET: u8 = 12;
const FEATURES_HEADER: u16 = 1;
const FEATURES_WANTED: u16 = 3;
const BITSET_BITS: u16 = 3;
const BITS_BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const GENERIC_HEADER: usize = 4;

/// Frames that a node leaves uncut for a card that would cut them. Nobody does: neither the kernel hands them to a wire, nor
/// would a wire know how (docs/reference/wire.md).
pub(crate) const UNCUT: [&str; 7] = [
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-gre-segmentation",
    "tx-gre-csum-segmentation",
    "tx-ipxip4-segmentation",
    "tx-ipxip6-segmentation",
    "tx-sctp-segmentation",
];

/// The kernel's ethtool of one namespace.
#[derive(Debug)]
pub(crate) struct Ethtool {
    socket: Socket,
    family: u16,
}

impl Ethtool {
    /// Opens a socket in the calling thread's network namespace; `None` where the kernel is older than 5.6.
    pub(crate) fn open() -> Result<Option<Self>, Refusal> {
        let mut socket = Socket::open(SockProtocol::NetlinkGeneric, 0)?;
        let ask = Message::new(libc::GENL_ID_CTRL as u16, 0, &[CONTROLLER_GET_FAMILY, GENERIC_VERSION, 0, 0])
            .text(CONTROLLER_FAMILY_NAME, "ethtool");
        let answer = socket.get(&ask)?;
        let id = answer.as_ref().and_then(|a| attribute(a.body.get(GENERIC_HEADER..)?, CONTROLLER_FAMILY_ID));
        let family = id.and_then(|id| id.try_into().ok()).map(u16::from_ne_bytes);
        Ok(family.map(|family| Self { socket, family }))
    }

    /// Has the kernel cut what it would leave to a card.
    pub(crate) fn switch_off(&mut self, index: u32, features: &[&str]) -> Result<(), Refusal> {
        // Bits that are named and have no value are cleared; the others stay.
        let ask = Message::new(self.family, 0, &[FEATURES_SET, GENERIC_VERSION, 0, 0])
            .nest(FEATURES_HEADER, |m| m.u32(HEADER_DEVICE_INDEX, index))
            .nest(FEATURES_WANTED, |m| {
                m.nest(BITSET_BITS, |m| {
                    features.iter().fold(m, |m, name| m.nest(BITS_BIT, |m| m.text(BIT_NAME, name)))
                })
            });
        self.socket.get(&ask).map(drop)
    }

    /// Makes the kernel take note of a link's carrier.
    pub(crate) fn settle(&mut self, index: u32) -> Result<(), Refusal> {
        let ask = Message::new(self.family, 0, &[LINK_STATE_GET, GENERIC_VERSION, 0, 0])
            .nest(LINK_STATE_HEADER, |m| m.u32(HEADER_DEVICE_INDEX, index));
        self.socket.get(&ask).map(drop)
    }
}

//! Layer-2 segments between interfaces.
//!
//! A frame from interface A to interface B of a link meets what A's member does to frames `to_link` and then what B's
//! member does to frames `from_link`. A point-to-point link keeps all of a direction in its sender's `to_link`; a LAN
//! with delay D between any two has D/2 in each of the four.

use serde::{Deserialize, Serialize};

use crate::impairment::Impairment;
use crate::name::ClientId;

/// The lengths that a link's prefix may be asked to have: room for two hosts at least.
pub const PREFIX_LENGTHS: std::ops::RangeInclusive<u8> = 8..=30;

/// A layer-2 segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The user's name of it.
    pub client_id: ClientId,
    /// What it looks like to its interfaces.
    pub kind: LinkKind,
    /// The interfaces on it: two of a point-to-point link, any number of a LAN.
    pub members: Vec<Member>,
    /// The largest packet, in bytes without the Ethernet header; the plan chooses if the user has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The length of the prefix of its IPv4 network, where no address tells it; the plan chooses if the user has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<u8>,
    /// Whether it is down at the start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub down: bool,
    /// Where the chances of its impairments begin; the plan chooses, from its name, if the user has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What is captured from the start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// What other systems' languages say of it (topdl), by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

impl Link {
    /// A link with a name and nothing else that the user chose, and nobody on it yet.
    #[must_use]
    pub const fn new(client_id: ClientId, kind: LinkKind) -> Self {
        Self {
            client_id,
            kind,
            members: Vec::new(),
            mtu: None,
            prefix_length: None,
            down: false,
            seed: None,
            capture: None,
            attributes: Vec::new(),
        }
    }
}

/// What a link looks like to its interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// A cable between two interfaces.
    PointToPoint,
    /// A switch.
    Lan,
}

/// An interface on a link, and what is done to its frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The interface.
    pub interface: ClientId,
    /// What is done to the frames that it sends.
    #[serde(default, skip_serializing_if = "Impairment::is_clear")]
    pub to_link: Impairment,
    /// What is done to the frames that it gets.
    #[serde(default, skip_serializing_if = "Impairment::is_clear")]
    pub from_link: Impairment,
}

impl Member {
    /// A member whose frames nothing is done to.
    #[must_use]
    pub fn clear(interface: ClientId) -> Self {
        Self { interface, to_link: Impairment::default(), from_link: Impairment::default() }
    }
}

/// What to capture of a link's packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// How many bytes of each packet are kept.
    pub snap_length: u32,
    /// A filter in the language of pcap-filter(7), if the user gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

impl Capture {
    /// Captures of one slice at a time: each has a thread, and buffers in the kernel.
    pub const MOST: usize = 16;
}

/// A key and a value of another system's language, kept for its sake. Of a repeated key the first counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name: `containers:partition`.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// The first value of a key.
#[must_use]
pub fn attribute<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| attribute.value.as_str())
}

//! Packet captures as bytes.
//!
//! [`pcapng`] writes the blocks of the file format that Wireshark reads, [`order`] puts those of several interfaces in order
//! of time, [`merge`] makes one of those of several hosts, [`rotation`] cuts a stream of them into files that each can be read alone. [`filter`] reads what tcpdump makes of
//! an expression, the program that the kernel chooses packets with.
//!
//! Plain functions over plain values: who takes packets from interfaces is `testyard-fabric`.

pub mod filter;
pub mod fuzzing;
pub mod merge;
pub mod order;
pub mod pcapng;
pub mod rotation;

use serde::{Deserialize, Serialize};

/// How many bytes of each packet are kept: 1 to [`SnapLength::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct SnapLength(u32);

impl SnapLength {
    /// What Wireshark and tcpdump read at most; no frame of a link is longer.
    pub const MAX: Self = Self(262_144);

    /// As tcpdump takes it: 0, and more than there can be, mean all.
    #[must_use]
    pub const fn new(bytes: u32) -> Self {
        if bytes == 0 || bytes > Self::MAX.0 { Self::MAX } else { Self(bytes) }
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// In bytes, as a length in memory.
    #[must_use]
    pub const fn in_memory(self) -> usize {
        self.0 as usize
    }
}

impl Default for SnapLength {
    fn default() -> Self {
        Self::MAX
    }
}

impl From<u32> for SnapLength {
    fn from(bytes: u32) -> Self {
        Self::new(bytes)
    }
}

impl From<SnapLength> for u32 {
    fn from(length: SnapLength) -> Self {
        length.0
    }
}

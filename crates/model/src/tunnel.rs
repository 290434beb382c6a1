//! What carries a link's frames from host to host: VXLAN (RFC 7348).

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// The UDP port of tunnels, where nothing else is said.
pub const PORT: u16 = 14_789;

/// A link's number in tunnels, the same on all its hosts: a VXLAN network identifier, 24 bits (RFC 7348, §5), never 0, which
/// some switches keep for themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct Vni(NonZeroU32);

/// A number that no link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no VXLAN network identifier: they are from 1 to {last}", last = Vni::LAST)]
pub struct VniError(u32);

impl Vni {
    /// The least.
    pub const FIRST: Self = Self(NonZeroU32::MIN);
    /// The greatest.
    pub const LAST: u32 = (1 << 24) - 1;

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// The one after it; after the last, the first.
    #[must_use]
    pub fn next(self) -> Self {
        Self::try_from(self.get() + 1).unwrap_or(Self::FIRST)
    }
}

impl TryFrom<u32> for Vni {
    type Error = VniError;

    fn try_from(number: u32) -> Result<Self, VniError> {
        NonZeroU32::new(number).filter(|number| number.get() <= Self::LAST).map(Self).ok_or(VniError(number))
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.get()
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_round_and_are_never_zero() {
        let vni = |number| Vni::try_from(number).unwrap();
        assert_eq!(vni(1).next(), vni(2));
        assert_eq!(vni(Vni::LAST - 1).next(), vni(Vni::LAST));
        assert_eq!(vni(Vni::LAST).next(), vni(1));
        for bad in [0, Vni::LAST + 1, u32::MAX] {
            assert_eq!(Vni::try_from(bad), Err(VniError(bad)));
            assert!(serde_json::from_str::<Vni>(&bad.to_string()).is_err());
        }
    }
}

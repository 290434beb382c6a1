//! Names of interfaces inside nodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of an experiment interface inside its node: `eth1` is the first one, since `eth0` is the control
/// interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Device(u32);

/// A text that names no experiment interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no experiment interface: they are eth1, eth2, …")]
pub struct DeviceError(String);

impl Device {
    /// The name of a node's interface by its place among the node's interfaces, from 0: the port number of NS files
    /// and of the names in `/etc/hosts`.
    #[must_use]
    pub const fn of_port(port: u32) -> Self {
        Self(port.saturating_add(1))
    }

    /// The place among the node's interfaces, from 0.
    #[must_use]
    pub const fn port(self) -> u32 {
        self.0 - 1
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eth{}", self.0)
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let number = text.strip_prefix("eth").and_then(|digits| digits.parse().ok());
        // Only the one way of writing it: no eth+1, no eth01.
        let device = number.filter(|number| *number > 0).map(Self);
        device
            .filter(|device| device.to_string() == text)
            .ok_or_else(|| DeviceError(text.chars().take(40).collect()))
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(Device::of_port(0).to_string(), "eth1");
        assert_eq!("eth12".parse::<Device>().unwrap().port(), 11);
        for text in ["eth0", "eth", "eth01", "eth+1", "eth-1", "wlan0", "", "eth99999999999"] {
            assert!(text.parse::<Device>().is_err(), "{text}");
        }
    }
}

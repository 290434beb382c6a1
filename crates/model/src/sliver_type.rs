//! Kinds of nodes: their limits and capabilities. They come from the configuration and are copied into each sliver
//! when it is allocated, so a change of the configuration never changes a running node.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::image::{ImageName, ImageSource};
use crate::name::SliverTypeName;

/// What runs a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// A container of the host's Docker Engine.
    Docker,
    /// Nothing: a node that only pretends, for tests and for trying Testyard without an engine.
    Fake,
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Fake => "fake",
        })
    }
}

/// A kind of node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliverType {
    /// Its name in requests and advertisements.
    pub name: SliverTypeName,
    /// One line for people.
    pub description: String,
    /// What runs it.
    pub runtime: RuntimeKind,
    /// What a node boots that names no image.
    pub default_image: ImageSource,
    /// The images that the advertisement lists beside the default; others may be asked for too.
    pub images: Vec<ImageName>,
    /// What a node may use at most.
    pub limits: Limits,
    /// What a node may do beyond an ordinary container.
    pub privileges: Privileges,
    /// Ports that are forwarded for each node of this type, beside SSH.
    pub ports: Vec<Port>,
    /// Whether ports that the image EXPOSEs are forwarded too.
    pub publish_exposed: bool,
    /// Whether users get passwordless sudo.
    pub sudo: bool,
}

/// What a node may use at most; `None` is no limit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes, swap included.
    pub memory: Option<u64>,
    /// Processor time in thousandths of a core.
    pub millicores: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Bytes that the node may keep on disk beside its image.
    #[serde(default)]
    pub disk: Option<u64>,
    /// The image's file system cannot be written; `/run` and `/tmp` can, and are in memory.
    #[serde(default)]
    pub read_only: bool,
}

/// What a node may do beyond an ordinary container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privileges {
    /// Linux capabilities added to the engine's defaults.
    pub capabilities: Vec<Capability>,
    /// Device files of the host that the node gets.
    pub devices: Vec<DevicePath>,
}

/// The name of a Linux capability, without `CAP_`: `NET_ADMIN`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Capability(String);

/// A device file of the host: `/dev/net/tun`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DevicePath(String);

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port inside a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// The protocol.
    pub protocol: Protocol,
    /// The number, never 0.
    pub number: std::num::NonZeroU16,
}

/// A word of the configuration or a request that is none of the words it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct WordError {
    text: String,
    expected: &'static str,
}

impl Capability {
    /// The name without `CAP_`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Capability {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let name = text.strip_prefix("CAP_").unwrap_or(text);
        let good =
            (2..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        if good {
            Ok(Self(name.to_owned()))
        } else {
            Err(WordError { text: text.to_owned(), expected: "a Linux capability, like NET_ADMIN" })
        }
    }
}

impl DevicePath {
    /// The path on the host.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DevicePath {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let good = text.len() <= 128
            && text.strip_prefix("/dev/").is_some_and(|rest| {
                rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
                    && rest
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.'))
            });
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(WordError { text: text.to_owned(), expected: "a device file, like /dev/net/tun" })
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Port {
    type Err = WordError;

    /// `80`, `80/tcp` or `53/udp`.
    fn from_str(text: &str) -> Result<Self, WordError> {
        let error = || WordError { text: text.chars().take(40).collect(), expected: "a port, like 80/tcp" };
        let (number, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((number, "tcp")) => (number, Protocol::Tcp),
            Some((number, "udp")) => (number, Protocol::Udp),
            Some(_) => return Err(error()),
        };
        Ok(Self { protocol, number: number.parse().map_err(|_| error())? })
    }
}

macro_rules! string_conversions {
    ($($type:ident),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = WordError;

            fn try_from(text: String) -> Result<Self, WordError> {
                text.parse()
            }
        }
    )*};
}

string_conversions!(Capability, DevicePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!("CAP_NET_ADMIN".parse::<Capability>().unwrap().as_str(), "NET_ADMIN");
        assert!("net admin".parse::<Capability>().is_err());
        assert!("/dev/net/tun".parse::<DevicePath>().is_ok());
        for bad in ["/etc/passwd", "/dev/../etc/passwd", "/dev/", "/dev//x", "dev/x"] {
            assert!(bad.parse::<DevicePath>().is_err(), "{bad}");
        }
        assert_eq!("53/udp".parse::<Port>().unwrap().to_string(), "53/udp");
        assert!(
            "0".parse::<Port>().is_err()
                && "80/sctp".parse::<Port>().is_err()
                && "65536".parse::<Port>().is_err()
        );
    }
}

//! Captures of links, as their callers see them.

mod queue;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use testyard_capture::SnapLength;
use testyard_model::id::{SliceId, SliverId};
use testyard_model::link::Capture;

use crate::FabricError;
use crate::links::{HostLink, PortId};
use crate::linux::filter;
pub use queue::CaptureStream;
pub(crate) use queue::{LIMIT as QUEUE, Sender, queue};

/// Captures of one slice at a time on a host.
pub const MOST_CAPTURES: usize = Capture::MOST;

/// Whether captures by an expression of pcap-filter(7) can begin on this machine.
///
/// # Errors
/// Why not: [`CaptureError::Filter`], or that the machine lacks what it takes.
pub async fn try_filter(expression: &str) -> Result<(), CaptureError> {
    filter::compile(Some(expression), SnapLength::MAX).await.map(drop)
}

/// What is to be captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureRequest {
    /// Where.
    pub links: CapturedLinks,
    /// How many bytes of each packet are kept.
    #[serde(default)]
    pub snap_length: SnapLength,
    /// Which packets, in the language of pcap-filter(7); none, or an empty one: all.
    #[serde(default)]
    pub filter: Option<String>,
    /// What nodes are called: `NODE:eth1` is what a reader sees. One that has no name here is called by its sliver.
    #[serde(default)]
    pub names: BTreeMap<SliverId, String>,
}

/// Links of a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapturedLinks {
    /// All, also those that come later.
    #[default]
    All,
    /// One.
    One(SliverId),
}

/// What a capture gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureEvent {
    /// Whole blocks of one section of pcapng; the first begin it. Written one after the other they are a file.
    Blocks(Vec<u8>),
    /// The last event.
    Ended(CaptureEnd),
}

/// How a capture ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureEnd {
    /// Why.
    pub reason: EndReason,
    /// Packets that the filter let through.
    pub received: u64,
    /// Those of them that are not in the capture, because it was not read fast enough.
    pub dropped: u64,
}

/// Why a capture ended that its reader would have gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The links of the slice have ended on this host.
    Parted,
    /// The link is not in the slice's topology any more.
    LinkGone,
    /// The fabric has ended.
    Stopped,
    /// The kernel refused.
    Failed(String),
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Parted => f.write_str("the links of the slice have ended"),
            Self::LinkGone => f.write_str("the link is not in the topology any more"),
            Self::Stopped => f.write_str("the host's agent has ended"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

/// A capture cannot begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum CaptureError {
    /// The slice has no links on this host.
    #[error("the links of {slice} are not joined on this host")]
    NotJoined {
        /// Which slice.
        slice: SliceId,
    },
    /// The slice has no such link on this host.
    #[error("{slice} has no link {link} on this host")]
    NoLink {
        /// Whose.
        slice: SliceId,
        /// Which link.
        link: SliverId,
    },
    /// [`MOST_CAPTURES`] of the slice run already.
    #[error("{MOST_CAPTURES} captures of {slice} are running: end one of them first")]
    TooMany {
        /// Whose.
        slice: SliceId,
    },
    /// Captures of the host hold as much memory as they may.
    #[error(
        "captures on this host hold {taken} MiB, and may hold {limit}: end one, or capture one link at a time"
    )]
    Memory {
        /// What they hold, in MiB.
        taken: usize,
        /// What they may.
        limit: usize,
    },
    /// The expression is none, or asks for what cannot be known.
    #[error("the filter `{expression}` cannot be used: {reason}")]
    Filter {
        /// What the user wrote.
        expression: String,
        /// In tcpdump's words, mostly.
        reason: String,
    },
    /// The host or its kernel refused.
    #[error(transparent)]
    Fabric(#[from] FabricError),
}

/// An interface that is to be captured, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) port: PortId,
    pub(crate) name: String,
    pub(crate) link: String,
}

impl CaptureRequest {
    /// The filter, unless it says nothing.
    pub(crate) fn expression(&self) -> Option<&str> {
        self.filter.as_deref().filter(|expression| !expression.trim().is_empty())
    }

    /// Whether these links have what is asked for.
    pub(crate) fn is_among(&self, links: &[HostLink]) -> bool {
        match self.links {
            CapturedLinks::All => true,
            CapturedLinks::One(wanted) => links.iter().any(|link| link.sliver == wanted),
        }
    }

    /// The interfaces on these links that are asked for, in their order.
    pub(crate) fn interfaces<'l>(&'l self, links: &'l [HostLink]) -> impl Iterator<Item = Captured> + 'l {
        let wanted = move |link: &&HostLink| match self.links {
            CapturedLinks::All => true,
            CapturedLinks::One(wanted) => link.sliver == wanted,
        };
        links.iter().filter(wanted).flat_map(move |link| {
            link.ends.iter().map(move |end| {
                let node = &end.port.node;
                let device = &end.port.device;
                let name = match self.names.get(node) {
                    Some(name) => format!("{name}:{device}"),
                    None => format!("{node}:{device}"),
                };
                Captured { port: end.port.clone(), name, link: link.name.clone() }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use testyard_model::impairment::Impairment;
    use testyard_model::link::LinkKind;

    use super::*;
    use crate::links::LinkEnd;

    fn sliver(number: u8) -> SliverId {
        format!("0197e7a0-0000-7000-8000-0000000000{number:02x}").parse().unwrap()
    }

    fn link(number: u8, nodes: &[u8]) -> HostLink {
        let end = |node: &u8| LinkEnd {
            port: PortId { node: sliver(*node), device: format!("eth{number}") },
            to_link: Impairment::default(),
            from_link: Impairment::default(),
        };
        HostLink {
            sliver: sliver(100 + number),
            name: format!("link{number}"),
            kind: LinkKind::Lan,
            up: true,
            mtu: 1500,
            seed: 0,
            is_seed_chosen: false,
            ends: nodes.iter().map(end).collect(),
            beyond: None,
            capture: None,
        }
    }

    #[test]
    fn interfaces_are_called_by_node_and_device() {
        let links = [link(1, &[1, 2]), link(2, &[2, 3])];
        let names = [(sliver(1), "alice".to_owned()), (sliver(2), "bob".to_owned())].into();
        let one = CaptureRequest { links: CapturedLinks::One(sliver(102)), names, ..Default::default() };
        let seen = |request: &CaptureRequest| {
            request.interfaces(&links).map(|i| format!("{} {}", i.link, i.name)).collect::<Vec<_>>()
        };
        assert_eq!(seen(&one), ["link2 bob:eth2".to_owned(), format!("link2 {}:eth2", sliver(3))]);
        assert_eq!(seen(&CaptureRequest { links: CapturedLinks::All, ..one.clone() }).len(), 4);
        assert!(one.is_among(&links) && !one.is_among(&links[..1]));
        assert_eq!(CaptureRequest { filter: Some("  ".into()), ..one }.expression(), None);
    }
}

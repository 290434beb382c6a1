//! NeoContainers' container lists (`containers.json`): an array of containers, each with its host, its image and its
//! interfaces' addresses (deter.md §2.1; `docs/reference/containers-json.md`).
//!
//! The format knows neither links nor masks: an address takes the mask of the host's LAN that contains it, else /24, and
//! equal networks are one LAN, across hosts too.

mod lans;
mod read;

use testyard_model::topology::Topology;

use crate::import::{Import, Refused, Site};
use crate::remarks::Remarks;
use crate::tree::{Limits, json};

/// Reads a container list. `hosts` is the topology of the hosts, if there is a file of it: its nodes are what `host`
/// names, and its addresses tell how wide the networks are.
///
/// # Errors
/// [`Refused`], with line and column, and what to do.
pub fn parse(text: &str, site: &Site, hosts: Option<&Topology>) -> Result<Import, Refused> {
    let value = json::parse(text, &Limits::CONTAINERS)?;
    let mut remarks = Remarks::default();
    let containers = read::all(&value, &mut remarks);
    let topology = lans::topology(containers, site, hosts, &mut remarks);
    let diagnostics = remarks.verdict()?;
    Ok(Import { topology, diagnostics, report: Vec::new() })
}

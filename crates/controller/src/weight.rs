//! How much a host is told of a slice: what is said at once has a limit, and what exceeds it is refused before it counts, since
//! a host that cannot be told of one slice would be told of no other either.

use std::collections::BTreeMap;

use testyard_agent::desired;
use testyard_model::id::HostName;
use testyard_store::SliverState;

use crate::api::Refusal;
use crate::slice::{Slice, Sliver};

/// The most bytes that a host is told of one slice, reckoned here: three quarters of what is sent at once.
pub(crate) const MOST: usize = 48 << 20;

/// All that has no length of its own, SSH host keys among it.
const NODE: usize = 3 << 10;
const ACCOUNT: usize = 300;
const KEY: usize = 40;
const SERVICE: usize = 200;
const INTERFACE: usize = 600;
/// A name of an interface, in the table that all nodes share.
const NAME: usize = 150;

/// Refuses a change after which a host would be told too much of the slice, unless it was told no less before.
///
/// # Errors
/// [`Refusal::TooBig`], which says what to do.
pub(crate) fn weigh(old: Option<&Slice>, new: &Slice) -> Result<(), Refusal> {
    let heavy = weights(new).into_iter().find(|(host, weight)| {
        *weight > MOST && old.is_none_or(|old| weights(old).get(host).is_none_or(|before| before < weight))
    });
    let Some((host, weight)) = heavy else { return Ok(()) };
    Err(Refusal::TooBig(format!(
        "host {host} would have to be told {} MB about this slice's nodes, and {} MB are possible: have fewer nodes there, \
         shorter services and programs, or fewer SSH keys",
        weight / 1_000_000,
        MOST / 1_000_000
    )))
}

fn weights(slice: &Slice) -> BTreeMap<&HostName, usize> {
    let interfaces: usize = slice.networks.values().map(|network| network.interfaces_in_all()).sum();
    let mut weights = BTreeMap::new();
    let told = |sliver: &&std::sync::Arc<Sliver>| !matches!(sliver.state, SliverState::Leaving(_));
    for sliver in slice.slivers.iter().filter(told) {
        *weights.entry(&sliver.host).or_insert(interfaces * NAME) += weight(slice, sliver);
    }
    weights
}

fn weight(slice: &Slice, sliver: &Sliver) -> usize {
    let node: &desired::Node = &sliver.body.node;
    let accounts = node.accounts.iter().map(|account| {
        let keys = account.keys.iter().map(|key| KEY + key.size());
        ACCOUNT + keys.sum::<usize>()
    });
    let installs = node.services.installs.iter().map(|install| install.url.len() + install.path.len());
    // In JSON each byte of a command may be two.
    let executes = node.services.executes.iter().map(|execute| 2 * execute.command.len());
    let network = slice.networks.get(&sliver.document);
    let programs = network.map_or(&[][..], |network| network.programs(&sliver.client_id));
    let programs = programs.iter().map(|program| 2 * program.command.len());
    let services: usize = installs.chain(executes).chain(programs).map(|length| SERVICE + length).sum();
    let interfaces = network.map_or(0, |network| network.interfaces_at(&sliver.client_id));
    NODE + accounts.sum::<usize>() + services + INTERFACE * interfaces
}

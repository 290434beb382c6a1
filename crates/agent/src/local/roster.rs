//! What a host knows of its slices: the tasks of their nodes and links, and what those have said.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use testyard_fabric::links::SliceLinks;
use testyard_model::host_table::HostTable;
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_runtime::NodeKey;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::scheduled::Scheduled;
use crate::images::Images;
use crate::links::SliceLinksHandle;
use crate::node::task::{Context, Wanted};
use crate::node::wake::Wake;
use crate::{desired, observed};

pub(super) type Shared = Arc<Mutex<State>>;

#[derive(Default)]
pub(super) struct State {
    /// The controller has said what should be here; whatever else is marked may be removed.
    pub(super) synced: bool,
    /// The runtimes have been listed once; what they did not show is not there.
    pub(super) listed: bool,
    pub(super) slices: HashMap<SliceId, SliceEntry>,
    /// Slices that have no task, to be reported gone once nothing of them is found.
    pub(super) leaving: Vec<observed::Slice>,
    pub(super) watchers: Vec<mpsc::UnboundedSender<observed::Slice>>,
}

pub(super) struct SliceEntry {
    pub(super) revision: Revision,
    /// As its nodes have them.
    host_tables: Vec<HostTable>,
    /// In the order of the desired state.
    pub(super) nodes: Vec<(SliverId, NodeEntry)>,
    pub(super) links: SliceLinksHandle,
    /// What is asked for, where a schedule goes on changing it.
    pub(super) scheduled: Option<Scheduled>,
    /// Makes and ends the links, while there are any.
    pub(super) keeper: Option<JoinHandle<()>>,
}

pub(super) struct NodeEntry {
    pub(super) wanted: watch::Sender<Option<Wanted>>,
    pub(super) wake: Arc<Wake>,
    pub(super) seen: Option<Seen>,
    pub(super) task: JoinHandle<()>,
}

/// What a node's task has said.
pub(super) struct Seen {
    pub(super) node: observed::Node,
    /// Of which [`Wanted::issue`].
    pub(super) issue: u64,
}

// === impl NodeEntry ===

impl NodeEntry {
    /// How it stands to what is wanted of it now.
    fn observed(&self, sliver: SliverId) -> observed::Node {
        // A node that is not in a report counts as gone, and what it holds is given to others.
        let Some(Seen { node, issue }) = &self.seen else { return observed::Node::waiting(sliver) };
        let is_news = self.wanted.borrow().as_ref().is_none_or(|wanted| wanted.issue != *issue);
        observed::Node { converged: node.converged && !is_news, ..node.clone() }
    }
}

// === impl State ===

impl State {
    pub(super) fn tell(&mut self, slice: &observed::Slice) {
        self.watchers.retain(|watcher| watcher.send(slice.clone()).is_ok());
    }

    pub(super) fn node(&self, key: &NodeKey) -> Option<&NodeEntry> {
        let entry = self.slices.get(&key.slice)?;
        entry.nodes.iter().find(|(sliver, _)| *sliver == key.sliver).map(|(_, node)| node)
    }

    pub(super) fn has_sliver(&self, sliver: SliverId) -> bool {
        self.slices.values().any(|entry| entry.nodes.iter().any(|(id, _)| *id == sliver))
    }
}

impl SliceEntry {
    pub(super) fn new(revision: Revision) -> Self {
        let (host_tables, links) = (Vec::new(), SliceLinksHandle::new());
        Self { revision, host_tables, nodes: Vec::new(), links, scheduled: None, keeper: None }
    }

    /// Takes tables of names. One that was there before stays the same, so that nodes need not compare it.
    pub(super) fn share(&mut self, tables: Vec<HostTable>) {
        let before = std::mem::take(&mut self.host_tables);
        let kept =
            |table: HostTable| before.iter().find(|before| **before == table).cloned().unwrap_or(table);
        self.host_tables = tables.into_iter().map(kept).collect();
    }

    /// Where a node's names come from.
    pub(super) fn host_table(&self, node: &desired::Node) -> Option<(HostTable, u32)> {
        let named = node.network.named?;
        self.host_tables.get(named.table as usize).map(|table| (table.clone(), named.node))
    }

    pub(super) fn set_links(&mut self, context: &Arc<Context>, links: SliceLinks) {
        let slice = links.slice;
        let wanted = (!links.links.is_empty()).then_some(links);
        if wanted.is_none() && self.keeper.is_none() {
            return;
        }
        self.links.set(wanted);
        self.keeper.get_or_insert_with(|| self.links.start(Arc::clone(context), slice));
    }

    /// Nothing of it is left: no node, no link.
    pub(super) fn is_gone(&self) -> bool {
        self.nodes.is_empty() && (self.keeper.is_none() || self.links.seen() == observed::LinksSeen::None)
    }

    pub(super) fn observed(&self, slice: SliceId, images: &Images) -> observed::Slice {
        let nodes = self.nodes.iter().map(|(sliver, node)| node.observed(*sliver)).collect();
        let schedule = self.scheduled.as_ref().map(Scheduled::seen);
        let images = images.seen(slice);
        observed::Slice { slice, revision: self.revision, nodes, links: self.links.seen(), schedule, images }
    }
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // The state is only ever replaced piece by piece, so a panic elsewhere leaves it usable.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

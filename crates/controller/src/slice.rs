//! A slice as it is in memory: never changed in place, replaced as a whole once a change is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_agent::{desired, observed};
use testyard_model::id::{HostName, Revision, SliceId, SliceTag, SliverId};
use testyard_model::name::{ClientId, Login, SliverTypeName};
use testyard_model::state::Allocation;
use testyard_model::topology::OnFailure;
use testyard_model::urn::{SliceUrn, UserUrn};
use testyard_plan::Holding;
use testyard_store::{DocumentRow, LoadedSlice, SliceRow, SliverRow, SliverState, Versioned};

use crate::api::{Document, SliverEvent, Version};
use crate::network::{NETWORK_VERSION, Network};
use crate::places::Places;
use crate::settings::Settings;

/// The form of a sliver's `body` column.
const BODY_VERSION: u32 = 1;

/// Events of a sliver that are kept: the first, and the newest others.
const MOST_EVENTS: usize = 100;

/// A slice's life.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slice {
    pub(crate) id: SliceId,
    pub(crate) urn: SliceUrn,
    pub(crate) tag: SliceTag,
    pub(crate) revision: Revision,
    pub(crate) creator: UserUrn,
    pub(crate) created: Timestamp,
    pub(crate) documents: Vec<Arc<Document>>,
    /// Networks of those documents that have links, by their numbers.
    pub(crate) networks: BTreeMap<i64, Arc<Network>>,
    /// Living and leaving, in the order of allocation.
    pub(crate) slivers: Vec<Arc<Sliver>>,
    pub(crate) logins: BTreeMap<UserUrn, Login>,
}

/// A sliver, without what its host sees of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sliver {
    pub(crate) id: SliverId,
    pub(crate) number: i64,
    pub(crate) document: i64,
    pub(crate) client_id: ClientId,
    pub(crate) host: HostName,
    pub(crate) state: SliverState,
    pub(crate) expires: Timestamp,
    pub(crate) body: Body,
}

/// The part of a sliver that only the controller reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) sliver_type: SliverTypeName,
    pub(crate) sudo: bool,
    pub(crate) publish_exposed: bool,
    /// What its failure means for the whole.
    #[serde(default, skip_serializing_if = "OnFailure::is_fatal")]
    pub(crate) on_failure: OnFailure,
    /// What its host is given once it is provisioned.
    pub(crate) node: desired::Node,
    /// What callers did to it.
    pub(crate) events: Vec<SliverEvent>,
}

impl Body {
    /// Counts on from what its host has seen: that may have come further than this, where the store is one that was restored.
    pub(crate) fn catch_up(&mut self, seen: Option<&observed::Node>) {
        if let Some(seen) = seen {
            self.node.boot = self.node.boot.max(seen.boot);
            self.node.disk = self.node.disk.max(seen.disk);
        }
    }
}

// === impl Slice ===

impl Slice {
    /// A slice at its first revision, with nothing in it.
    pub(crate) fn begun(
        id: SliceId,
        urn: SliceUrn,
        tag: SliceTag,
        creator: UserUrn,
        created: Timestamp,
    ) -> Self {
        Self {
            id,
            urn,
            tag,
            revision: Revision(1),
            creator,
            created,
            documents: vec![],
            networks: BTreeMap::new(),
            slivers: vec![],
            logins: BTreeMap::new(),
        }
    }

    /// The same slice at its next revision, to be changed.
    pub(crate) fn next(&self) -> Self {
        Self { revision: self.revision.next(), ..self.clone() }
    }

    /// What a caller has seen who sees it now.
    pub(crate) fn version(slice: Option<&Self>) -> Version {
        slice.map_or(Version::None, |slice| Version::Of(slice.id, slice.revision))
    }

    /// Slivers that callers may see.
    pub(crate) fn living(&self, now: Timestamp) -> impl Iterator<Item = &Arc<Sliver>> {
        self.slivers.iter().filter(move |sliver| sliver.lives(now))
    }

    /// Whether no sliver of it is left but those that leave.
    pub(crate) fn ended(&self) -> bool {
        self.slivers.iter().all(|sliver| sliver.is_leaving())
    }

    /// When the next change of a link is to be taken back.
    pub(crate) fn next_revert(&self) -> Option<Timestamp> {
        self.networks.values().filter_map(|network| network.next_revert()).min()
    }

    /// Takes back changes of links whose time is over; of which links.
    pub(crate) fn revert(&mut self, now: Timestamp) -> BTreeSet<ClientId> {
        let mut links = BTreeSet::new();
        for network in self.networks.values_mut() {
            if let Some(reverted) = network.reverted(now) {
                links.extend(network.over(now).cloned());
                *network = Arc::new(reverted);
            }
        }
        links
    }

    /// Whether a document of another revision, with its network, is the one of this revision.
    pub(crate) fn has_same(&self, other: &Self, document: &Arc<Document>) -> bool {
        let network = |slice: &Self| slice.networks.get(&document.id).map(Arc::as_ptr);
        self.documents.iter().any(|known| Arc::ptr_eq(known, document)) && network(self) == network(other)
    }

    /// Changes the slivers named.
    pub(crate) fn edit(&mut self, ids: &BTreeSet<SliverId>, mut edit: impl FnMut(&mut Sliver)) {
        for sliver in self.slivers.iter_mut().filter(|sliver| ids.contains(&sliver.id)) {
            edit(Arc::make_mut(sliver));
        }
    }

    /// Takes slivers away from callers: those that a host knows of are leaving from now on, the others are gone.
    pub(crate) fn remove(&mut self, ids: &BTreeSet<SliverId>) {
        self.slivers.retain(|sliver| !ids.contains(&sliver.id) || sliver.state != SliverState::Allocated);
        let revision = self.revision;
        self.edit(ids, |sliver| {
            if sliver.state == SliverState::Provisioned {
                sliver.state = SliverState::Leaving(revision);
            }
        });
        self.forget_documents();
    }

    /// Forgets slivers whose host has reported them gone.
    pub(crate) fn forget(&mut self, gone: &BTreeSet<SliverId>) {
        self.slivers.retain(|sliver| !(sliver.is_leaving() && gone.contains(&sliver.id)));
    }

    fn forget_documents(&mut self) {
        let used: BTreeSet<i64> =
            self.slivers.iter().filter(|sliver| !sliver.is_leaving()).map(|sliver| sliver.document).collect();
        self.documents.retain(|document| used.contains(&document.id));
        self.networks.retain(|document, _| used.contains(document));
    }

    /// What should be of it on a host.
    pub(crate) fn desired(&self, host: &HostName, settings: &Settings) -> desired::Slice {
        let given = || self.slivers.iter().filter(|sliver| sliver.state == SliverState::Provisioned);
        let here = || given().filter(|sliver| sliver.host == *host);
        let node = |sliver: &Arc<Sliver>| {
            let of_document = self.networks.iter().zip(0..).find(|((id, _), _)| **id == sliver.document);
            let Some(((_, network), table)) = of_document else { return sliver.body.node.clone() };
            let programs = network.programs(&sliver.client_id).to_vec();
            let network = network.node(&sliver.client_id, table);
            desired::Node { network, programs, ..sliver.body.node.clone() }
        };
        let tunnel_of = |host: &HostName| settings.host(host).and_then(|host| host.tunnel);
        let nodes_of = |document: i64| -> HashMap<&ClientId, SliverId> {
            let nodes = here().filter(|sliver| sliver.document == document);
            nodes.map(|sliver| (&sliver.client_id, sliver.id)).collect()
        };
        let places_of = |document: i64| {
            let elsewhere =
                given().filter(|sliver| sliver.document == document).filter(|sliver| sliver.host != *host);
            let place = |sliver: &Arc<Sliver>| (sliver.id, tunnel_of(&sliver.host));
            Places {
                here: nodes_of(document),
                local: tunnel_of(host),
                elsewhere: elsewhere.map(|sliver| (&sliver.client_id, place(sliver))).collect(),
            }
        };
        let links =
            self.networks.iter().flat_map(|(document, network)| network.links_of(&places_of(*document)));
        // A host keeps one clock for a slice: of several requests with schedules the first one's runs.
        let scheduled = self.networks.iter().find(|(_, network)| !network.run().0.is_empty());
        let environment = self.networks.values().flat_map(|network| network.environment());
        let tables = self.networks.values().map(|network| network.host_table());
        desired::Slice {
            slice: self.id,
            tag: self.tag,
            name: self.urn.name().to_owned(),
            about: desired::About {
                urn: self.urn.clone(),
                creator: self.creator.clone(),
                testbed: settings.authority().clone(),
            },
            revision: self.revision,
            nodes: here().map(node).collect(),
            host_tables: if here().next().is_some() { tables.collect() } else { Vec::new() },
            links: links.collect(),
            environment: environment.cloned().collect(),
            schedule: scheduled.and_then(|(document, network)| network.run_of(&nodes_of(*document))),
        }
    }

    /// Hosts that know of it, or are to.
    pub(crate) fn hosts(&self) -> BTreeSet<&HostName> {
        self.slivers
            .iter()
            .filter(|sliver| sliver.state != SliverState::Allocated)
            .map(|sliver| &sliver.host)
            .collect()
    }

    pub(crate) fn row(&self) -> SliceRow {
        SliceRow {
            id: self.id,
            urn: self.urn.clone(),
            tag: self.tag,
            revision: self.revision,
            ended: self.ended(),
            creator: self.creator.clone(),
            created: self.created,
        }
    }

    /// The slice of its rows, without what hosts saw.
    pub(crate) fn load(rows: &LoadedSlice) -> Result<Self, String> {
        let SliceRow { id, urn, tag, revision, creator, created, .. } = rows.slice.clone();
        let document = |row: &DocumentRow| Arc::new(Document { id: row.number, text: row.text.clone() });
        let network = |row: &DocumentRow| {
            let text = row.network.as_deref()?;
            let network = Versioned::<Network>::read(NETWORK_VERSION, text);
            let network = network.map_err(|detail| format!("network of request {}: {detail}", row.number));
            Some(network.map(|network| (row.number, Arc::new(network))))
        };
        let slivers =
            rows.slivers.iter().map(|(row, _)| Sliver::load(row).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Self {
            id,
            urn,
            tag,
            revision,
            creator,
            created,
            documents: rows.documents.iter().map(document).collect(),
            networks: rows.documents.iter().filter_map(network).collect::<Result<_, _>>()?,
            slivers,
            logins: rows.logins.iter().map(|row| (row.user.clone(), row.login.clone())).collect(),
        })
    }
}

// === impl Sliver ===

impl Sliver {
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.state, SliverState::Leaving(_))
    }

    pub(crate) fn lives(&self, now: Timestamp) -> bool {
        !self.is_leaving() && self.expires > now
    }

    pub(crate) fn allocation(&self) -> Allocation {
        match self.state {
            SliverState::Allocated => Allocation::Allocated,
            SliverState::Provisioned => Allocation::Provisioned,
            SliverState::Leaving(_) => Allocation::Unallocated,
        }
    }

    /// What it holds of its host.
    pub(crate) fn holding(&self) -> Holding {
        let address = self.body.node.address;
        Holding { ipv4: Some(address.ipv4), ipv6: address.ipv6, ports: self.ports().collect() }
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.body.node.forwards.iter().map(|forward| forward.host_port)
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let address = self.body.node.address;
        std::iter::once(IpAddr::V4(address.ipv4)).chain(address.ipv6.map(IpAddr::V6))
    }

    /// Notes what a caller did to it.
    pub(crate) fn note(&mut self, what: &str, at: Timestamp) {
        push_event(&mut self.body.events, what, at);
    }

    pub(crate) fn row(&self) -> SliverRow {
        SliverRow {
            id: self.id,
            number: self.number,
            document: self.document,
            client_id: self.client_id.clone(),
            host: self.host.clone(),
            state: self.state,
            expires: self.expires,
            body: Versioned::write(BODY_VERSION, &self.body),
        }
    }

    fn load(row: &SliverRow) -> Result<Self, String> {
        let body = Versioned::read(BODY_VERSION, &row.body)
            .map_err(|detail| format!("sliver {}: {detail}", row.id))?;
        Ok(Self {
            id: row.id,
            number: row.number,
            document: row.document,
            client_id: row.client_id.clone(),
            host: row.host.clone(),
            state: row.state,
            expires: row.expires,
            body,
        })
    }
}

/// Adds to a list of events that does not grow for ever: the first and the newest stay.
pub(crate) fn push_event(events: &mut Vec<SliverEvent>, what: &str, at: Timestamp) {
    if events.len() >= MOST_EVENTS {
        events.remove(1);
    }
    events.push(SliverEvent { what: what.to_owned(), at });
}

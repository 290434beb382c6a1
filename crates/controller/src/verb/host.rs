//! Hosts, for their operators.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use testyard_model::id::{HostName, SliverId};
use testyard_model::urn::SliceUrn;
use testyard_plan::Usage;
use testyard_store::{AuditObject, Change, ChangeError, WriteError};

use crate::api::{Caller, HostOffer, HostReport, Refusal};
use crate::commit::Step;
use crate::core::Core;
use crate::open::DRAINED;
use crate::reservation::Reservation;
use crate::settings::HostSettings;
use crate::state::State;

impl Core {
    pub(crate) fn host_reports(&self) -> Vec<HostReport> {
        let (settings, state) = (self.settings.load(), self.shared.read());
        let mut reports: Vec<HostReport> = settings.hosts().iter().map(|host| report(&state, host)).collect();
        // Something may live on hosts that were taken out of the configuration.
        let used: BTreeSet<&HostName> =
            state.slices().flat_map(|slice| slice.slivers.iter().map(|sliver| &sliver.host)).collect();
        let unlisted = used.into_iter().filter(|name| settings.host(name).is_none());
        reports.extend(unlisted.map(|name| unlisted_report(&state, name)));
        reports
    }

    pub(crate) async fn drain_host(
        self: &Arc<Self>,
        caller: &Caller,
        host: &HostName,
        drained: bool,
    ) -> Result<bool, Refusal> {
        self.admit_shut_down(caller)?;
        if self.settings.load().host(host).is_none() {
            return Err(Refusal::NotFound(format!("there is no host {host} in the configuration")));
        }
        // What is written is the whole list: two at a time must not write each other's away.
        let _turn = self.draining.lock().await;
        let mut all = self.shared.read().drained.clone();
        let is_new = if drained { all.insert(host.clone()) } else { all.remove(host) };
        let text = serde_json::to_string(&all).map_err(|error| self.internal("drain", &error))?;
        let core = Arc::clone(self);
        let operation = if drained { "drain" } else { "undo drain" };
        let row = caller.did(self.clock.now(), AuditObject::Host(host.clone()), operation, String::new());
        let write = move |change: &Change<'_>| {
            change.put_meta(DRAINED, &text)?;
            if is_new { change.audit(&row) } else { Ok(()) }
        };
        let committed = move |&(): &()| core.shared.write().drained = all;
        let written: Result<(), WriteError<ChangeError>> = self.store.write(write, committed).await;
        written.map_err(|error| self.internal("drain", &error))?;
        tracing::info!(%host, drained, user = %caller.user, "host drained, or no longer");
        self.changed();
        Ok(is_new)
    }

    pub(crate) async fn give_up_host(
        self: &Arc<Self>,
        caller: &Caller,
        host: &HostName,
    ) -> Result<usize, Refusal> {
        self.admit_shut_down(caller)?;
        let mut forgotten = 0;
        loop {
            // One life after the other: what ends meanwhile is not there any more.
            let next = {
                let state = self.shared.read();
                let mut lives = state.slices();
                lives.find(|life| life.slivers.iter().any(|s| s.host == *host)).map(|life| life.urn.clone())
            };
            let Some(urn) = next else { break };
            forgotten += self.forget_on(caller, host, &urn).await?;
        }
        tracing::warn!(%host, slivers = forgotten, user = %caller.user, "host given up");
        Ok(forgotten)
    }

    async fn forget_on(
        self: &Arc<Self>,
        caller: &Caller,
        host: &HostName,
        urn: &SliceUrn,
    ) -> Result<usize, Refusal> {
        let turn = self.turns.take(urn).await;
        let steps: Vec<(usize, Step)> = {
            let state = self.shared.read();
            let lives = state.slices().filter(|life| life.urn == *urn);
            lives
                .filter_map(|old| {
                    let lost: BTreeSet<SliverId> =
                        old.slivers.iter().filter(|s| s.host == *host).map(|s| s.id).collect();
                    let mut new = old.next();
                    new.remove(&lost);
                    new.forget(&lost);
                    let step = Step::new(old, new, "give up host", host.to_string());
                    (!lost.is_empty()).then_some((lost.len(), step))
                })
                .collect()
        };
        let mut forgotten = 0;
        for (slivers, step) in steps {
            let reservation = Reservation::new(self.shared.clone());
            self.commit(step, reservation, Some(caller), Arc::clone(&turn))
                .await
                .map_err(|refusal| refusal.unwrap_or_else(|| Refusal::Busy("try again later".to_owned())))?;
            forgotten += slivers;
        }
        Ok(forgotten)
    }
}

/// How many nodes of which slice are on a host.
fn nodes_on(state: &State, name: &HostName) -> BTreeMap<SliceUrn, u32> {
    let mut nodes: BTreeMap<SliceUrn, u32> = BTreeMap::new();
    for slice in state.slices() {
        let here = slice.slivers.iter().filter(|sliver| sliver.host == *name).count();
        if here > 0 {
            *nodes.entry(slice.urn.clone()).or_default() += u32::try_from(here).unwrap_or(u32::MAX);
        }
    }
    nodes
}

/// Of a host that the configuration does not have any more.
fn unlisted_report(state: &State, name: &HostName) -> HostReport {
    let health = state.hosts.get(name).cloned().unwrap_or_default();
    let offer =
        HostOffer { name: name.clone(), capacity: 0, free: 0, healthy: health.healthy, location: None };
    HostReport {
        offer,
        public_name: String::new(),
        tunnel: None,
        drained: true,
        listed: false,
        engines: health.engines,
        away: health.away,
        limits: health.limits,
        nodes: nodes_on(state, name),
    }
}

fn report(state: &State, host: &HostSettings) -> HostReport {
    let (resources, name) = (&host.resources, host.resources.name());
    let unused = Usage::default();
    let health = state.hosts.get(name).cloned().unwrap_or_default();
    HostReport {
        offer: HostOffer {
            name: name.clone(),
            capacity: resources.capacity(),
            free: state.usage.get(name).unwrap_or(&unused).free(resources),
            healthy: health.healthy,
            location: host.location.clone(),
        },
        public_name: host.public_name.clone(),
        tunnel: host.tunnel,
        drained: state.drained.contains(name),
        listed: true,
        engines: health.engines,
        away: health.away,
        limits: health.limits,
        nodes: nodes_on(state, name),
    }
}

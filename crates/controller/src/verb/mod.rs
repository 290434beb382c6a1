//! One file a verb. Each works out what a slice becomes and changes nothing itself.

mod allocate;
mod capture;
mod delete;
mod host;
mod link;
mod offer;
mod perform;
mod provision;
mod read;
mod renew;
mod replay;
mod shutdown;
mod sketch;
mod update;
mod users;
mod verify;

use std::collections::BTreeSet;
use std::sync::Arc;

use testyard_model::id::SliverId;
use testyard_model::name::ClientId;
use testyard_model::tunnel::Vni;
use testyard_model::urn::SliceUrn;
use testyard_plan::network::parts::{NetworkLink, NetworkMember};

pub(crate) use verify::Verifying;

use crate::api::{Caller, Refusal, SliceView};
use crate::commit::{Context, Proposal};
use crate::core::Core;
use crate::entropy::uuid;
use crate::network::Numbers;
use crate::reservation::Reservation;
use crate::slice::Slice;
use crate::state::State;
use crate::view::{Told, slice_view};

/// Numbers for the links of a change.
struct Fresh<'a> {
    core: &'a Core,
    state: &'a mut State,
    reservation: &'a mut Reservation,
    /// Nodes on hosts that cannot be told anything now.
    away: BTreeSet<ClientId>,
    /// Those of them that leave, or have left.
    ghosts: BTreeSet<ClientId>,
}

impl Numbers for Fresh<'_> {
    fn sliver(&mut self) -> SliverId {
        SliverId::from_uuid(uuid(&*self.core.randomness))
    }

    fn vni(&mut self) -> Vni {
        self.reservation.vni(self.state)
    }

    fn is_haunted(&self, before: &NetworkLink, now: &NetworkLink) -> bool {
        let stays = |old: &NetworkMember| {
            now.members.iter().any(|new| new.node == old.node && new.interface == old.interface)
        };
        before
            .members
            .iter()
            .any(|old| self.ghosts.contains(&old.node) || (self.away.contains(&old.node) && !stays(old)))
    }
}

impl Core {
    /// What most verbs are: a caller who may, a change in the slice's turn, and the slice as it is then.
    async fn change_and_show(
        self: &Arc<Self>,
        slice: &SliceUrn,
        caller: &Caller,
        verb: impl FnMut(Context<'_>) -> Result<Proposal<Told>, Refusal>,
    ) -> Result<SliceView, Refusal> {
        self.admit(caller, slice)?;
        let (changed, told) = self.change(slice, caller, verb).await?;
        Ok(self.show(slice, changed.as_deref(), told))
    }

    /// What is shown of a slice that was changed.
    fn show(&self, slice: &SliceUrn, changed: Option<&Slice>, told: Told) -> SliceView {
        let (state, settings) = (self.shared.read(), self.settings.load());
        slice_view(&state, &settings, slice, changed, told, self.clock.now())
    }
}

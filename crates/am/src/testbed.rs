//! What this front door needs of a testbed. The controller is one; tests script another.

use async_trait::async_trait;
use testyard_controller::Controller;
use testyard_controller::api::{
    Allocate, Caller, Effort, Offer, Perform, Provision, Refusal, Renew, Selection, SliceView,
};
use testyard_model::urn::SliceUrn;

/// The methods of the controller, each asked by a caller who has been authorised.
#[async_trait]
pub trait Testbed: Send + Sync + 'static {
    /// What there is and what is free of it.
    async fn offer(&self) -> Result<Offer, Refusal>;
    /// Reserves.
    async fn allocate(&self, caller: &Caller, call: Allocate) -> Result<SliceView, Refusal>;
    /// Gives what is reserved.
    async fn provision(&self, caller: &Caller, call: Provision) -> Result<SliceView, Refusal>;
    /// What the slivers are. A slice that has none is [`Refusal::NotFound`] or an empty view.
    async fn describe(&self, caller: &Caller, selection: Selection) -> Result<SliceView, Refusal>;
    /// How the slivers are.
    async fn status(
        &self,
        caller: &Caller,
        selection: Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal>;
    /// Acts on slivers.
    async fn perform(&self, caller: &Caller, call: Perform) -> Result<SliceView, Refusal>;
    /// Moves the end of slivers.
    async fn renew(&self, caller: &Caller, call: Renew) -> Result<SliceView, Refusal>;
    /// Takes slivers back.
    async fn delete(
        &self,
        caller: &Caller,
        selection: Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal>;
    /// Stops everything of a slice and closes it to its users; whether nothing of it runs any more.
    async fn shutdown_slice(&self, caller: &Caller, slice: SliceUrn) -> Result<bool, Refusal>;
}

#[async_trait]
impl Testbed for Controller {
    async fn offer(&self) -> Result<Offer, Refusal> {
        Ok(Self::offer(self))
    }

    async fn allocate(&self, caller: &Caller, call: Allocate) -> Result<SliceView, Refusal> {
        Self::allocate(self, caller, call).await
    }

    async fn provision(&self, caller: &Caller, call: Provision) -> Result<SliceView, Refusal> {
        Self::provision(self, caller, call).await
    }

    async fn describe(&self, caller: &Caller, selection: Selection) -> Result<SliceView, Refusal> {
        Self::describe(self, caller, selection).await
    }

    async fn status(
        &self,
        caller: &Caller,
        selection: Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal> {
        Self::status(self, caller, selection, effort).await
    }

    async fn perform(&self, caller: &Caller, call: Perform) -> Result<SliceView, Refusal> {
        Self::perform(self, caller, call).await
    }

    async fn renew(&self, caller: &Caller, call: Renew) -> Result<SliceView, Refusal> {
        Self::renew(self, caller, call).await
    }

    async fn delete(
        &self,
        caller: &Caller,
        selection: Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal> {
        Self::delete(self, caller, selection, effort).await
    }

    async fn shutdown_slice(&self, caller: &Caller, slice: SliceUrn) -> Result<bool, Refusal> {
        Self::shutdown_slice(self, caller, slice).await
    }
}

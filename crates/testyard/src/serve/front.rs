//! The controller as the AM API's testbed.

use std::sync::Arc;

use async_trait::async_trait;
use testyard_am::Testbed;
use testyard_controller::Controller;
use testyard_controller::api::{
    Allocate, Caller, Effort, Offer, Perform, Provision, Refusal, Renew, Selection, SliceView,
};
use testyard_model::urn::SliceUrn;

pub(super) struct Door(pub(super) Arc<Controller>);

#[async_trait]
impl Testbed for Door {
    async fn offer(&self) -> Result<Offer, Refusal> {
        Ok(self.0.offer())
    }

    async fn allocate(&self, caller: &Caller, call: Allocate) -> Result<SliceView, Refusal> {
        self.0.allocate(caller, call).await
    }

    async fn provision(&self, caller: &Caller, call: Provision) -> Result<SliceView, Refusal> {
        self.0.provision(caller, call).await
    }

    async fn describe(&self, caller: &Caller, selection: Selection) -> Result<SliceView, Refusal> {
        self.0.describe(caller, selection).await
    }

    async fn status(
        &self,
        caller: &Caller,
        selection: Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal> {
        self.0.status(caller, selection, effort).await
    }

    async fn perform(&self, caller: &Caller, call: Perform) -> Result<SliceView, Refusal> {
        self.0.perform(caller, call).await
    }

    async fn renew(&self, caller: &Caller, call: Renew) -> Result<SliceView, Refusal> {
        self.0.renew(caller, call).await
    }

    async fn delete(
        &self,
        caller: &Caller,
        selection: Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal> {
        self.0.delete(caller, selection, effort).await
    }

    async fn shutdown_slice(&self, caller: &Caller, slice: SliceUrn) -> Result<bool, Refusal> {
        self.0.shutdown_slice(caller, slice).await
    }
}

//! What operators can have done to hosts beside what the controller does: their agents are let in, or no longer.

use async_trait::async_trait;
use testyard_model::id::HostName;

use crate::api::Invitation;

/// Lets agents of hosts in. Errors are sentences for operators.
#[async_trait]
pub trait Invite: Send + Sync {
    /// Makes a token for a host; one that was made before is good no more.
    async fn invite(&self, host: &HostName) -> Result<Invitation, String>;

    /// The certificates and tokens of a host are good no more, and its agent is sent away. Whether there were any.
    async fn revoke(&self, host: &HostName) -> Result<bool, String>;
}

/// Of a testbed whose hosts have no agents elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct NoAgents;

#[async_trait]
impl Invite for NoAgents {
    async fn invite(&self, host: &HostName) -> Result<Invitation, String> {
        Err(format!("there is no host {host} with an agent elsewhere"))
    }

    async fn revoke(&self, _: &HostName) -> Result<bool, String> {
        Ok(false)
    }
}

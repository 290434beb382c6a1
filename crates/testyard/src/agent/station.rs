//! This machine as the host of an agent: opened when the testbed first says how, and anew when it says otherwise.

use std::sync::Arc;

use testyard_agent::remote::RemoteFacts;
use testyard_agent::{Host as _, HostConfig, LocalHost};
use uuid::Uuid;

use crate::daemon::claim::{self, Claim};
use crate::machine::{self, Folders};

/// This machine.
pub(super) struct Station {
    folders: Folders,
    facts: Arc<RemoteFacts>,
    host: Option<(HostConfig, Arc<LocalHost>)>,
    claim: Option<Claim>,
}

impl Station {
    pub(super) fn new(folders: Folders, facts: Arc<RemoteFacts>) -> Self {
        Self { folders, facts, host: None, claim: None }
    }

    pub(super) fn facts(&self) -> &RemoteFacts {
        &self.facts
    }

    /// The host, run as the testbed says now. Its nodes do not notice when that is another way than before.
    pub(super) async fn host(&mut self, config: &HostConfig) -> anyhow::Result<Arc<LocalHost>> {
        if let Some((known, host)) = &mut self.host {
            if (HostConfig { pool: config.pool.clone(), ..known.clone() }) == *config {
                host.set_pool(config.pool.clone());
                *known = config.clone();
                return Ok(Arc::clone(host));
            }
            tracing::info!("the testbed has this host run in another way");
            host.shut_down().await;
            self.host = None;
        }
        self.claim = None;
        if !config.pretends {
            self.claim = Some(claim::claim(&config.instance)?);
        }
        // Before anything is made by it.
        machine::remember(config, &self.folders)?;
        let logins = machine::keep_logins(&config.registries, &self.folders.run)?;
        let facts = Arc::clone(&self.facts) as _;
        let host = machine::open(config, &self.folders, logins, facts).await?;
        self.host = Some((config.clone(), Arc::clone(&host)));
        Ok(host)
    }

    /// Ends what is done here; nodes run on.
    pub(super) async fn shut_down(&mut self) {
        if let Some((_, host)) = self.host.take() {
            host.shut_down().await;
        }
        self.claim = None;
    }
}

/// A number for this run of the agent.
pub(super) fn instance() -> Uuid {
    Uuid::new_v4()
}

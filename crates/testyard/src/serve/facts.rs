//! What nodes may know of themselves: the controller knows it, the AM API has the words.

use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::Timestamp;
use testyard_agent::{Fact, Facts, NoFact};
use testyard_am::{AmSettings, facts};
use testyard_controller::Controller;
use testyard_model::id::{SliceId, SliverId};

/// Who answers. Hosts are opened before the controller that they ask, so it is told of it later.
pub(super) struct NodeFacts {
    am: Arc<ArcSwap<AmSettings>>,
    controller: OnceLock<Weak<Controller>>,
}

impl NodeFacts {
    pub(super) fn new(am: Arc<ArcSwap<AmSettings>>) -> Arc<Self> {
        Arc::new(Self { am, controller: OnceLock::new() })
    }

    /// From now on this controller is asked.
    pub(super) fn ask(&self, controller: &Arc<Controller>) {
        // There is one controller in the life of the program.
        let _ = self.controller.set(Arc::downgrade(controller));
    }
}

#[async_trait]
impl Facts for NodeFacts {
    async fn fact(&self, slice: SliceId, sliver: SliverId, fact: Fact) -> Result<String, NoFact> {
        let settings = self.am.load_full();
        if fact == Fact::GetVersion {
            return Ok(facts::get_version(&settings));
        }
        let controller = self.controller.get().and_then(Weak::upgrade);
        let controller =
            controller.ok_or_else(|| NoFact("the testbed is starting or ending; try again".to_owned()))?;
        let around = controller
            .around(slice, sliver)
            .ok_or_else(|| NoFact("this node is no longer part of its slice".to_owned()))?;
        Ok(match fact {
            Fact::Manifest => facts::manifest(around, &settings, Timestamp::now()).await,
            Fact::SliverStatus => facts::sliver_status(&around.view),
            Fact::GetVersion | Fact::Status => facts::status(&around.view),
        })
    }
}

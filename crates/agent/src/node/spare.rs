//! Taking a spare of the pool instead of making a node.

use testyard_runtime::{NodeSpec, PowerSeen, Runtime};

use crate::ledger::{Boot, Record};
use crate::node::task::Task;
use crate::observed::Stage;
use crate::pool::Make;

impl Task {
    /// Takes a spare that is what this node would be; false if there is none, and the node has to be made. What is then
    /// missing (interface, name, accounts, keys) is missing in a node that was found running, too: the next steps are
    /// the same.
    pub(super) async fn take_spare(&mut self, runtime: &dyn Runtime, spec: &NodeSpec, boot: u32) -> bool {
        let make = Make {
            runtime: runtime.kind(),
            image: spec.image.id.clone(),
            limits: spec.limits,
            privileges: spec.privileges.clone(),
            guest: runtime.guest(),
        };
        let context = std::sync::Arc::clone(&self.context);
        let Some(taken) = context.pool.take(&spec.image.name, &make) else { return false };
        let power = match runtime.hand_over(&taken.key, &spec.key).await {
            Ok(power) => power,
            Err(error) => {
                // It may have been handed over all the same: making the node finds it then.
                tracing::info!(%error, "a spare could not be taken");
                return false;
            }
        };
        tracing::debug!(spare = %taken.key, node = %spec.key, "taken from the pool");
        taken.handed_over();
        self.reached(Stage::Created);
        self.reached(Stage::Started);
        let since = match &power {
            PowerSeen::Running(running) => Some(running.since),
            PowerSeen::Created | PowerSeen::Stopped { .. } => None,
        };
        self.remember(Record {
            slice: self.slice,
            disk: spec.key.disk,
            image: spec.image.clone(),
            url: None,
            boot: Some(Boot { counter: boot, since }),
            timeline: self.timeline.clone(),
            ended: None,
        });
        self.facts.disks.insert(spec.key.disk, power);
        true
    }
}

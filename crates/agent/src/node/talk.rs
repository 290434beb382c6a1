//! What a node's guest is told, and what it has to say.

use testyard_fabric::Attachment;
use testyard_fabric::links::NodePorts;
use testyard_guest_protocol as guest;
use tokio::time::Instant;

use crate::facts::Asker;
use crate::guest::Heard;
use crate::ledger::Record;
use crate::node::inside::{facts, inside};
use crate::node::task::{Connection, SILENCE, Task, Wanted};
use crate::observed::Stage;

impl Task {
    pub(super) fn connection_of(&self, wanted: &Wanted) -> Connection {
        let node = &wanted.node;
        let control = Attachment {
            slice: self.slice,
            tag: wanted.tag,
            sliver: self.sliver,
            address: node.address,
            forwards: node.forwards.clone(),
        };
        let ports = NodePorts {
            node: self.sliver,
            ports: node.network.ports.clone(),
            routes: node.network.routes.clone(),
            forwarding: node.network.forwarding,
        };
        Connection { control, ports }
    }

    /// Who answers what the node asks in this boot.
    pub(super) fn asker(&self) -> Asker {
        Asker::new(self.context.facts.clone(), self.slice, self.sliver)
    }

    /// Tells the guest what the inside should be, if that is news.
    ///
    /// # Errors
    /// If it is more than a message can hold; the guest keeps what it was told before.
    pub(super) fn tell(&mut self, wanted: &Wanted) -> Result<(), String> {
        let (Some(conversation), Some(image)) = (&self.conversation, &self.image) else { return Ok(()) };
        let go = self.is_connected(wanted.node.disk);
        let domain = format!("{}.{}", wanted.slice_name.to_lowercase(), self.context.domain);
        let servers = &self.context.name_servers;
        let limits = self.context.install_limits;
        let mut inside = inside(&wanted.node, wanted.names(), &domain, &image.config, servers, limits, go);
        let desired = &mut inside.desired;
        desired.environment = wanted.environment.to_vec();
        desired.run = wanted.plays.run;
        desired.scheduled.clone_from(&wanted.plays.programs);
        desired.facts = Some(facts(&wanted.node, &wanted.about, self.context.facts.is_some()));
        let last = self.told.as_ref().map_or(0, |told| told.desired.revision);
        desired.revision = last;
        if self.told.as_ref() != Some(&inside) {
            // Counting from the clock keeps revisions growing over restarts of the agent.
            inside.desired.revision =
                u64::try_from((self.context.now)().as_millisecond()).unwrap_or(0).max(last + 1);
            if let Err(error) = guest::encode(&inside.whole()) {
                return Err(format!(
                    "what is asked for inside the node is too much ({error}, at most {} are possible): shorten its \
                     services and programs, or the users' keys",
                    guest::MAX_MESSAGE
                ));
            }
            conversation.tell(inside.clone());
            self.told = Some(inside);
            self.told_accounts = wanted.node.accounts_revision;
        }
        Ok(())
    }

    /// What the guest was told last, but for names.
    pub(super) fn told(&self) -> Option<&guest::Desired> {
        self.told.as_ref().map(|told| &told.desired)
    }

    /// Whether the guest knows what it should be and says nothing of the programs in it.
    pub(super) fn is_old_guest(&self) -> bool {
        let (Some(report), Some(told)) = (&self.doing.heard.report, self.told()) else { return false };
        report.revision == told.revision && report.scheduled.is_empty() && !told.scheduled.is_empty()
    }

    pub(super) fn hear(&mut self) {
        let Some(conversation) = &self.conversation else { return };
        self.doing.heard = conversation.heard();
        if self.doing.heard.spoken {
            self.silent_from = None;
            self.doing.silent = false;
            self.reached(Stage::GuestUp);
        }
        let services = self.told().map(|told| told.installs.len() + told.executes.len());
        if let (Some(report), Some(services)) = (&mut self.doing.heard.report, services) {
            report.services.truncate(services);
        }
        let Some(report) = self.doing.heard.report.clone() else { return };
        let current = self.told().is_some_and(|told| told.revision == report.revision);
        if report.stage >= guest::Stage::Prepared {
            self.reached(Stage::Prepared);
        }
        if report.ssh {
            self.reached(Stage::SshUp);
        }
        if current && report.ssh {
            self.accounts_done = self.told_accounts;
        }
        if report.stage == guest::Stage::Ready
            && report.ssh
            && self.reached(Stage::Ready)
            && let Some(record) = self.facts.record.clone()
        {
            self.remember(Record { timeline: self.timeline.clone(), ..record });
        }
    }

    pub(super) fn fresh_conversation(&mut self) {
        self.told = None;
        self.doing.heard = Heard::default();
        self.doing.silent = false;
        self.silent_from = Some(Instant::now() + SILENCE);
    }
}

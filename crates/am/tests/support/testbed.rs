//! A testbed that pretends: slivers are rows in memory, ready as soon as they are provisioned. What it is asked is
//! written down, and what it answers can be scripted.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use testyard_agent::observed;
use testyard_am::Testbed;
use testyard_controller::api::{
    Allocate, Caller, Document, Effort, HostOffer, Location, Offer, Perform, Provision, Refusal, Renew,
    Selection, SliceView, SliverEvent, SliverView,
};
use testyard_fabric::ControlAddress;
use testyard_guest_protocol::{ProgramState, ServiceId, ServiceReport, ServiceState};
use testyard_model::account::Account;
use testyard_model::id::SliverId;
use testyard_model::service::Services;
use testyard_model::state::{Action, Allocation, Operational};
use testyard_model::urn::{SliceUrn, SliverUrn};
use testyard_testkit::kinds::plain;
use uuid::Uuid;

#[derive(Default)]
pub struct FakeTestbed {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slices: BTreeMap<String, SliceView>,
    shut_down: Vec<SliceUrn>,
    /// Answered once, instead of what would be.
    scripted: Option<Script>,
    calls: Vec<(&'static str, Caller)>,
}

pub enum Script {
    Refuse(Refusal),
    Panic,
    /// Wait for the second after the first has been told.
    Wait(tokio::sync::oneshot::Sender<()>, tokio::sync::oneshot::Receiver<()>),
}

impl FakeTestbed {
    pub fn script(&self, script: Script) {
        self.state().scripted = Some(script);
    }

    pub fn calls(&self) -> Vec<(&'static str, Caller)> {
        self.state().calls.clone()
    }

    /// Nothing has been asked of it, or was since this was last called.
    pub fn untouched(&self) -> bool {
        std::mem::take(&mut self.state().calls).is_empty()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn begin(&self, method: &'static str, caller: &Caller) -> Result<(), Refusal> {
        let script = {
            let mut state = self.state();
            state.calls.push((method, caller.clone()));
            state.scripted.take()
        };
        match script {
            None => Ok(()),
            Some(Script::Refuse(refusal)) => Err(refusal),
            Some(Script::Panic) => panic!("scripted"),
            Some(Script::Wait(begun, go)) => {
                begun.send(()).unwrap();
                let _ = go.await;
                Ok(())
            }
        }
    }

    /// The slivers of a selection, changed by `change`.
    fn select(
        &self,
        selection: &Selection,
        effort: Effort,
        mut change: impl FnMut(&mut SliverView),
    ) -> Result<SliceView, Refusal> {
        let (slice, named) = match selection {
            Selection::Slice(slice) => (slice, None),
            Selection::Slivers { slice, slivers } => (slice, Some(slivers)),
        };
        let mut state = self.state();
        if state.shut_down.contains(slice) {
            return Err(Refusal::ShutDown(slice.clone()));
        }
        let unknown = |what: String| Refusal::NotFound(format!("{what} is not here"));
        let view = state.slices.get_mut(&slice.to_string()).ok_or_else(|| unknown(slice.to_string()))?;
        let mut missing = Vec::new();
        for urn in named.into_iter().flatten() {
            if !view.slivers.iter().any(|sliver| sliver.urn == *urn) {
                match effort {
                    Effort::AllOrNothing => return Err(unknown(urn.to_string())),
                    Effort::Best => missing.push((urn.clone(), format!("{urn} is not here"))),
                }
            }
        }
        let mut selected = Vec::new();
        for sliver in &mut view.slivers {
            if named.is_none_or(|named| named.contains(&sliver.urn)) {
                change(sliver);
                selected.push(sliver.clone());
            }
        }
        let answer = SliceView { slivers: selected, missing, ..view.clone() };
        view.slivers.retain(|sliver| sliver.allocation != Allocation::Unallocated);
        if view.slivers.is_empty() {
            let urn = slice.to_string();
            state.slices.remove(&urn);
        }
        Ok(answer)
    }
}

#[async_trait]
impl Testbed for FakeTestbed {
    async fn offer(&self) -> Result<Offer, Refusal> {
        let host = |name: &str, free, healthy| HostOffer {
            name: name.parse().unwrap(),
            capacity: 20,
            free,
            healthy,
            location: Some(Location { country: "BE".to_owned(), latitude: 51.05, longitude: 3.72 }),
        };
        let kind = plain("docker-container");
        let script = self.state().scripted.take();
        if let Some(Script::Refuse(refusal)) = script {
            return Err(refusal);
        }
        Ok(Offer {
            hosts: vec![host("one", 7, true), host("full", 0, true), host("ill", 9, false)],
            sliver_types: vec![kind],
        })
    }

    async fn allocate(&self, caller: &Caller, call: Allocate) -> Result<SliceView, Refusal> {
        self.begin("Allocate", caller).await?;
        let mut state = self.state();
        if state.shut_down.contains(&call.slice) {
            return Err(Refusal::ShutDown(call.slice));
        }
        let view = state.slices.entry(call.slice.to_string()).or_insert_with(|| SliceView {
            urn: call.slice.clone(),
            documents: vec![],
            links: vec![],
            slivers: vec![],
            schedule: None,
            converged: true,
            problem: None,
            missing: vec![],
            diagnostics: vec![],
        });
        let document = view.documents.len() as i64 + 7;
        view.documents.push(Document { id: document, text: call.document });
        let expires = call.end.unwrap_or(Timestamp::now() + SignedDuration::from_mins(10)).min(caller.until);
        let new: Vec<SliverView> = call
            .topology
            .nodes
            .iter()
            .map(|node| sliver(node.client_id.as_str(), document, expires, &node.services))
            .collect();
        view.slivers.extend(new.clone());
        Ok(SliceView { slivers: new, ..view.clone() })
    }

    async fn provision(&self, caller: &Caller, call: Provision) -> Result<SliceView, Refusal> {
        self.begin("Provision", caller).await?;
        let accounts: Vec<Account> = call
            .users
            .iter()
            .map(|user| Account {
                user: user.urn.clone(),
                login: user.urn.name().parse().unwrap(),
                keys: user.keys.clone(),
                sudo: true,
            })
            .collect();
        self.select(&call.selection, call.effort, |sliver| {
            sliver.allocation = Allocation::Provisioned;
            sliver.operational = Operational::Ready;
            sliver.accounts.clone_from(&accounts);
            sliver.ssh_port = Some(2222);
            if let Some(end) = call.end {
                sliver.expires = end.min(caller.until);
            }
            sliver.observed = Some(seen(sliver));
        })
    }

    async fn describe(&self, caller: &Caller, selection: Selection) -> Result<SliceView, Refusal> {
        self.begin("Describe", caller).await?;
        self.select(&selection, Effort::AllOrNothing, |_| {})
    }

    async fn status(
        &self,
        caller: &Caller,
        selection: Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal> {
        self.begin("Status", caller).await?;
        self.select(&selection, effort, |_| {})
    }

    async fn perform(&self, caller: &Caller, call: Perform) -> Result<SliceView, Refusal> {
        self.begin("PerformOperationalAction", caller).await?;
        self.select(&call.selection, call.effort, |sliver| {
            if call.action == Action::Stop {
                sliver.operational = Operational::NotReady;
            }
        })
    }

    async fn renew(&self, caller: &Caller, call: Renew) -> Result<SliceView, Refusal> {
        self.begin("Renew", caller).await?;
        if call.end > caller.until && !call.as_late_as_possible {
            return Err(Refusal::OutOfRange(format!("{} is the latest", caller.until)));
        }
        self.select(&call.selection, call.effort, |sliver| sliver.expires = call.end.min(caller.until))
    }

    async fn delete(
        &self,
        caller: &Caller,
        selection: Selection,
        effort: Effort,
    ) -> Result<SliceView, Refusal> {
        self.begin("Delete", caller).await?;
        self.select(&selection, effort, |sliver| {
            sliver.allocation = Allocation::Unallocated;
            sliver.operational = Operational::PendingAllocation;
        })
    }

    async fn shutdown_slice(&self, caller: &Caller, slice: SliceUrn) -> Result<bool, Refusal> {
        self.begin("Shutdown", caller).await?;
        self.state().shut_down.push(slice);
        Ok(true)
    }
}

fn sliver(client_id: &str, document: i64, expires: Timestamp, services: &Services) -> SliverView {
    let id = Uuid::new_v4();
    SliverView {
        id: SliverId::from_uuid(id),
        urn: SliverUrn::new(&"am.example.net".parse().unwrap(), &id.to_string()).unwrap(),
        document,
        client_id: client_id.parse().unwrap(),
        allocation: Allocation::Allocated,
        operational: Operational::PendingAllocation,
        converged: true,
        on_failure: testyard_model::topology::OnFailure::Fatal,
        expires,
        error: String::new(),
        host: "one".parse().unwrap(),
        host_address: "one.example.net".to_owned(),
        sliver_type: "docker-container".parse().unwrap(),
        image: "debian:12".parse().unwrap(),
        hostname: client_id.parse().unwrap(),
        address: ControlAddress { ipv4: Ipv4Addr::new(10, 0, 0, 2), ipv6: None },
        ssh_port: None,
        interfaces: vec![],
        forwards: vec![],
        accounts: vec![],
        host_keys: vec![],
        services: services.clone(),
        observed: None,
        events: vec![SliverEvent { what: "allocated".to_owned(), at: Timestamp::now() }],
    }
}

fn seen(sliver: &SliverView) -> observed::Node {
    let report = |id, state| ServiceReport {
        id,
        state,
        detail: "said\u{7} something".to_owned(),
        folder: String::new(),
    };
    let executes = (0..).zip(&sliver.services.executes);
    observed::Node {
        sliver: sliver.id,
        phase: observed::Phase::Ready,
        converged: true,
        boot: 0,
        disk: 0,
        accounts_revision: 0,
        problem: None,
        notices: vec!["a process of the node was killed".to_owned()],
        image: None,
        pull: None,
        making: None,
        program: ProgramState::Running,
        services: executes.map(|(n, _)| report(ServiceId::Execute(n), ServiceState::Exited(3))).collect(),
        programs: vec![],
        timeline: vec![observed::Milestone { stage: observed::Stage::SshUp, at: Timestamp::now() }],
    }
}

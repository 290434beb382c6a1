//! The fake's nodes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use testyard_guest_protocol::ServiceReport;
use testyard_model::name::Hostname;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

use super::fault::{self, Fault, FaultKind, Moment, Op};
use super::guest::{self, Guest, Inside};
use super::programs::Programs;
use super::script::GuestScript;
use super::socket::{Door, Listener, Socket};
use super::{FakeNode, Latency};
use crate::contract::{PowerSeen, Running, RuntimeEvent};
use crate::error::RuntimeError;
use crate::spec::{NodeKey, NodeSpec};

/// Events that wait for a slow reader.
const WAITING: usize = 4096;

pub(super) struct World {
    state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
    /// The same moment on both clocks.
    began: (Timestamp, tokio::time::Instant),
}

#[derive(Default)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<NodeKey, Node>,
    pub(super) sockets: HashMap<NodeKey, Socket>,
    pub(super) latency: Latency,
    pub(super) script: GuestScript,
    pub(super) scripts: HashMap<Hostname, GuestScript>,
    pub(super) faults: Vec<Fault>,
    pub(super) calls: HashMap<Op, usize>,
    pub(super) away: bool,
    /// What nodes are made with.
    pub(super) guest: String,
    /// Device files that the host has.
    pub(super) devices: Vec<String>,
    runs: u32,
}

pub(super) struct Node {
    spec: NodeSpec,
    /// The key by which its guest knows it, who has no other word for its own end.
    own: Arc<Mutex<NodeKey>>,
    /// The spare that it was.
    was: Option<NodeKey>,
    pub(super) power: PowerSeen,
    pub(super) usage: Usage,
    boots: u32,
    disk: Arc<Mutex<Disk>>,
    /// Present while it runs.
    life: Option<Life>,
    /// What was last said in the last boot.
    inside: Option<Arc<Inside>>,
}

/// What a node has used up.
#[derive(Clone, Copy, Default)]
pub(super) struct Usage {
    /// Processes of the present run that were ended for want of memory.
    pub(super) killed: u64,
    /// How often it was refused another process.
    pub(super) refused: u64,
    /// Bytes on disk.
    pub(super) disk: u64,
}

/// What outlives a boot.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<String, String>,
    pub(super) services: Vec<ServiceReport>,
    pub(super) programs: Programs,
}

/// A guest at work; it ends with the node.
struct Life(JoinHandle<()>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A call under way.
pub(super) struct Call {
    key: Option<NodeKey>,
    lost: Option<FaultKind>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                devices: ["/dev/null", "/dev/net/tun"].map(str::to_owned).to_vec(),
                ..State::default()
            }),
            events: broadcast::Sender::new(WAITING),
            began: (Timestamp::now(), tokio::time::Instant::now()),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: RuntimeEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }

    /// Begins a call: counts it, lets a fault strike, takes its time.
    pub(super) async fn enter(
        &self,
        op: Op,
        key: Option<&NodeKey>,
        latency: Duration,
    ) -> Result<Call, RuntimeError> {
        let (away, struck) = {
            let mut state = self.lock();
            *state.calls.entry(op).or_default() += 1;
            (state.away, fault::strike(&mut state.faults, op, key))
        };
        if away {
            return Err(fault::unreachable("it is away"));
        }
        if let Some((kind, Moment::Before)) = struck {
            return Err(fault::error(kind, key).await);
        }
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        Ok(Call { key: key.copied(), lost: struck.map(|(kind, _)| kind) })
    }

    /// Boots a node; gives its run, and whether that is a new one.
    pub(super) fn start(self: &Arc<Self>, key: &NodeKey) -> Result<(Running, bool), RuntimeError> {
        let mut state = self.lock();
        let state = &mut *state;
        let node = state.nodes.get_mut(key).ok_or(RuntimeError::Missing(*key))?;
        if let PowerSeen::Running(running) = &node.power {
            return Ok((running.clone(), false));
        }
        state.runs += 1;
        node.boots += 1;
        (node.usage.killed, node.usage.refused) = (0, 0);
        let running = Running {
            netns: PathBuf::from(format!("/fake/{}-{}/{}/net", key.sliver, key.disk, state.runs)),
            since: self.now(state.runs),
        };
        let inside = Arc::new(Inside::new(format!("boot-{}", state.runs)));
        let script = state.scripts.get(&node.spec.hostname).unwrap_or(&state.script).clone();
        let guest = Guest {
            key: Arc::clone(&node.own),
            since: running.since,
            script,
            door: state.sockets.entry(*key).or_insert_with(Socket::new).door(),
            inside: Arc::clone(&inside),
            disk: Arc::clone(&node.disk),
            world: Arc::downgrade(self),
        };
        node.inside = Some(inside);
        node.power = PowerSeen::Running(running.clone());
        node.life = Some(Life(tokio::spawn(guest::live(guest))));
        Ok((running, true))
    }

    /// Ends a node that runs (only the run that began at `since`, if given). Gives whether it did.
    pub(super) fn end(
        &self,
        key: &NodeKey,
        since: Option<Timestamp>,
        exit: i64,
        out_of_memory: bool,
    ) -> bool {
        let ended = self.lock().nodes.get_mut(key).is_some_and(|node| match &node.power {
            PowerSeen::Running(running) if since.is_none_or(|since| since == running.since) => {
                node.stop(exit, out_of_memory);
                true
            }
            _ => false,
        });
        if ended {
            self.tell(RuntimeEvent::Changed(*key));
        }
        ended
    }

    pub(super) fn reboot(&self) {
        let mut state = self.lock();
        state.sockets.clear();
        for node in state.nodes.values_mut() {
            if matches!(node.power, PowerSeen::Running(_)) {
                node.stop(137, false);
            }
        }
    }

    /// Now, on tokio's clock; no two runs have the same.
    fn now(&self, run: u32) -> Timestamp {
        let (time, instant) = self.began;
        let passed = SignedDuration::try_from(instant.elapsed()).unwrap_or(SignedDuration::ZERO);
        time + passed + SignedDuration::from_nanos(i64::from(run))
    }
}

// === impl State ===

impl State {
    pub(super) fn create(&mut self, spec: &NodeSpec) -> Result<(), RuntimeError> {
        let has = |path: &str| self.devices.iter().any(|device| device == path);
        if let Some(device) = spec.privileges.devices.iter().find(|device| !has(device.as_str())) {
            let detail = format!("this host has no {device}: take it out of the sliver type");
            return Err(RuntimeError::Refused { key: spec.key, detail });
        }
        self.nodes.entry(spec.key).or_insert_with(|| Node::new(spec.clone()));
        Ok(())
    }

    pub(super) fn hand_over(&mut self, spare: &NodeKey, key: &NodeKey) -> Result<PowerSeen, RuntimeError> {
        if let Some(there) = self.nodes.get(key) {
            if there.was == Some(*spare) {
                return Ok(there.power.clone());
            }
            return Err(RuntimeError::Refused {
                key: *key,
                detail: "there is another node already".to_owned(),
            });
        }
        let mut node = self.nodes.remove(spare).ok_or(RuntimeError::Missing(*spare))?;
        (node.spec.key, node.was) = (*key, Some(*spare));
        *node.own.lock().unwrap_or_else(PoisonError::into_inner) = *key;
        let power = node.power.clone();
        self.nodes.insert(*key, node);
        if let Some(socket) = self.sockets.remove(spare) {
            self.sockets.insert(*key, socket);
        }
        Ok(power)
    }

    pub(super) fn name(&mut self, key: &NodeKey, run: &Running, hostname: &Hostname) {
        if let Some(node) = self.nodes.get_mut(key)
            && node.was.is_some()
            && node.power == PowerSeen::Running(run.clone())
        {
            node.spec.hostname = hostname.clone();
        }
    }

    pub(super) fn usage_of_run(&self, running: &Running) -> Option<Usage> {
        let runs = |node: &&Node| matches!(&node.power, PowerSeen::Running(run) if run == running);
        self.nodes.values().find(runs).map(|node| node.usage)
    }

    pub(super) fn listen(&mut self, key: &NodeKey) -> Listener {
        self.sockets.entry(*key).or_insert_with(Socket::new).listen()
    }

    pub(super) fn door(&mut self, key: &NodeKey) -> Door {
        self.sockets.entry(*key).or_insert_with(Socket::new).door()
    }
}

// === impl Node ===

impl Node {
    pub(super) fn new(spec: NodeSpec) -> Self {
        let own = Arc::new(Mutex::new(spec.key));
        Self {
            spec,
            own,
            was: None,
            power: PowerSeen::Created,
            usage: Usage::default(),
            boots: 0,
            disk: Arc::default(),
            life: None,
            inside: None,
        }
    }

    fn stop(&mut self, exit: i64, out_of_memory: bool) {
        self.life = None;
        self.power = PowerSeen::Stopped { exit: Some(exit), out_of_memory };
        let mut disk = self.disk();
        guest::interrupt(&mut disk.services);
        disk.programs.interrupt();
    }

    pub(super) fn disk_used(&self) -> u64 {
        let files: usize = self.disk().files.values().map(String::len).sum();
        self.usage.disk + files as u64
    }

    pub(super) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> FakeNode {
        FakeNode {
            spec: self.spec.clone(),
            power: self.power.clone(),
            boots: self.boots,
            desired: self.inside.as_ref().and_then(|inside| inside.desired()),
            report: self.inside.as_ref().and_then(|inside| inside.report()),
            files: self.disk().files.clone(),
        }
    }
}

// === impl Call ===

impl Call {
    /// Ends a call that has had its effect; its answer may be lost.
    pub(super) async fn leave<T>(self, answer: T) -> Result<T, RuntimeError> {
        match self.lost {
            Some(kind) => Err(fault::error(kind, self.key.as_ref()).await),
            None => Ok(answer),
        }
    }
}

//! What a host sees.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_guest_protocol::{ProgramState, ServiceReport, ServiceState};
use testyard_model::id::{Revision, SliceId, SliverId};
use testyard_model::image::{Content, ImageUrl};
use testyard_model::name::ClientId;
use testyard_model::sliver_type::Port;
use testyard_runtime::PullProgress;

/// What a host sees of one slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Which slice.
    pub slice: SliceId,
    /// The revision of the desired state that the host works on. What is said of nodes and links is said of this one: they
    /// have come to it where they are [converged](Node::converged) and [joined](LinksSeen::Joined).
    pub revision: Revision,
    /// Its nodes; none when nothing of the slice is left.
    pub nodes: Vec<Node>,
    /// Its links.
    #[serde(default)]
    pub links: LinksSeen,
    /// How far the run of its schedule has come; none while there is none.
    #[serde(default)]
    pub schedule: Option<ScheduleSeen>,
    /// Its images that are, or were, made of URLs here, in the order of those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Made>,
}

/// An image that is made of a URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Of which.
    pub url: ImageUrl,
    /// Of what, once there is an image.
    pub content: Option<Content>,
    /// How far it is.
    pub state: MadeState,
    /// What making it has printed: the beginning and the end, if it is long.
    pub log: String,
}

/// How far an image is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MadeState {
    /// What is being done.
    Making(String),
    /// It is there.
    Made,
    /// Why it is not.
    Failed(String),
}

/// How far a run of a schedule has come on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSeen {
    /// Which run.
    pub number: u32,
    /// How many of its events have been carried out.
    pub done: usize,
    /// The most milliseconds that one was carried out too late.
    pub late_ms_max: u64,
    /// How many were carried out more than a second too late, or had only what was left of them carried out.
    pub late: u32,
    /// The newest of them, [`Self::RECENT`] at most, in the order of their times; none of before the agent's start.
    pub recent: Vec<Carried>,
    /// What people should know about the run, if something went otherwise than planned.
    pub notice: Option<String>,
}

impl ScheduleSeen {
    /// The most events that are told one by one.
    pub const RECENT: usize = 64;
}

/// An event that was carried out: its links were told to change, its node or program to start or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Its index in the topology's schedule.
    pub event: u32,
    /// When. When it should have been follows from the run's zero.
    pub at: Timestamp,
}

/// How the links of a slice stand on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinksSeen {
    /// There are none.
    #[default]
    None,
    /// They are being made or changed.
    Joining,
    /// They are as they should be.
    Joined,
    /// Why they are not.
    Failed(String),
}

/// What a host sees of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Which sliver.
    pub sliver: SliverId,
    /// How far it has come.
    pub phase: Phase,
    /// Whether it is all that its slice's revision asks of it, also in what changes while it runs: its interfaces, routes,
    /// names, ports and accounts.
    #[serde(default)]
    pub converged: bool,
    /// The restart counter of its present boot, without restarts by the schedule's run.
    pub boot: u32,
    /// The reload counter of its present disk, without reloads by the schedule's run.
    pub disk: u32,
    /// The revision of the accounts that are in it.
    pub accounts_revision: u64,
    /// Why it cannot go on, and what to do about it. Present with [`Phase::Failed`], and with others as a warning.
    pub problem: Option<String>,
    /// What its users should know though it goes on: that it ended by itself, that processes of it were killed, that its
    /// disk is nearly full, how the image's program ended.
    #[serde(default)]
    pub notices: Vec<String>,
    /// What image it boots, once known.
    pub image: Option<ImageSeen>,
    /// How far the pull of its image has come, while it is being pulled.
    pub pull: Option<PullProgress>,
    /// What is being done for its image, while that is made of a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub making: Option<String>,
    /// The image's own program.
    pub program: ProgramState,
    /// Its installs and executes.
    pub services: Vec<ServiceReport>,
    /// Its programs that events start and stop, in the order of the desired state.
    #[serde(default)]
    pub programs: Vec<ProgramReport>,
    /// When it reached what, in the present boot.
    pub timeline: Vec<Milestone>,
}

impl Node {
    /// A node that nothing has been done about yet.
    #[must_use]
    pub const fn waiting(sliver: SliverId) -> Self {
        Self {
            sliver,
            phase: Phase::Waiting,
            converged: false,
            boot: 0,
            disk: 0,
            accounts_revision: 0,
            problem: None,
            notices: Vec::new(),
            image: None,
            pull: None,
            making: None,
            program: ProgramState::None,
            services: Vec::new(),
            programs: Vec::new(),
            timeline: Vec::new(),
        }
    }
}

/// How a program that events start and stop stands in the present run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramReport {
    /// Which, by the user's name of it.
    pub program: ClientId,
    /// The start that this is about: the first of the run is 1, and 0 says that there was none.
    pub start: u32,
    /// How it stands.
    pub state: ServiceState,
    /// It could not be started, or ended otherwise than its `expected_exit` says and nobody had stopped it.
    pub unexpected: bool,
    /// When it began, by the node's clock.
    pub began: Option<Timestamp>,
    /// When it ended, by the node's clock.
    pub ended: Option<Timestamp>,
    /// The end of its output, or the reason of its failure, for people.
    pub detail: String,
    /// Its files in the node without `.out`, `.err` and `.status`; empty before it has begun.
    pub files: String,
}

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing has been done yet.
    Waiting,
    /// The image is being fetched.
    Pulling,
    /// The runtime makes and boots it.
    Booting,
    /// Its guest sets up interfaces, accounts and SSH.
    Configuring,
    /// SSH answers; installs are running.
    Installing,
    /// As asked for.
    Ready,
    /// It is being stopped.
    Stopping,
    /// Stopped, as asked for.
    Stopped,
    /// It will not get on by itself.
    Failed,
}

/// The image that a node boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSeen {
    /// The engine's id of its content.
    pub id: String,
    /// The registry's digest, if it came from one.
    pub digest: Option<String>,
    /// Ports that it EXPOSEs.
    pub exposed: Vec<Port>,
}

/// When a node reached what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Milestone {
    /// What.
    pub stage: Stage,
    /// When.
    pub at: Timestamp,
}

/// The stages of a boot, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The host has taken up the work.
    Begun,
    /// The image is on the host.
    ImageReady,
    /// The runtime has made the node.
    Created,
    /// The node runs.
    Started,
    /// Its control interface is there.
    Attached,
    /// The guest has spoken.
    GuestUp,
    /// Names, accounts and keys are in place.
    Prepared,
    /// SSH answers.
    SshUp,
    /// As asked for.
    Ready,
}

impl Stage {
    /// Its name in timelines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::ImageReady => "image_ready",
            Self::Created => "created",
            Self::Started => "started",
            Self::Attached => "attached",
            Self::GuestUp => "guest_up",
            Self::Prepared => "prepared",
            Self::SshUp => "ssh_up",
            Self::Ready => "ready",
        }
    }
}

//! What goes over the socket: plain types, in JSON. Names of members stay as they are; new ones may come.
//!
//! | method | path | body | answer |
//! | --- | --- | --- | --- |
//! | `GET` | `/v1/testbed` | | [`Testbed`] |
//! | `GET` | `/v1/slices` | | `[`[`Brief`]`]` |
//! | `GET` | `/v1/slices/NAME` | | [`Slice`] |
//! | `PUT` | `/v1/slices/NAME` | [`Update`] | [`Slice`] |
//! | `POST` | `/v1/slices/NAME/outlook` | [`Update`] | [`Outlook`] |
//! | `GET` | `/v1/slices/NAME/plan` | | `testyard_plan::Plan` |
//! | `DELETE` | `/v1/slices/NAME` | | [`Slice`] |
//! | `GET` | `/v1/slices/NAME/removed` | | `true`, once hosts have removed what was deleted |
//! | `POST` | `/v1/slices/NAME/actions` | [`Act`] | [`Slice`] |
//! | `POST` | `/v1/slices/NAME/renew` | [`Renew`] | [`Slice`] |
//! | `POST` | `/v1/slices/NAME/replay` | | [`Slice`] |
//! | `POST` | `/v1/slices/NAME/links/LINK` | [`ChangeLink`] | [`Slice`] |
//! | `POST` | `/v1/slices/NAME/verify` | [`Verify`] | a line of JSON each: [`Verified`] |
//! | `GET` | `/v1/slices/NAME/report` | | [`KeptReport`] |
//! | `GET` | `/v1/slices/NAME/capture` | `?link=…&bytes=…&filter=…` | pcapng, until the caller leaves |
//! | `POST`, `DELETE` | `/v1/slices/NAME/shutdown` | | `true` or `false` |
//! | `GET` | `/v1/hosts` | | `[`[`HostReport`]`]`; this and what follows for operators |
//! | `POST` | `/v1/hosts/NAME/invitation` | | [`Invitation`] |
//! | `POST`, `DELETE` | `/v1/hosts/NAME/drain` | | whether that is new |
//! | `DELETE` | `/v1/hosts/NAME` | `?lost=true` | [`Removed`] |
//! | `GET` | `/v1/audit` | `?slice=…&host=…&user=…&request=…&since=…&most=…` | `[`[`Audited`]`]` |
//! | `GET` | `/metrics` | | metrics in `OpenMetrics` form |
//! | `POST` | `/v1/reopen` | | `true`; the testbed begins anew with a restored store |
//! | `GET` | `/v1/events`, `/v1/slices/NAME/events` | | a line of JSON each: [`Event`] |
//!
//! A refusal is a [`Problem`] with an HTTP status that fits. Times are RFC 3339. A slice is named by its name at the
//! testbed's authority, or by its URN.

mod hosts;
mod operating;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_model::diagnostic::Diagnostic;
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_model::mac::Mac;
use testyard_model::name::ClientId;
use testyard_model::setting::Setting;
use testyard_model::topology::OnFailure;
use testyard_plan::Changes;

pub use hosts::{HostReport, Invitation, Removed};
pub use operating::{AuditQuery, Audited};

/// The testbed, and who the caller is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Testbed {
    /// The URN of the testbed.
    pub urn: String,
    /// Its authority.
    pub authority: String,
    /// The version of the program.
    pub version: String,
    /// The caller's URN.
    pub you: String,
    /// Whether the caller may touch every slice.
    pub operator: bool,
    /// When it began to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Kinds of nodes; the first is what a node gets that names none.
    pub sliver_types: Vec<SliverType>,
    /// Hosts.
    pub hosts: Vec<Host>,
    /// What stands for images of other systems.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
}

/// A kind of node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliverType {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// What a node boots that names no image.
    pub default_image: String,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Nodes that it can take in all.
    pub capacity: u32,
    /// Nodes that it could take now.
    pub free: u32,
    /// Whether it can start nodes now.
    pub healthy: bool,
}

/// A slice among others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    /// Its name.
    pub name: String,
    /// Its URN.
    pub urn: String,
    /// Who made it.
    pub creator: String,
    /// When.
    pub created: Timestamp,
    /// When the first of its nodes ends.
    pub expires: Option<Timestamp>,
    /// How it is: see [`Slice::state`].
    pub state: String,
    /// How many nodes do what.
    pub nodes: BTreeMap<String, usize>,
    /// How many links it has.
    pub links: usize,
}

/// A slice, as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Its name.
    pub name: String,
    /// Its URN.
    pub urn: String,
    /// What the worst of its nodes is doing: `failed`, `configuring`, …; `ready` if all are; `empty` if there are none.
    pub state: String,
    /// In the order of the topology.
    pub nodes: Vec<Node>,
    /// In the order of the topology.
    pub links: Vec<Link>,
    /// How far its schedule has come, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Whether all that is asked of it is so, of nodes and links: they may be ready and up as they were before.
    pub converged: bool,
    /// What keeps it from being so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What there is to say about the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<Diagnostic>,
}

/// An image that was, or is being, made of a URL for a slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Of which.
    pub url: String,
    /// Where.
    pub host: String,
    /// `making`, `made` or `failed`.
    pub state: String,
    /// What is being done, or why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The SHA-256 of the file behind the URL, once there is an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What making it has printed: the beginning and the end, if it is long.
    pub log: String,
}

/// How far a schedule has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// How many events it has.
    pub events: usize,
    /// How many of them have been carried out in this run.
    pub done: usize,
    /// Which run it is: replays count. 0 before all nodes are ready for the first time.
    pub run: u32,
    /// When its clock began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero: Option<Timestamp>,
    /// The most milliseconds that an event was late.
    pub late_ms_max: u64,
    /// What people should know about the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// A node, as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The user's name of it.
    pub name: String,
    /// Its URN.
    pub urn: String,
    /// `allocated` or `provisioned`.
    pub allocation: String,
    /// `configuring`, `ready`, `ready_busy`, `stopping`, `notready`, `failed`, …
    pub state: String,
    /// Whether it is all that is asked of it, also in what changes while it is ready.
    #[serde(default)]
    pub converged: bool,
    /// What its failure means for the whole, if not that it has failed: `nonfatal` or `ignore`.
    #[serde(default, skip_serializing_if = "OnFailure::is_fatal")]
    pub on_failure: OnFailure,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// What its host does for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// What its users should know though it goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// Its host.
    pub host: String,
    /// What it boots.
    pub image: String,
    /// Its kind.
    pub sliver_type: String,
    /// When it ends.
    pub expires: Timestamp,
    /// Its own name.
    pub hostname: String,
    /// Its address at the control interface.
    pub control_address: String,
    /// How to log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<Ssh>,
    /// Further ports of the host that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Its interfaces on links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// What became of the image's own program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Its installs and executes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    /// Its programs, which events start and stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
    /// What happened to it when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timeline: Vec<Moment>,
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssh {
    /// The host's public name.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Login names by user.
    pub logins: BTreeMap<String, String>,
    /// The node's public host keys, in the one-line format.
    pub host_keys: Vec<String>,
}

/// A port of the host that leads to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// In the node, with its protocol: `80/tcp`.
    pub port: String,
    /// Of the host.
    pub host_port: u16,
}

/// A node's interface on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The user's name of it.
    pub name: String,
    /// Its name in the node.
    pub device: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Each with the length of its network's prefix.
    pub addresses: Vec<IpNet>,
}

/// An install or an execute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `install` or `execute`.
    pub kind: String,
    /// Which of its kind, from 1.
    pub number: u32,
    /// The URL and folder, or the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// `waiting`, `running`, `exited`, `signalled`, `failed`, `interrupted`.
    pub state: String,
    /// How it ended, if by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What ended it, if a signal did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The file of its output in the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The end of its output, or why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// A program that events start and stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The user's name of it.
    pub name: String,
    /// Which start of the run this is about; 0 before the first.
    pub start: u32,
    /// As of a [`Service`].
    pub state: String,
    /// How it ended, if by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What ended it, if a signal did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// It could not be started, or ended otherwise than expected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unexpected: bool,
    /// The files of its output and errors in the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
    /// The end of its output, or why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What.
    pub what: String,
    /// When.
    pub at: Timestamp,
    /// Milliseconds since the first.
    pub ms: i64,
}

/// A link, as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The user's name of it.
    pub name: String,
    /// Its URN.
    pub urn: String,
    /// Cable or LAN.
    pub kind: LinkKind,
    /// Whether it is up.
    pub up: bool,
    /// The largest packet.
    pub mtu: u16,
    /// Its networks.
    pub networks: Vec<IpNet>,
    /// Its members.
    pub members: Vec<Member>,
    /// Whether it was changed while it runs.
    #[serde(default)]
    pub changed: bool,
    /// Whether its hosts have made it so.
    #[serde(default)]
    pub converged: bool,
    /// When what was changed for a while is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverts: Option<Timestamp>,
    /// Why it is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An interface on a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its node.
    pub node: String,
    /// The user's name of it.
    pub interface: String,
    /// Its name in the node.
    pub device: String,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// What is done to what it sends.
    #[serde(default, skip_serializing_if = "Impairment::is_clear")]
    pub to_link: Impairment,
    /// What is done to what it gets.
    #[serde(default, skip_serializing_if = "Impairment::is_clear")]
    pub from_link: Impairment,
}

/// What a slice is to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// The topology, in the own format (docs/reference/topology.md).
    pub topology: serde_json::Value,
    /// Nodes that are to run, beside those that do; all if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<BTreeSet<ClientId>>,
    /// The caller's public SSH keys, in the one-line format.
    #[serde(default)]
    pub keys: Vec<String>,
    /// When it is to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
    /// As [`Outlook::revision`] had it: the call is refused as `changed` if the slice is another by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// The [`Outlook::revision`] of a slice that there is not yet.
pub const NONE_YET: &str = "none";

/// What would become of a slice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlook {
    /// What changes.
    pub changes: Changes,
    /// The same for people, a line each.
    pub lines: Vec<String>,
    /// Whether a node goes, restarts or loses its disk.
    pub disturbs: bool,
    /// What the planner has to say.
    pub remarks: Vec<Diagnostic>,
    /// Which slice that was worked out for; [`NONE_YET`] if there is none yet.
    pub revision: String,
}

/// The same for who reads it: changes are for people or for the eyes of scripts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OutlookRead {
    /// What changes.
    pub changes: serde_json::Value,
    /// The same for people, a line each.
    pub lines: Vec<String>,
    /// Whether a node goes, restarts or loses its disk.
    pub disturbs: bool,
    /// What the planner has to say.
    pub remarks: Vec<Diagnostic>,
    /// Which slice that was worked out for; [`NONE_YET`] if there is none yet.
    pub revision: String,
}

/// An action on nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// `start`, `stop`, `restart` or `reload`.
    pub action: String,
    /// On which; all if none is named.
    #[serde(default)]
    pub nodes: Vec<String>,
}

/// Another end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// When.
    pub end: Timestamp,
}

/// A change of a link while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeLink {
    /// `up`, `down`, `set` or `reset`.
    pub action: String,
    /// With `set`: `delay=50ms`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// With `set`: the node or interface whose sending direction changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ClientId>,
    /// Milliseconds after which it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// The trailer of a capture's answer: a [`CaptureEnd`] as JSON.
pub const CAPTURE_END: &str = "testyard-capture-end";

/// The reason of a [`CaptureEnd`] that is a failure.
pub const CAPTURE_FAILED: &str = "failed";

/// How a capture ended that its reader would have gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureEnd {
    /// `parted`: the slice's links have ended; `link_gone`, `stopped`: the testbed has; `failed`.
    pub reason: String,
    /// The same for people.
    pub text: String,
    /// Packets that the filter let through, if they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Those of them that are missing, because they were not read fast enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
}

/// What is to be measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// These links; all if none is named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub links: BTreeSet<ClientId>,
    /// At most so many ways, chosen by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<usize>,
    /// Milliseconds that the whole may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_ms: Option<u64>,
}

/// A line of what is said while links are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// How many steps of all are done.
    Step {
        /// Done.
        done: usize,
        /// Of so many.
        of: usize,
    },
    /// The last line.
    Report(Box<testyard_verify::Report>),
    /// The last line, if it cannot be done.
    Refused(Problem),
}

/// The newest report of a slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptReport {
    /// When it was made.
    pub at: Timestamp,
    /// What it says.
    pub report: testyard_verify::Report,
}

/// Something has happened to a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The slice's name; empty if events were missed of all.
    pub slice: String,
    /// What it is about.
    #[serde(default)]
    pub kind: EventKind,
    /// The node's name; empty if it is not about one.
    pub node: String,
    /// The link's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub link: String,
    /// The program's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// What it is doing now, or what was done: see [`EventKind`].
    pub state: String,
    /// More of that, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// What an event is about, and the words of its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A node: as [`Node::state`], and `gone`.
    #[default]
    Node,
    /// A program of a node: `running`, `exited`, `signalled`, `failed`, `interrupted`.
    Program,
    /// A link was told to change: `set`, `up`, `down`, `reset`, `reverted`.
    Link,
    /// The links of the slice on a host: `joined`, or `failed` with the error.
    Links,
    /// The schedule: a run has `begun`, an event is `done`.
    Schedule,
    /// The slice as a whole: `converged`, or `converging` with what is in the way.
    Slice,
    /// Events were `missed`: the whole is to be looked at again.
    Missed,
}

/// A call that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which kind: `not_found`, `bad_request`, …
    pub kind: String,
    /// For people.
    pub error: String,
}

impl Event {
    /// Events were missed, of one slice or of all.
    #[must_use]
    pub fn missed(at: Timestamp, slice: String) -> Self {
        Self { at, slice, kind: EventKind::Missed, state: "missed".to_owned(), ..Self::default() }
    }
}

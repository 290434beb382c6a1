//! What front doors ask of the controller and what they get: plain types, no protocol.
//!
//! A front door has authenticated and authorised the caller before it asks; [`Caller::until`] is the end of what the
//! caller was allowed, and no lease outlives it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use testyard_agent::observed;
use testyard_capture::SnapLength;
use testyard_fabric::Forward;
use testyard_model::account::{Account, User};
use testyard_model::diagnostic::Diagnostic;
use testyard_model::host::HostLimits;
use testyard_model::id::{HostName, RequestId, Revision, SliceId, SliverId};
use testyard_model::image::{Content, ImageSource, ImageUrl};
use testyard_model::mac::Mac;
use testyard_model::name::{ClientId, Hostname, SliverTypeName};
use testyard_model::service::Services;
use testyard_model::setting::Setting;
use testyard_model::sliver_type::SliverType;
use testyard_model::state::{Action, Allocation, Operational};
use testyard_model::topology::{OnFailure, Topology};
use testyard_model::urn::{SliceUrn, SliverUrn, Urn, UserUrn};
use testyard_plan::network::parts::NetworkLink;
use testyard_plan::{Changes, Plan};

/// Who asks, and until when that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user on whose behalf the call is made.
    pub user: UserUrn,
    /// The tool that speaks for the user, if one does.
    pub tool: Option<Urn>,
    /// The end of the credential.
    pub until: Timestamp,
    /// The caller has no credential for a slice, and may touch only what the user has made: then the controller is the one to
    /// look, since a slice may be made or end between a front door's look and the call.
    pub only_own: bool,
    /// The caller looks after the testbed: a slice that was shut down can be looked at and deleted all the same.
    pub operator: bool,
    /// The call, as the log knows it.
    pub request: Option<RequestId>,
}

/// Which slivers a call is about: exactly one slice, or some slivers of one slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of a slice that the operation can be about.
    Slice(SliceUrn),
    /// These, which must be of the slice that the caller may use.
    Slivers {
        /// The slice that the credential is for.
        slice: SliceUrn,
        /// At least one.
        slivers: Vec<SliverUrn>,
    },
}

/// Whether a call that fails for some slivers is carried out for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Everything or nothing.
    AllOrNothing,
    /// What can be done is done; the rest carries an error.
    Best,
}

/// A call to allocate.
#[derive(Clone, Debug)]
pub struct Allocate {
    /// The slice, made if it is not there.
    pub slice: SliceUrn,
    /// What to allocate.
    pub topology: Topology,
    /// The request as received, kept whole for manifests.
    pub document: String,
    /// When the slivers are to expire; the configured life of allocated slivers if absent.
    pub end: Option<Timestamp>,
}

/// A call to provision.
#[derive(Clone, Debug)]
pub struct Provision {
    /// Which slivers; a slice means those that are allocated now.
    pub selection: Selection,
    /// Accounts to make on them.
    pub users: Vec<User>,
    /// When the slivers are to expire; the configured life of provisioned slivers if absent.
    pub end: Option<Timestamp>,
    /// All or nothing?
    pub effort: Effort,
}

/// A call to act.
#[derive(Clone, Debug)]
pub struct Perform {
    /// Which slivers.
    pub selection: Selection,
    /// What to do.
    pub action: Action,
    /// For [`Action::UpdateUsers`].
    pub users: Vec<User>,
    /// All or nothing?
    pub effort: Effort,
}

/// A call to renew.
#[derive(Clone, Debug)]
pub struct Renew {
    /// Which slivers.
    pub selection: Selection,
    /// The new end.
    pub end: Timestamp,
    /// Take the latest end that is allowed instead of refusing one that is too late.
    pub as_late_as_possible: bool,
    /// All or nothing?
    pub effort: Effort,
}

/// An image that was, or is being, made of a URL for a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageView {
    /// Where.
    pub host: HostName,
    /// Of which.
    pub url: ImageUrl,
    /// Of what, once there is an image.
    pub content: Option<Content>,
    /// `making`, `made` or `failed`.
    pub state: &'static str,
    /// What is being done, or why it failed.
    pub detail: String,
    /// What making it has printed: the beginning and the end, if it is long.
    pub log: String,
}

/// A call to have a slice be what a topology says: made if it is not there, changed where it runs.
#[derive(Clone, Debug)]
pub struct Update {
    /// The slice.
    pub slice: SliceUrn,
    /// What it is to be.
    pub topology: Topology,
    /// The topology as a request, for manifests.
    pub document: String,
    /// The nodes that are to run, beside those that do already; all if nothing is said.
    pub only: Option<BTreeSet<ClientId>>,
    /// Who gets accounts on its nodes, beside those who have some.
    pub users: Vec<User>,
    /// When it is to end. Without it what is there keeps its end, and a new slice gets the configured life.
    pub end: Option<Timestamp>,
    /// The slice that the caller has seen, as [`Outlook::version`] has it: of another one nothing is changed.
    pub seen: Option<Version>,
}

/// Which slice of a name a caller has seen, and at which revision. Whatever changes what is asked of it makes another one,
/// and so does its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// There is none.
    None,
    /// This one.
    Of(SliceId, Revision),
}

/// A text that is no version of a slice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no revision of a slice: give back what an outlook has said")]
pub struct NoVersion(String);

/// What becomes, or would become, of a slice that is updated.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Changes, from what is there to what is asked for.
    pub changes: Changes,
    /// All choices made.
    pub plan: Plan,
    /// What this was worked out for.
    pub version: Version,
}

/// A call to change a link while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeLink {
    /// The slice.
    pub slice: SliceUrn,
    /// The link.
    pub link: ClientId,
    /// The node or interface whose sending direction changes; every direction if none.
    pub from: Option<ClientId>,
    /// What is done.
    pub what: LinkAction,
    /// When it is taken back; never if nothing is said.
    pub until: Option<Timestamp>,
}

/// What is done to a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkAction {
    /// It comes up.
    Up,
    /// It goes down: its interfaces lose their carrier.
    Down,
    /// What it does to packets changes.
    Set(Vec<Setting>),
    /// It is as it was planned.
    Reset,
}

/// A call to capture at links while they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The slice.
    pub slice: SliceUrn,
    /// The link; all if nothing is said.
    pub link: Option<ClientId>,
    /// How many bytes of each packet are kept.
    pub snap_length: SnapLength,
    /// Which packets, in the language of pcap-filter(7); all if nothing is said.
    pub filter: Option<String>,
}

/// A call to measure what links really do.
#[derive(Clone, Debug, PartialEq)]
pub struct Verify {
    /// The slice.
    pub slice: SliceUrn,
    /// What is measured, and for how long.
    pub options: testyard_verify::Options,
}

/// A report that is kept with its slice.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptReport {
    /// When it was made.
    pub at: Timestamp,
    /// What it says.
    pub report: testyard_verify::Report,
}

/// A slice among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceSummary {
    /// Its name.
    pub urn: SliceUrn,
    /// Who made it.
    pub creator: UserUrn,
    /// When.
    pub created: Timestamp,
    /// When the first of its slivers expires.
    pub expires: Option<Timestamp>,
    /// How many nodes do what.
    pub nodes: BTreeMap<Operational, usize>,
    /// How many links it has.
    pub links: usize,
    /// Whether operators have shut it down.
    pub shut_down: bool,
}

/// Some slivers of a slice, as they are.
#[derive(Clone, Debug)]
pub struct SliceView {
    /// The slice.
    pub urn: SliceUrn,
    /// Requests that the slivers come from, each once, in the order of their allocation.
    pub documents: Vec<Document>,
    /// The slivers, in the order of their allocation.
    pub slivers: Vec<SliverView>,
    /// Links of those requests, in their order.
    pub links: Vec<LinkView>,
    /// How far its schedule has come, if it has one.
    pub schedule: Option<ScheduleView>,
    /// Whether all that is asked of the slice is so: of its nodes, also of those that are not shown, and of its links.
    pub converged: bool,
    /// What keeps it from being so, for people; nothing as long as all is well.
    pub problem: Option<String>,
    /// Slivers that were named and are not there (best effort only), with the reason.
    pub missing: Vec<(SliverUrn, String)>,
    /// What the planner has to say.
    pub diagnostics: Vec<Diagnostic>,
}

/// A node's slice, as the node may see it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Who made the slice.
    pub creator: UserUrn,
    /// All of its living slivers.
    pub view: SliceView,
}

/// A request as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its number, to which [`SliverView::document`] refers.
    pub id: i64,
    /// Its text.
    pub text: String,
}

/// How far a schedule has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleView {
    /// How many events it has.
    pub events: usize,
    /// Which run it is, and when its clock began; none before all nodes are ready.
    pub run: Option<(u32, Timestamp)>,
    /// How many of its events have been carried out, on the host that is furthest behind.
    pub done: usize,
    /// The most milliseconds that one was late.
    pub late_ms_max: u64,
    /// What people should know about the run.
    pub notice: Option<String>,
}

/// A link, as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkView {
    /// Its URN.
    pub urn: SliverUrn,
    /// The request that it comes from.
    pub document: i64,
    /// The user's name of it.
    pub client_id: ClientId,
    /// What it is now, with all that was changed while it runs.
    pub now: NetworkLink,
    /// When what was changed for a while is taken back, the next of it.
    pub reverts: Option<Timestamp>,
    /// Whether it is another than it was planned.
    pub changed: bool,
    /// Whether its hosts have made it so.
    pub converged: bool,
    /// Why it is not as it should be, as its hosts say.
    pub problem: Option<String>,
}

/// A node's interface on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceView {
    /// The user's name of it.
    pub client_id: ClientId,
    /// Its name in the node.
    pub device: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its addresses, each with the length of its network's prefix.
    pub addresses: Vec<IpNet>,
}

/// A sliver, as it is.
#[derive(Clone, Debug)]
pub struct SliverView {
    /// Its id.
    pub id: SliverId,
    /// Its URN.
    pub urn: SliverUrn,
    /// The request that it comes from.
    pub document: i64,
    /// The user's name of it.
    pub client_id: ClientId,
    /// What the slice holds of it.
    pub allocation: Allocation,
    /// What it is doing; none before it is provisioned.
    pub operational: Operational,
    /// Whether it is all that is asked of it, also in what changes while it is ready.
    pub converged: bool,
    /// What its failure means for the whole.
    pub on_failure: OnFailure,
    /// When it expires.
    pub expires: Timestamp,
    /// What is wrong with it, or went wrong with this call for it; empty if nothing.
    pub error: String,
    /// The host it is on.
    pub host: HostName,
    /// The public name of that host.
    pub host_address: String,
    /// The kind of node.
    pub sliver_type: SliverTypeName,
    /// The image that it boots.
    pub image: ImageSource,
    /// Its own name.
    pub hostname: Hostname,
    /// Its control addresses.
    pub address: testyard_fabric::ControlAddress,
    /// The port of the host that leads to its SSH; none before it is provisioned.
    pub ssh_port: Option<u16>,
    /// Further ports of the host that lead to it.
    pub forwards: Vec<Forward>,
    /// Its interfaces on links.
    pub interfaces: Vec<InterfaceView>,
    /// Its accounts.
    pub accounts: Vec<Account>,
    /// Its public SSH host keys, in the one-line format.
    pub host_keys: Vec<String>,
    /// What it installs and runs.
    pub services: Services,
    /// What its host last saw.
    pub observed: Option<observed::Node>,
    /// When what happened to it since it was allocated, beside the host's own timeline.
    pub events: Vec<SliverEvent>,
}

/// Something that happened to a sliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliverEvent {
    /// What, for people and scripts: `allocated`, `provisioned`, `configuring`, `ready`, `failed`, …
    pub what: String,
    /// When.
    pub at: Timestamp,
}

/// What the testbed offers now.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Hosts.
    pub hosts: Vec<HostOffer>,
    /// Kinds of nodes.
    pub sliver_types: Vec<SliverType>,
}

/// What one host offers now.
#[derive(Clone, Debug, PartialEq)]
pub struct HostOffer {
    /// Its name.
    pub name: HostName,
    /// Nodes that it can take in all.
    pub capacity: u32,
    /// Nodes that it could take now.
    pub free: u32,
    /// Whether it can start nodes now.
    pub healthy: bool,
    /// Where it is.
    pub location: Option<Location>,
}

/// A host, as its operators see it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostReport {
    /// What it offers.
    pub offer: HostOffer,
    /// What users connect to.
    pub public_name: String,
    /// The address that the other hosts' tunnels lead to, if links go on here from there.
    pub tunnel: Option<IpAddr>,
    /// Whether its operators want no more nodes on it.
    pub drained: bool,
    /// Whether the configuration has it: what lives on one that it has not any more is looked after all the same.
    pub listed: bool,
    /// What it says of its engines, or why nothing.
    pub engines: Vec<String>,
    /// Why it cannot be spoken to, if so: what runs on it runs on.
    pub away: Option<String>,
    /// What its kernel has left.
    pub limits: HostLimits,
    /// Nodes on it, by slice, with those that are leaving.
    pub nodes: BTreeMap<SliceUrn, u32>,
}

/// A place on earth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// ISO 3166-1 alpha-2.
    pub country: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

impl Version {
    const NONE: &str = "none";
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str(Self::NONE),
            Self::Of(slice, revision) => write!(f, "{}.{}", slice.uuid(), revision.0),
        }
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        if text == Self::NONE {
            return Ok(Self::None);
        }
        let parts = || {
            let (slice, revision) = text.split_once('.')?;
            Some(Self::Of(SliceId::from_uuid(slice.parse().ok()?), Revision(revision.parse().ok()?)))
        };
        parts().ok_or_else(|| NoVersion(text.chars().take(60).collect()))
    }
}

/// A call that was not carried out; nothing has changed. Front doors render the text for the caller and choose
/// their own code by the variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An argument contradicts itself or the topology is not one that can be.
    #[error("{0}")]
    BadRequest(String),
    /// No such slice or sliver here, or not any more.
    #[error("{0}")]
    NotFound(String),
    /// The slice has been shut down by an operator.
    #[error("slice {0} has been shut down by the testbed's operators; ask them about it")]
    ShutDown(SliceUrn),
    /// Not enough is free.
    #[error("{0}")]
    TooBig(String),
    /// Not in this state, or not at all.
    #[error("{0}")]
    Unsupported(String),
    /// Against the policy, or users cannot be updated now.
    #[error("{0}")]
    Refused(String),
    /// The time asked for is outside what is allowed.
    #[error("{0}")]
    OutOfRange(String),
    /// The name is in use in this slice.
    #[error("{0}")]
    AlreadyExists(String),
    /// The slice is not the one any more that the caller has seen.
    #[error("{0}")]
    Changed(String),
    /// Something else is being done to this slice.
    #[error("{0}")]
    Busy(String),
    /// The caller's credential has ended.
    #[error("{0}")]
    Expired(String),
    /// Our fault; the log knows more under this reference.
    #[error("internal error; the testbed's log has the details under {0}")]
    Internal(String),
}

//! The contract between the controller and a host. The in-process host and a remote one keep it alike.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use testyard_fabric::capture::{CaptureError, CaptureRequest, CaptureStream};
use testyard_model::host::HostLimits;
use testyard_model::id::SliceId;
use testyard_model::image::ImageSource;
use testyard_model::probe::Probed;
use testyard_model::sliver_type::RuntimeKind;
use tokio::sync::{mpsc, watch};

use crate::desired;
use crate::observed;
use crate::probe::Probe;

/// A machine that nodes run on, as the controller sees it.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Gives the host everything that should be on it; whatever else carries this testbed's mark is removed. Called
    /// once when the controller starts or the host comes back.
    async fn sync(&self, slices: Vec<desired::Slice>) -> Result<(), HostError>;

    /// Gives the host the desired state of one slice; one without nodes is removed. An older revision than the one
    /// that the host has is ignored. Returns when the host has taken it, long before it is so.
    async fn apply(&self, slice: desired::Slice) -> Result<(), HostError>;

    /// What the host sees of each slice, as often as it changes and after each desired state that it has taken, beginning
    /// with all of them. A slice whose desired state has no nodes is reported once more, without nodes, when nothing of it is left.
    fn watch(&self) -> mpsc::UnboundedReceiver<observed::Slice>;

    /// What the host last saw of one slice.
    async fn observe(&self, slice: SliceId) -> Result<Option<observed::Slice>, HostError>;

    /// Captures at links of a slice, as [`testyard_fabric::Links::capture`] does.
    async fn capture(&self, slice: SliceId, request: CaptureRequest) -> Result<CaptureStream, CaptureError>;

    /// Whether captures by an expression can begin, as [`testyard_fabric::Links::try_filter`] says.
    async fn try_filter(&self, expression: &str) -> Result<(), CaptureError>;

    /// Sends frames over links of a slice, all at a time, and tells what became of them: an answer for each probe, in order.
    /// They are real traffic of the links. Others that are asked for meanwhile wait.
    async fn probe(&self, slice: SliceId, probes: Vec<Probe>) -> Result<Vec<Probed>, HostError>;

    /// These images will be asked for soon: they may be fetched meanwhile. An advice that nobody hears back from.
    fn ahead(&self, _images: Vec<Ahead>) {}

    /// What the host is and has.
    async fn facts(&self) -> Result<HostFacts, HostError>;

    /// Whether the host can be spoken to. Each change of it to [`Standing::Here`] says that the host may know nothing of what it
    /// was told before. A host that is in this process is here for ever, and its sender is gone.
    fn standing(&self) -> watch::Receiver<Standing> {
        watch::channel(Standing::Here).1
    }

    /// Ends the work of the converger and waits for it; nodes run on.
    async fn shut_down(&self);
}

/// An image that nodes will boot soon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ahead {
    /// What will run them.
    pub runtime: RuntimeKind,
    /// Which.
    pub image: ImageSource,
}

/// Whether a host can be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Here,
    /// It cannot, for this reason. Its nodes run on.
    Away(String),
}

/// What a host is and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Its runtimes, for people: `Docker Engine 20.10.24 (API 1.41)`; an engine that does not answer says so here.
    pub engines: Vec<String>,
    /// Whether nodes can be started now.
    pub healthy: bool,
    /// What its kernel has left.
    #[serde(default)]
    pub limits: HostLimits,
}

/// The host cannot be spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("host is out of reach: {0}")]
pub struct HostError(pub String);

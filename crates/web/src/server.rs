//! The local socket, and the way from it to the routes.
//!
//! The socket belongs to root and, if there is one, to the group `testyard`: who is in it may use the testbed. Others
//! cannot even connect.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use nix::unistd::{Group, chown};
use testyard_controller::Controller;
use testyard_model::image::ImageName;
use testyard_model::urn::Urn;
use testyard_telemetry::Calls;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::invite::Invite;
use crate::metrics::{NoMetrics, Scrape};
use crate::peer::Authority;
use crate::{SOCKET, bodies, connections, routes};

/// The group whose members may connect.
pub const GROUP: &str = "testyard";

/// This front door cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("local socket {path}: {source}")]
pub struct ServerError {
    path: PathBuf,
    source: io::Error,
}

/// The front door.
#[derive(Clone)]
pub struct Server {
    pub(crate) controller: Arc<Controller>,
    pub(crate) authority: Authority,
    /// The URN of the testbed.
    pub(crate) urn: Urn,
    /// What stands for images of other systems, for who reads topologies.
    pub(crate) images: Arc<ArcSwap<BTreeMap<String, ImageName>>>,
    /// Who lets agents of hosts in.
    pub(crate) hosts: Arc<dyn Invite>,
    /// Ends streams that would go on for ever.
    pub(crate) shutdown: CancellationToken,
    pub(crate) calls: Calls,
    pub(crate) metrics: Arc<dyn Scrape>,
    /// Told when the testbed is to begin anew.
    pub(crate) reopen: Arc<Notify>,
    pub(crate) since: Timestamp,
}

impl Server {
    /// The front door of a controller, which ends when the token is cancelled.
    #[must_use]
    pub fn new(
        controller: Arc<Controller>,
        authority: Authority,
        urn: Urn,
        images: Arc<ArcSwap<BTreeMap<String, ImageName>>>,
        hosts: Arc<dyn Invite>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            controller,
            authority,
            urn,
            images,
            hosts,
            shutdown,
            calls: Calls::default(),
            metrics: Arc::new(NoMetrics),
            reopen: Arc::default(),
            since: Timestamp::now(),
        }
    }

    /// The same, which tells these metrics.
    #[must_use]
    pub fn telling(self, metrics: Arc<dyn Scrape>) -> Self {
        Self { metrics, ..self }
    }

    /// The same, which says there when an operator has asked that the testbed begins anew.
    #[must_use]
    pub fn reopening(self, reopen: Arc<Notify>) -> Self {
        Self { reopen, ..self }
    }

    /// The same, whose calls are counted there.
    #[must_use]
    pub fn counted_by(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }

    /// Answers until the token is cancelled; calls that run then are finished.
    pub async fn serve(self, listener: UnixListener) {
        let ended = self.shutdown.clone();
        connections::serve(listener, bodies::bounded(routes::all(self)), ended).await;
    }
}

/// Listens in a run folder. A socket that is left there by a server that was killed is replaced: the caller holds the lock
/// of the folder.
///
/// # Errors
/// [`ServerError`] with the path.
pub fn listen(run: &Path) -> Result<UnixListener, ServerError> {
    let path = run.join(SOCKET);
    let attempt = || -> io::Result<UnixListener> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Made beside its place, so that nobody ever finds one that anybody may use.
        let fresh = run.join(format!("{SOCKET}.new"));
        let _ = std::fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh)?;
        let group = Group::from_name(GROUP).ok().flatten();
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(mode))?;
        if let Some(group) = group {
            chown(&fresh, None, Some(group.gid))?;
        }
        std::fs::rename(&fresh, &path)?;
        Ok(listener)
    };
    attempt().map_err(|source| ServerError { path: path.clone(), source })
}

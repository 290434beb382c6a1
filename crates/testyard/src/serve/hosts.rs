//! The hosts of the testbed: this machine, and those whose agents come in.
//!
//! ```text
//!  [[host]] agent = "inside"     LocalHost in this process
//!           agent = "socket"     RemoteHost ◄── root's agent, over a local socket
//!           agent = "network"    RemoteHost ◄── an agent elsewhere, at the door of testyard_hosts
//! ```

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use testyard_agent::remote::RemoteHost;
use testyard_agent::{Facts, Host, LocalHost};
use testyard_controller::Store;
use testyard_hosts::door::LOOK;
use testyard_hosts::{Door, StoreRoster, Token};
use testyard_model::id::HostName;
use testyard_trust::issuer::HostAuthority;
use testyard_web::{Invitation, Invite};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::translate;
use crate::config::{Agent, Settings};
use crate::machine::{self, Folders};

/// The local socket that root's agent connects to, in the run folder.
pub(crate) const SOCKET: &str = "agent.sock";
/// The authority over hosts, in the state folder.
pub(crate) const AUTHORITY: &str = "hosts.pem";
/// How long a token is good.
const TOKEN: SignedDuration = SignedDuration::from_hours(1);
/// The pause after a connection that was not accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// How this program introduces itself to its agents, and they to it.
pub(crate) const PROGRAM: &str = concat!("testyard ", env!("CARGO_PKG_VERSION"));

/// The hosts of the testbed.
pub(super) struct Hosts {
    /// This machine, where this process is its agent.
    inside: Option<(HostName, Arc<LocalHost>)>,
    facts: Arc<dyn Facts>,
    remote: Mutex<BTreeMap<HostName, Known>>,
    /// Where agents elsewhere connect to.
    address: Mutex<String>,
    authority: HostAuthority,
    roster: StoreRoster,
    opened: tokio::sync::Mutex<Opened>,
    shutdown: CancellationToken,
    doors: TaskTracker,
}

/// Where agents can come in already.
#[derive(Default)]
struct Opened {
    socket: bool,
    network: bool,
}

/// A host whose agent is elsewhere.
#[derive(Clone)]
struct Known {
    agent: Agent,
    host: Arc<RemoteHost>,
    /// Whether the configuration still has it. What lives on one that it has not any more is looked after all the same.
    listed: bool,
}

impl Hosts {
    /// Opens this machine, if it is a host of its own testbed; agents of others are waited for.
    pub(super) async fn open(
        settings: &Settings,
        store: &Store,
        facts: Arc<dyn Facts>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Arc<Self>> {
        let folders = Folders { state: settings.paths.state.clone(), run: settings.paths.run.clone() };
        let inside = match settings.inside() {
            Some(host) => {
                let config = translate::host_config(settings, host);
                let logins = settings.registries.clone();
                let opened = machine::open(&config, &folders, logins, Arc::clone(&facts)).await?;
                Some((host.name.clone(), opened))
            }
            None => None,
        };
        Ok(Arc::new(Self {
            inside,
            facts,
            remote: Mutex::default(),
            address: Mutex::new(settings.agents.address.clone()),
            authority: authority(settings)?,
            roster: StoreRoster::new(store.clone()),
            opened: tokio::sync::Mutex::default(),
            shutdown,
            doors: TaskTracker::new(),
        }))
    }

    /// The hosts as these settings have them. Those that are known stay what they are, and hear how they are run now.
    pub(super) fn take(&self, settings: &Settings) -> Vec<(HostName, Arc<dyn Host>)> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&settings.agents.address);
        let registries = translate::registries(settings);
        let mut remote = self.remote();
        let mut all: Vec<(HostName, Arc<dyn Host>)> = Vec::new();
        let mut known = BTreeMap::new();
        for host in &settings.hosts {
            if host.agent == Agent::Inside {
                // One that this process was not started with needs a restart, which is said elsewhere.
                let inside = self.inside.as_ref().filter(|(name, _)| *name == host.name);
                all.extend(inside.map(|(name, inside)| (name.clone(), Arc::clone(inside) as Arc<dyn Host>)));
                continue;
            }
            let mut config = translate::host_config(settings, host);
            config.registries.clone_from(&registries);
            let remote = match remote.remove(&host.name) {
                Some(known) => {
                    known.host.configure(config);
                    known.host
                }
                None => {
                    let new = RemoteHost::new(host.name.clone(), config);
                    new.answer_by(Arc::clone(&self.facts));
                    new
                }
            };
            all.push((host.name.clone(), Arc::clone(&remote) as Arc<dyn Host>));
            known.insert(host.name.clone(), Known { agent: host.agent, host: remote, listed: true });
        }
        // The controller goes on with those that something is on, and they may be put back.
        let left = std::mem::replace(&mut *remote, known);
        remote.extend(left.into_iter().map(|(name, known)| (name, Known { listed: false, ..known })));
        if let Some((_, inside)) = &self.inside {
            inside.set_pool(translate::pool(settings));
        }
        all
    }

    /// Lets agents in where these settings have hosts whose agents are elsewhere, as far as that is not so already.
    pub(super) async fn listen(self: &Arc<Self>, settings: &Settings) -> anyhow::Result<()> {
        let mut opened = self.opened.lock().await;
        let any = |agent| settings.hosts.iter().any(|host| host.agent == agent);
        if any(Agent::Socket) && !opened.socket {
            let listener = listen(&settings.paths.run.join(SOCKET))?;
            self.doors.spawn(Arc::clone(self).accept(listener));
            opened.socket = true;
        }
        if !any(Agent::Network) || opened.network {
            return Ok(());
        }
        let (hosts, roster) = (Arc::clone(self), Arc::new(self.roster.clone()));
        let door =
            Door::new(self.authority.clone(), roster, hosts, PROGRAM.to_owned(), Timestamp::now, LOOK)?;
        let mut listeners = Vec::new();
        for at in &settings.agents.bind {
            let listener = TcpListener::bind(at).await;
            let why = || format!("cannot listen for agents on {at}: [agents] bind says where");
            listeners.push(listener.with_context(why)?);
            tracing::info!(address = %at, "listening for agents");
        }
        for listener in listeners {
            self.doors.spawn(Arc::clone(&door).serve(listener, self.shutdown.clone()));
        }
        opened.network = true;
        Ok(())
    }

    /// Returns once nobody comes in any more.
    pub(super) async fn closed(&self) {
        self.doors.close();
        self.doors.wait().await;
    }

    /// Serves root's agent on this machine, one connection after the other and side by side.
    async fn accept(self: Arc<Self>, listener: UnixListener) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the local agent's connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let uid = stream.peer_cred().map(|peer| peer.uid());
            if !uid.as_ref().is_ok_and(|uid| *uid == 0 || *uid == nix::unistd::Uid::effective().as_raw()) {
                tracing::warn!(?uid, "only root can be the agent of this machine");
                continue;
            }
            let is_here = |known: &&Known| known.listed && known.agent == Agent::Socket;
            let Some(known) = self.remote().values().find(is_here).cloned() else { continue };
            let ended = self.shutdown.clone();
            connections.spawn(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    end = known.host.attend(stream, PROGRAM) => tracing::debug!(%end, "the local agent's connection ended"),
                }
            });
        }
        connections.close();
        connections.wait().await;
    }

    fn remote(&self) -> MutexGuard<'_, BTreeMap<HostName, Known>> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_network(&self, name: &HostName) -> Option<Known> {
        self.remote().get(name).filter(|known| known.agent == Agent::Network).cloned()
    }
}

impl testyard_hosts::door::Hosts for Hosts {
    fn host(&self, name: &HostName) -> Option<Arc<RemoteHost>> {
        self.on_network(name).map(|known| known.host)
    }
}

#[async_trait]
impl Invite for Hosts {
    async fn invite(&self, host: &HostName) -> Result<Invitation, String> {
        let known = self.remote().get(host).filter(|known| known.listed).map(|known| known.agent);
        let inside = || self.inside.as_ref().filter(|(name, _)| name == host).map(|_| Agent::Inside);
        match known.or_else(inside) {
            Some(Agent::Network) => {}
            Some(Agent::Inside | Agent::Socket) => {
                return Err(format!("host {host} is this machine itself: its agent needs no token"));
            }
            None => {
                let remedy = "write it into the configuration as [[host]], and have serve read that again";
                return Err(format!(
                    "there is no host {host}: {remedy} (`systemctl reload testyard`, or SIGHUP)"
                ));
            }
        }
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "no token can be made");
            "the token cannot be made; the log of serve says why".to_owned()
        };
        let token =
            Token::make(host.clone(), self.authority.fingerprint()).map_err(|error| failed(&error))?;
        let until = Timestamp::now() + TOKEN;
        self.roster.add(host.clone(), token.hash(), until).await.map_err(|error| failed(&error))?;
        let controller = self.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Invitation { host: host.to_string(), token: token.to_string(), controller, until })
    }

    async fn revoke(&self, host: &HostName) -> Result<bool, String> {
        let removed = match self.roster.remove(host.clone()).await {
            Ok(()) => true,
            Err(testyard_hosts::RosterError::NoHost(_)) => false,
            Err(error) => return Err(error.to_string()),
        };
        if let Some(known) = self.on_network(host) {
            known.host.disconnect("it was removed (testyard host rm)");
        }
        Ok(removed)
    }
}

/// The testbed's authority over its hosts; made when it is needed first.
fn authority(settings: &Settings) -> anyhow::Result<HostAuthority> {
    let path = settings.paths.state.join(AUTHORITY);
    let read = match std::fs::read(&path) {
        Ok(text) => HostAuthority::from_pem(&text).map_err(anyhow::Error::from),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = HostAuthority::make(&settings.testbed.authority, Timestamp::now())?;
            made.write_new(&path)?;
            Ok(made)
        }
        Err(error) => Err(error.into()),
    };
    read.with_context(|| format!("the authority over hosts, {}", path.display()))
}

/// Listens where root's agent connects. What a killed server has left there is replaced: the caller holds the folder's lock.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let attempt = || -> std::io::Result<UnixListener> {
        let fresh: PathBuf = path.with_extension("new");
        for old in [path, &fresh] {
            match std::fs::remove_file(old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, path)?;
        Ok(listener)
    };
    attempt().with_context(|| format!("the local agent's socket, {}", path.display()))
}

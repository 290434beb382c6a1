//! The state of one connection, and how its programs are started.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Weak};

use russh::server::{Msg, Session};
use russh::{ChannelId, ChannelWriteHalf, Error};
use tokio::io::unix::AsyncFd;

use super::Resolver;
use super::forward::{Forward, Link};
use super::inbox::Inboxes;
use super::login::{Login, User};
use super::program::{Port, Program};
use crate::environment::{self, Facts, Sent};
use crate::settings::Settings;
use crate::shell::{self, Image, Wanted};
use crate::terminal::Terminal;

/// Ports and sockets that one connection may listen on.
pub(super) const FORWARDS: usize = 64;
/// Folders for the agent's socket, the first that can be written.
const TEMPORARY: [&str; 4] = ["/tmp", "/dev/shm", "/var/tmp", "/run"];

/// The state of one connection.
pub(super) struct Connection {
    pub(super) settings: Arc<Settings>,
    pub(super) login: Login,
    pub(super) user: Option<User>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) resolve: Resolver,
    pub(super) quiet: bool,
    pub(super) inboxes: Arc<Inboxes>,
    /// Session channels whose program has not been asked for.
    pub(super) seats: HashMap<ChannelId, Seat>,
    /// Those whose program runs.
    pub(super) running: HashMap<ChannelId, Running>,
    pub(super) listening: HashMap<(String, u32), Forward>,
    pub(super) sockets: HashMap<String, Forward>,
    pub(super) agent: Option<Agent>,
}

/// A session channel before its program.
pub(super) struct Seat {
    pub(super) write: ChannelWriteHalf<Msg>,
    pub(super) terminal: Option<Terminal>,
    pub(super) sent: Sent,
    pub(super) agent: bool,
}

pub(super) struct Running {
    pub(super) group: Option<i32>,
    pub(super) terminal: Weak<AsyncFd<OwnedFd>>,
}

/// The client's agent, as a socket in a folder of its own.
pub(super) struct Agent {
    socket: String,
    folder: std::path::PathBuf,
    _forward: Forward,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_dir(&self.folder);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(line) = self.login.epitaph().filter(|_| !self.quiet) {
            super::say(&line);
        }
    }
}

/// The kernel's text for it says nothing of processes.
fn why_not_started(error: &std::io::Error) -> String {
    if error.raw_os_error() == Some(nix::libc::EAGAIN) {
        "the limit of processes, the node's or the user's, is reached; end some, or ask for a sliver type that allows more"
            .to_owned()
    } else {
        error.to_string()
    }
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(
        settings: Arc<Settings>,
        login: Login,
        peer: SocketAddr,
        local: SocketAddr,
        resolve: Resolver,
        quiet: bool,
    ) -> Self {
        Self {
            settings,
            login,
            user: None,
            peer,
            local,
            resolve,
            quiet,
            inboxes: Arc::default(),
            seats: HashMap::new(),
            running: HashMap::new(),
            listening: HashMap::new(),
            sockets: HashMap::new(),
            agent: None,
        }
    }

    pub(super) fn link(&self, session: &Session) -> Link {
        Link {
            handle: session.handle(),
            inboxes: Arc::clone(&self.inboxes),
            most: self.settings.limits.channels,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.inboxes.count() >= self.settings.limits.channels
    }

    /// Whether a connection to `host` and `port` may be opened for the client.
    pub(super) fn may_open(&self, host: &str, port: u32) -> bool {
        self.user.as_ref().is_some_and(|User { options, .. }| {
            options.forwarding
                && (options.open.is_empty() || options.open.iter().any(|place| place.is(host, port)))
        })
    }

    pub(super) fn may_listen(&self, host: &str, port: u32) -> bool {
        self.listening.len() + self.sockets.len() < FORWARDS
            && self.user.as_ref().is_some_and(|User { options, .. }| {
                options.forwarding
                    && (options.listen.is_empty() || options.listen.iter().any(|place| place.is(host, port)))
            })
    }

    /// Whether sockets of the node may be used; a key that is good for some ports only is not good for them.
    pub(super) fn may_use_sockets(&self) -> bool {
        self.user.as_ref().is_some_and(|User { options, .. }| {
            options.forwarding && options.open.is_empty() && options.listen.is_empty()
        })
    }

    /// Starts what a channel's client wants.
    pub(super) fn launch(
        &mut self,
        id: ChannelId,
        wanted: Wanted,
        session: &mut Session,
    ) -> Result<(), Error> {
        let (Some(user), Some(seat)) = (&self.user, self.seats.remove(&id)) else {
            return session.channel_failure(id);
        };
        let Seat { write, terminal, sent, agent } = seat;
        let (wanted, original) = match (&user.options.command, wanted) {
            (Some(forced), Wanted::Shell) => (Wanted::Command(forced.clone().into_bytes()), None),
            (Some(forced), Wanted::Command(asked)) => {
                let asked = String::from_utf8_lossy(&asked).replace('\0', "");
                (Wanted::Command(forced.clone().into_bytes()), Some(asked))
            }
            (Some(forced), Wanted::Sftp) => {
                (Wanted::Command(forced.clone().into_bytes()), Some("sftp".to_owned()))
            }
            (None, wanted) => (wanted, None),
        };
        let shell = shell::shell(&user.account, &Image);
        let (peer, local) = (self.peer, self.local);
        let facts = Facts {
            shell: shell.as_ref().and_then(|(path, _)| path.to_str()).unwrap_or_default(),
            connection: format!("{} {} {} {}", peer.ip(), peer.port(), local.ip(), local.port()),
            client: format!("{} {} {}", peer.ip(), peer.port(), local.port()),
            terminal: terminal.as_ref().map(|terminal| (terminal.path.clone(), terminal.kind.as_str())),
            agent: self.agent.as_ref().filter(|_| agent).map(|agent| agent.socket.as_str()),
            original,
        };
        let environment =
            environment::compose(&self.settings, &user.account, &sent, &user.options.environment, facts);
        let motd = self.settings.motd.clone().filter(|_| wanted == Wanted::Shell && terminal.is_some());
        let started = match shell::plan(&wanted, shell.as_ref(), &Image) {
            Ok(launch) => Program::start(&launch, &environment, terminal).map_err(|error| {
                let code = if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
                (format!("{}: {}", launch.name.display(), why_not_started(&error)), code)
            }),
            Err(reason) => Err((reason.to_string(), 127)),
        };
        session.channel_success(id)?;
        let port = Port { write, inbox: self.inboxes.of(id), handle: session.handle() };
        if let Ok(program) = &started {
            self.inboxes.begin(id);
            self.running.insert(id, Running { group: program.group(), terminal: program.terminal() });
        }
        let inboxes = Arc::clone(&self.inboxes);
        tokio::spawn(async move {
            match started {
                Ok(program) => {
                    if let Some(text) = motd {
                        port.send(None, text.replace('\n', "\r\n").into()).await;
                    }
                    program.serve(&port).await;
                }
                Err((line, code)) => {
                    port.complain(&line).await;
                    port.exit(code).await;
                }
            }
            port.close().await;
            inboxes.remove(id);
        });
        Ok(())
    }

    /// Makes the socket of the client's agent; once for a connection.
    pub(super) fn open_agent(&mut self, session: &Session) -> std::io::Result<()> {
        if self.agent.is_some() {
            return Ok(());
        }
        let home = self.user.as_ref().map(|user| user.account.home.clone());
        let folders = TEMPORARY.iter().map(Path::new).chain(home.as_deref());
        let made =
            folders.map(|folder| nix::unistd::mkdtemp(&folder.join("ssh-XXXXXXXXXX"))).find_map(Result::ok);
        let folder = made.ok_or_else(|| std::io::Error::other("no folder for the agent's socket"))?;
        let socket = folder.join("agent");
        let forward = Forward::agent(&self.link(session), &socket)?;
        self.agent = Some(Agent { socket: socket.to_string_lossy().into_owned(), folder, _forward: forward });
        Ok(())
    }
}

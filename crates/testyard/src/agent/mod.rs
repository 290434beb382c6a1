//! `testyard agent`: makes this machine a host of a testbed whose controller is elsewhere, or another user's process here.
//!
//! ```text
//!  token ─ enrol ─► membership (a file) ─► connect ─► join: how the host is to be run ─► serve, until the connection ends
//!                        ▲                    ▲                     │                       │
//!                        └─ renew ────────────┤              LocalHost, opened once         │
//!                                             └──────────── a pause that grows ─────────────┘
//! ```
//!
//! Nodes and links run on whatever becomes of the connection, and of this process.

mod keeping;
mod station;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use testyard_agent::remote::{ConnectionError, Introduction, RemoteFacts};
use testyard_hosts::{CallError, Membership};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use self::keeping::Keeping;
use self::station::Station;
use crate::daemon::{Signals, Told, lock, log, mounts, notify};
use crate::exit::{Failure, Outcome};
use crate::machine::Folders;
use crate::serve::hosts::PROGRAM;

/// `testyard agent`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    echo TOKEN | testyard agent --controller am.example.net:8002 --token -   # the first time, as `testyard host add` prints it\n  \
    testyard agent                                                          # from then on\n  \
    testyard agent --socket /run/testyard/agent.sock                        # beside a serve that is not root's\n\
    Nodes run on when the agent ends, and when its controller is out of reach.")]
pub struct Arguments {
    /// Where the testbed's controller is: HOST:PORT
    #[arg(long, value_name = "ADDRESS", requires = "token")]
    controller: Option<String>,
    /// The file with the token that `testyard host add` has printed; - is the standard input
    #[arg(long, value_name = "FILE", requires = "controller")]
    token: Option<PathBuf>,
    /// End when the testbed has let this host in: a service manager starts the agent then
    #[arg(long, requires = "token")]
    only_enrol: bool,
    /// The local socket of a `serve` on this machine that is not root's
    #[arg(long, value_name = "PATH", conflicts_with_all = ["controller", "token"])]
    socket: Option<PathBuf>,
    /// What must outlive the machine's restart: membership, records of nodes
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,
    /// What need not: sockets
    #[arg(long, value_name = "DIR", default_value = RUN)]
    run: PathBuf,
    /// How the log, on the standard error, is written; RUST_LOG says how much of it
    #[arg(long, value_enum, default_value_t = log::Format::Text)]
    log_format: log::Format,
}

/// Where an agent keeps its state unless it is told otherwise.
pub(crate) const STATE: &str = "/var/lib/testyard-agent";
/// Likewise its sockets.
pub(crate) const RUN: &str = "/run/testyard-agent";

/// The pause before the controller is called again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A connection that has lasted this long was a good one.
const GOOD: Duration = Duration::from_secs(30);

/// How the controller is reached.
enum Way {
    /// Over the network.
    Network { keeping: Keeping, membership: Membership },
    /// By a socket on this machine.
    Socket(PathBuf),
}

/// Why the agent is not connected.
#[derive(Debug, thiserror::Error)]
enum Apart {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("{path}: {source}")]
    Socket { path: PathBuf, source: std::io::Error },
    #[error("this host cannot be run: {0:#}")]
    Here(anyhow::Error),
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// If another agent runs here, or this host was never let in and has no token that is good.
pub fn run(arguments: &Arguments) -> Outcome {
    log::start(arguments.log_format);
    // Held to the end: what the kernel gives back when the process ends, however it ends.
    let _lock = lock::take(&arguments.run).map_err(Failure::failed)?;
    mounts::look();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no event loop")?;
    runtime.block_on(attend(arguments))
}

async fn attend(arguments: &Arguments) -> Outcome {
    let mut signals = Signals::new()?;
    let mut way = way(arguments).await?;
    if arguments.only_enrol {
        return Ok(());
    }
    let own = Introduction { program: PROGRAM.to_owned(), instance: station::instance() };
    let folders = Folders { state: arguments.state.clone(), run: arguments.run.clone() };
    let mut station = Station::new(folders, Arc::new(RemoteFacts::default()));
    notify::ready();
    let mut pause = FIRST_PAUSE;
    let mut last = String::new();
    loop {
        let began = tokio::time::Instant::now();
        let apart = tokio::select! {
            apart = way.connect(&mut station, &own) => apart,
            () = ended(&mut signals) => break,
        };
        if matches!(apart, Apart::Connection(ConnectionError::Reconfigured)) {
            continue;
        }
        if began.elapsed() > GOOD {
            pause = FIRST_PAUSE;
            last.clear();
        }
        // Once is enough: a controller may be away for a weekend.
        let why = apart.to_string();
        if why != last {
            tracing::warn!(why, "not connected; what runs here runs on, and the controller is called again");
            last = why;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ended(&mut signals) => break,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    tracing::info!("ending; nodes run on");
    notify::stopping();
    station.shut_down().await;
    Ok(())
}

/// Returns when the program is told to end.
async fn ended(signals: &mut Signals) {
    while signals.next().await == Told::Reload {
        tracing::info!("an agent is configured by its testbed: there is nothing to read again");
    }
}

/// How the controller is reached; with a token, as it was let in just now.
async fn way(arguments: &Arguments) -> Result<Way, Failure> {
    if let Some(socket) = &arguments.socket {
        return Ok(Way::Socket(socket.clone()));
    }
    let keeping = Keeping::new(&arguments.state);
    let membership = match (&arguments.controller, &arguments.token) {
        (Some(controller), Some(token)) => {
            let token = keeping::read_token(token)?;
            keeping.admit(&token)?;
            let membership = keeping.enrol(controller, &token).await.map_err(Failure::failed)?;
            tracing::info!(host = %token.host(), controller, "this machine is a host of the testbed");
            membership
        }
        _ => keeping.load()?,
    };
    Ok(Way::Network { keeping, membership })
}

impl Way {
    /// Serves one connection to its end.
    async fn connect(&mut self, station: &mut Station, own: &Introduction) -> Apart {
        match self {
            Self::Socket(path) => match UnixStream::connect(&*path).await {
                Ok(stream) => serve(stream, station, own).await,
                Err(source) => Apart::Socket { path: path.clone(), source },
            },
            Self::Network { keeping, membership } => {
                if let Err(error) = renew_if_due(keeping, membership).await {
                    tracing::warn!(%error, "the host's certificate was not renewed; it is tried again");
                }
                let stream = match testyard_hosts::connect(membership).await {
                    Ok(stream) => stream,
                    Err(error) => return error.into(),
                };
                tokio::select! {
                    apart = serve(stream, station, own) => apart,
                    () = keep_fresh(keeping, membership) => unreachable!("it goes on for ever"),
                }
            }
        }
    }
}

async fn serve<S>(stream: S, station: &mut Station, own: &Introduction) -> Apart
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let joined = match testyard_agent::remote::join(stream, own).await {
        Ok(joined) => joined,
        Err(error) => return error.into(),
    };
    tracing::info!(controller = joined.program, "connected");
    match station.host(&joined.config).await {
        Ok(host) => testyard_agent::remote::serve(host, station.facts(), joined).await.into(),
        Err(error) => {
            joined.unable(format!("{error:#}")).await;
            Apart::Here(error)
        }
    }
}

/// How often it is looked at whether the certificate is to be renewed.
const LOOK: Duration = Duration::from_secs(3600);

async fn keep_fresh(keeping: &Keeping, membership: &mut Membership) {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = renew_if_due(keeping, membership).await {
            tracing::warn!(%error, "the host's certificate was not renewed; it is tried again");
        }
    }
}

async fn renew_if_due(keeping: &Keeping, membership: &mut Membership) -> Result<(), CallError> {
    if Timestamp::now() >= membership.renew_at()? {
        *membership = keeping.renew(membership).await?;
        tracing::info!("the host's certificate was renewed");
    }
    Ok(())
}

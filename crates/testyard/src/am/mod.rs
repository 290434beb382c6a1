//! `testyard am`: a client for any aggregate that speaks the GENI AM API v3.
//!
//! Everything can be said on the command line; what is not said is found in Testyard's folder, so that on the machine of
//! a testbed `testyard am up RSPEC --slice demo` is enough: the URL is the configured one, the user is the only one
//! there, and the slice's credential is issued on the spot if the authority's key can be read.

mod login;
mod manifest;
mod session;
mod show;
mod up;
mod verbs;
mod wait;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use testyard_am::client::ClientError;

use crate::cli::FolderArgument;
use crate::exit::{Failure, Kind, Outcome};

/// `testyard am …`
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    testyard am up examples/two-nodes.rspec --slice demo\n  \
    testyard am ssh demo left -- uname -a\n  \
    testyard am status demo --timeline\n  \
    testyard am delete demo\n  \
    testyard am get-version --url https://am.example.net:8001/ --insecure")]
pub enum Command {
    /// What the aggregate speaks
    GetVersion(verbs::Plain),
    /// The advertisement: hosts, sliver types, images, what is free
    ListResources(verbs::ListResources),
    /// The slivers of a slice and how to log in; --rspec prints the manifest
    Describe(verbs::Describe),
    /// Reserve what a request RSpec asks for
    Allocate(verbs::Allocate),
    /// Take what is reserved and make it run
    Provision(verbs::Provision),
    /// How the slivers are
    Status(verbs::Status),
    /// Act on slivers: geni_start, geni_stop, geni_restart, geni_reload, geni_update_users
    #[command(visible_alias = "act")]
    Perform(verbs::Perform),
    /// Move the end of slivers: a time like 2027-01-01T00:00:00Z, or from now like +2h or +7d
    Renew(verbs::Renew),
    /// Give slivers back
    Delete(verbs::Delete),
    /// Stop a slice and close it to its users: for operators, in an emergency
    Shutdown(verbs::Shutdown),
    /// Allocate, provision, wait, and say how to log in
    Up(up::Arguments),
    /// Log in to a node, or run a command in it
    Ssh(login::Ssh),
    /// Print a configuration for ssh(1) that knows every node of a slice
    SshConfig(login::SshConfig),
}

/// Whom to call, as whom, with which credentials.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    #[command(flatten)]
    folder: FolderArgument,
    /// The aggregate's URL [default: that of the configured testbed]
    #[arg(long, help_heading = "Connection")]
    url: Option<String>,
    /// The user of Testyard's folder to be [default: the first one]
    #[arg(long = "as", value_name = "USER", help_heading = "Connection", conflicts_with = "cert")]
    user: Option<String>,
    /// The client's certificate, with its issuers, PEM
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    cert: Option<PathBuf>,
    /// The key of the certificate, PEM [default: in the certificate's file]
    #[arg(long, value_name = "FILE", help_heading = "Connection", requires = "cert")]
    key: Option<PathBuf>,
    /// What the server's certificate, or its issuer's, must be, PEM [default: the testbed's own, else the system's]
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    server_ca: Option<PathBuf>,
    /// Take any server for the aggregate
    #[arg(long, help_heading = "Connection", conflicts_with = "server_ca")]
    insecure: bool,
    /// A credential or speaks-for statement to show; repeat for more [default: issued by the authority of the folder]
    #[arg(long = "credential", value_name = "FILE", help_heading = "Connection")]
    credentials: Vec<PathBuf>,
    /// The user whom the caller speaks for
    #[arg(long, value_name = "URN", help_heading = "Connection")]
    speaking_for: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// With the exit codes of [`crate::exit`].
pub fn run(command: &Command) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
    let outcome = runtime.block_on(async {
        match command {
            Command::GetVersion(arguments) => verbs::get_version(arguments).await,
            Command::ListResources(arguments) => verbs::list_resources(arguments).await,
            Command::Describe(arguments) => verbs::describe(arguments).await,
            Command::Allocate(arguments) => verbs::allocate(arguments).await,
            Command::Provision(arguments) => verbs::provision(arguments).await,
            Command::Status(arguments) => verbs::status(arguments).await,
            Command::Perform(arguments) => verbs::perform(arguments).await,
            Command::Renew(arguments) => verbs::renew(arguments).await,
            Command::Delete(arguments) => verbs::delete(arguments).await,
            Command::Shutdown(arguments) => verbs::shutdown(arguments).await,
            Command::Up(arguments) => up::run(arguments).await,
            Command::Ssh(arguments) => login::ssh(arguments).await,
            Command::SshConfig(arguments) => login::ssh_config(arguments).await,
        }
    });
    outcome.map_err(|failure| with_remedy(failure, command.connection()))
}

/// Says what to do where nothing listens.
fn with_remedy(failure: Failure, connection: &Connection) -> Failure {
    if failure.kind != Kind::NoListener {
        return failure;
    }
    let remedy = if session::is_own_testbed(connection) {
        "is `testyard serve` running?"
    } else {
        "check the URL, its port, and firewalls on the way"
    };
    Failure { message: format!("{}; {remedy}", failure.message), ..failure }
}

impl Command {
    fn connection(&self) -> &Connection {
        match self {
            Self::GetVersion(arguments) => &arguments.connection,
            Self::ListResources(arguments) => &arguments.connection,
            Self::Describe(arguments) => &arguments.which.connection,
            Self::Allocate(arguments) => &arguments.which.connection,
            Self::Provision(arguments) => &arguments.which.connection,
            Self::Status(arguments) => &arguments.which.connection,
            Self::Perform(arguments) => &arguments.which.connection,
            Self::Renew(arguments) => &arguments.which.connection,
            Self::Delete(arguments) => &arguments.which.connection,
            Self::Shutdown(arguments) => &arguments.connection,
            Self::Up(arguments) => &arguments.connection,
            Self::Ssh(arguments) => &arguments.connection,
            Self::SshConfig(arguments) => &arguments.connection,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let kind = match error {
            ClientError::Connect { .. } => Kind::NoListener,
            ClientError::Tls { .. } | ClientError::Broken { .. } | ClientError::TimedOut { .. } => {
                Kind::Unreachable
            }
            ClientError::Url { .. } | ClientError::Identity(_) => Kind::Usage,
            _ => Kind::Failed,
        };
        Self { kind, message: format!("{:#}", anyhow::Error::new(error)) }
    }
}

//! Logging in to nodes of a slice at any aggregate, by what its manifest says.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Connection;
use super::manifest;
use super::session::Session;
use crate::exit::{Failure, Outcome};
use crate::ssh::{self, Ways};

/// `ssh`
#[derive(Debug, Args)]
pub struct Ssh {
    /// The slice: its URN, or its name at the user's authority
    slice: String,
    /// The node, by its client_id
    node: String,
    /// The command to run in it, behind --
    #[arg(last = true)]
    command: Vec<String>,
    /// The private SSH key to use [default: that of the folder, else ssh's own choice]
    #[arg(long, short, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// `ssh-config`
#[derive(Debug, Args)]
#[command(
    after_help = "Example: testyard am ssh-config demo > demo.ssh; ssh -F demo.ssh left; scp -F demo.ssh f left:"
)]
pub struct SshConfig {
    /// The slice: its URN, or its name at the user's authority
    slice: String,
    /// The private SSH key to use [default: that of the folder, else ssh's own choice]
    #[arg(long, short, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

pub(super) async fn ssh(arguments: &Ssh) -> Outcome {
    let ways = ways(&arguments.connection, &arguments.slice, arguments.identity.as_deref()).await?;
    let login = ways.login(&arguments.node)?;
    // Only an error comes back.
    let error = ways.ssh(login, &[]).args(&arguments.command).exec();
    Err(ssh::missing("ssh", &error))
}

pub(super) async fn ssh_config(arguments: &SshConfig) -> Outcome {
    let ways = ways(&arguments.connection, &arguments.slice, arguments.identity.as_deref()).await?;
    crate::print::text(ways.configuration());
    Ok(())
}

async fn ways(connection: &Connection, slice: &str, identity: Option<&Path>) -> Result<Ways, Failure> {
    let session = Session::open(connection)?;
    let slice = session.slice(slice)?;
    let credentials = session.slice_credentials(&slice)?;
    let options = session.options();
    let described = session.client.describe(&[slice.to_string()], &credentials, &options).await?;
    let all = manifest::logins(described.rspec.as_deref().unwrap_or_default())?;
    if described.slivers.is_empty() {
        return Err(Failure::failed(format!(
            "{slice} has no slivers here; `testyard am up` makes some, `testyard am status` shows how a slice is"
        )));
    }
    let logins = manifest::logins_of_user(&all, &session.user()?.to_string());
    if logins.is_empty() {
        return Err(Failure::failed(format!(
            "no node of {slice} can be logged in to yet; `testyard am status {}` shows how they are",
            slice.name()
        )));
    }
    let identity = identity.map(Path::to_owned).or_else(|| session.ssh_key());
    Ways::new(logins, &session.url, &slice.to_string(), identity)
}

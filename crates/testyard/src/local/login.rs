//! `testyard ssh` and `testyard ssh-config`.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use clap::Args;

use super::session::{Connection, Session};
use crate::exit::Outcome;
use crate::{print, ssh};

/// `ssh`
#[derive(Debug, Args)]
#[command(after_help = "Examples: testyard ssh web\n          testyard ssh web.lab -- uptime\n          \
                        testyard ssh web.exp.project    as DETER names nodes")]
pub struct Ssh {
    /// The node: NODE, or NODE.SLICE where several slices have one of that name
    node: String,
    /// The slice [default: the one that has the node]
    #[arg(long)]
    slice: Option<String>,
    /// What runs there, behind --; ssh joins the words for the node's shell
    #[arg(last = true)]
    command: Vec<String>,
    /// The private SSH key to use
    #[arg(long, short, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// `ssh-config`
#[derive(Debug, Args)]
#[command(
    after_help = "Example: testyard ssh-config lab > lab.ssh; ssh -F lab.ssh web; rsync -e 'ssh -F lab.ssh' f web:"
)]
pub struct SshConfig {
    /// The slice [default: the only one]
    slice: Option<String>,
    /// The private SSH key to use
    #[arg(long, short, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn ssh(arguments: &Ssh) -> Outcome {
    let session = Session::open(&arguments.connection);
    let place = session.place(&arguments.node, arguments.slice.as_deref()).await?;
    let ways = session.ways(&place.slice, arguments.identity.clone()).await?;
    let login = ways.login(&place.node)?;
    // Only an error comes back.
    let error = ways.ssh(login, &[]).args(&arguments.command).exec();
    Err(ssh::missing("ssh", &error))
}

pub(super) async fn ssh_config(arguments: &SshConfig) -> Outcome {
    let session = Session::open(&arguments.connection);
    let slice = session.slice(arguments.slice.as_deref()).await?;
    let ways = session.ways(&slice, arguments.identity.clone()).await?;
    print::text(ways.configuration());
    Ok(())
}

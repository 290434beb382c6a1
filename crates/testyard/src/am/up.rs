//! `testyard am up`: from a topology to SSH in one command.

use std::path::PathBuf;

use clap::Args;
use testyard_am::client::CallOptions;

use super::session::Session;
use super::verbs::{Limit, Users, end};
use super::wait::{self, Goal};
use super::{Connection, manifest, show};
use crate::cli::ConfigArgument;
use crate::exit::Outcome;
use crate::topology;

/// `up`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  testyard am up examples/two-nodes.rspec --slice demo\n  \
    testyard am up examples/four-nodes.ns --slice four\n\
    If a step fails, what was allocated stays for a look; testyard am delete gives it back.")]
pub struct Arguments {
    /// The topology: a request RSpec, or an NS file, topdl, YAML, JSON, a container list; - reads the standard input
    file: PathBuf,
    /// The slice: its URN, or its name at the user's authority
    #[arg(long)]
    slice: String,
    /// When it ends: a time, or from now like +7d
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    #[command(flatten)]
    users: Users,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    pub(super) connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection)?;
    let slice = session.slice(&arguments.slice)?;
    let config = ConfigArgument::of(arguments.connection.folder.clone());
    let rspec = topology::request(&arguments.file, &config)?;
    let credentials = session.slice_credentials(&slice)?;
    let users = Some(arguments.users.read(&session)?);
    let end_time = arguments.end.as_deref().map(end).transpose()?;
    let urns = [slice.to_string()];

    let allocated = session.client.allocate(&urns[0], &credentials, &rspec, &session.options()).await?;
    for warning in &allocated.warnings {
        remark!("testyard: warning: {warning}");
    }
    let slivers: Vec<String> = allocated.slivers.iter().map(|sliver| sliver.urn.clone()).collect();
    let options = CallOptions { users, end_time, ..session.options() };
    let provisioned = session.client.provision(&slivers, &credentials, &options).await?;
    let limit = arguments.limit.duration();
    let ready = wait::wait(&session, &slivers, &credentials, &session.options(), Goal::Ready, limit).await?;
    show::slivers(&ready);
    show::logins(&manifest::logins(provisioned.rspec.as_deref().unwrap_or_default())?);
    say!();
    let name = slice.name();
    if let Some(first) = ready.slivers.first() {
        say!("testyard am ssh {name} {}    log in, with the node's key checked", show::name(first));
    }
    say!("testyard am delete {name}      give everything back");
    Ok(())
}

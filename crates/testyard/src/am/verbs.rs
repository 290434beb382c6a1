//! The methods of the API, a verb each.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use testyard_am::client::{CallOptions, Slivers, UserKeys};
use testyard_model::time;
use testyard_model::urn::SliceUrn;
use testyard_trust::PassedCredential;

use super::session::Session;
use super::wait::{self, Goal};
use super::{Connection, manifest, show};
use crate::exit::{Failure, Outcome};
use crate::print;

/// Verbs without arguments of their own.
#[derive(Debug, Args)]
pub struct Plain {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// Which slivers a verb is about.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// The slice: its URN, or its name at the user's authority
    slice: String,
    /// Only this sliver of it, by URN; repeat for more
    #[arg(long = "sliver", value_name = "URN")]
    slivers: Vec<String>,
    /// Do what can be done instead of everything or nothing
    #[arg(long)]
    best_effort: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// Whether to wait.
#[derive(Debug, Args)]
struct Patience {
    /// Wait until the slivers are as asked for, with progress
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    limit: Limit,
}

/// How long to wait.
#[derive(Debug, Args)]
pub(super) struct Limit {
    /// How long to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// `list-resources`
#[derive(Debug, Args)]
pub struct ListResources {
    /// Only what can be had now
    #[arg(long)]
    available: bool,
    /// Print the advertisement itself
    #[arg(long)]
    rspec: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "rspec")]
    json: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// `describe`
#[derive(Debug, Args)]
pub struct Describe {
    /// Print the manifest itself
    #[arg(long)]
    rspec: bool,
    #[command(flatten)]
    pub(super) which: Which,
}

/// `allocate`
#[derive(Debug, Args)]
pub struct Allocate {
    #[command(flatten)]
    pub(super) which: Which,
    /// The request RSpec; - reads the standard input
    rspec: PathBuf,
    /// When it ends: a time, or from now like +30m
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
}

/// `provision`
#[derive(Debug, Args)]
pub struct Provision {
    #[command(flatten)]
    pub(super) which: Which,
    #[command(flatten)]
    users: Users,
    /// When it ends: a time, or from now like +7d
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

/// Users and keys to install.
#[derive(Debug, Args)]
pub(super) struct Users {
    /// Own public SSH key to install; repeat for more [default: that of the folder]
    #[arg(long = "ssh-key", value_name = "FILE")]
    ssh_keys: Vec<PathBuf>,
    /// Another user and the file with their public keys; repeat for more
    #[arg(long = "user", value_name = "URN=FILE", value_parser = user_and_file)]
    users: Vec<(String, PathBuf)>,
}

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pub(super) which: Which,
    /// Show what took how long
    #[arg(long)]
    timeline: bool,
    #[command(flatten)]
    patience: Patience,
}

/// `perform`
#[derive(Debug, Args)]
pub struct Perform {
    #[command(flatten)]
    pub(super) which: Which,
    /// The action: geni_start, geni_stop, geni_restart, geni_reload, geni_update_users, or another of the aggregate
    action: String,
    #[command(flatten)]
    users: Users,
    #[command(flatten)]
    patience: Patience,
}

/// `renew`
#[derive(Debug, Args)]
pub struct Renew {
    #[command(flatten)]
    pub(super) which: Which,
    /// The new end: a time, or from now like +2h or +7d
    #[arg(allow_hyphen_values = true)]
    end: String,
    /// Take the latest end that is allowed instead of failing
    #[arg(long)]
    as_late_as_possible: bool,
}

/// `delete`
#[derive(Debug, Args)]
pub struct Delete {
    #[command(flatten)]
    pub(super) which: Which,
}

/// `shutdown`
#[derive(Debug, Args)]
pub struct Shutdown {
    /// The slice: its URN, or its name at the user's authority
    slice: String,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// A verb's slivers, looked up.
struct Chosen {
    session: Session,
    slice: SliceUrn,
    urns: Vec<String>,
    credentials: Vec<PassedCredential>,
    options: CallOptions,
}

impl Which {
    fn choose(&self) -> Result<Chosen, Failure> {
        let session = Session::open(&self.connection)?;
        let slice = session.slice(&self.slice)?;
        let urns = if self.slivers.is_empty() { vec![slice.to_string()] } else { self.slivers.clone() };
        let credentials = session.slice_credentials(&slice)?;
        let options = CallOptions { best_effort: self.best_effort, ..session.options() };
        Ok(Chosen { session, slice, urns, credentials, options })
    }

    fn print(&self, slivers: &Slivers) -> Outcome {
        if self.json {
            return print::json(slivers);
        }
        show::slivers(slivers);
        Ok(())
    }
}

impl Limit {
    pub(super) const fn duration(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

impl Chosen {
    async fn wait(&self, goal: Goal, patience: &Patience, options: &CallOptions) -> Result<Slivers, Failure> {
        let limit = patience.limit.duration();
        wait::wait(&self.session, &self.urns, &self.credentials, options, goal, limit).await
    }

    /// What an update or provision is told about users.
    fn with_users(&self, users: &Users) -> Result<CallOptions, Failure> {
        Ok(CallOptions { users: Some(users.read(&self.session)?), ..self.options.clone() })
    }
}

impl Users {
    pub(super) fn read(&self, session: &Session) -> Result<Vec<UserKeys>, Failure> {
        let mut all = vec![session.user_keys(&self.ssh_keys)?];
        for (urn, file) in &self.users {
            let keys = session.user_keys(std::slice::from_ref(file))?.keys;
            all.push(UserKeys { urn: urn.clone(), keys });
        }
        Ok(all)
    }
}

pub(super) async fn get_version(arguments: &Plain) -> Outcome {
    let version = Session::open(&arguments.connection)?.client.get_version().await?;
    if arguments.json {
        return print::json(&version);
    }
    show::version(&version);
    Ok(())
}

pub(super) async fn list_resources(arguments: &ListResources) -> Outcome {
    let session = Session::open(&arguments.connection)?;
    let options = CallOptions { available: arguments.available, compressed: true, ..session.options() };
    let rspec = session.client.list_resources(&session.user_credentials()?, &options).await?;
    if arguments.rspec {
        say!("{rspec}");
        return Ok(());
    }
    let offers = manifest::offers(&rspec)?;
    if arguments.json {
        return print::json(&offers);
    }
    let mut table = print::table(&["host", "available", "free", "sliver types", "images"]);
    for offer in &offers {
        let available = if offer.available { "yes" } else { "no" };
        table.add_row([
            &offer.host,
            available,
            &offer.free.map_or_else(String::new, |free| free.to_string()),
            &offer.sliver_types.join("\n"),
            &offer.images.join("\n"),
        ]);
    }
    print::show(&table);
    Ok(())
}

pub(super) async fn describe(arguments: &Describe) -> Outcome {
    let chosen = arguments.which.choose()?;
    let options = CallOptions { compressed: true, ..chosen.options.clone() };
    let slivers = chosen.session.client.describe(&chosen.urns, &chosen.credentials, &options).await?;
    if arguments.rspec {
        say!("{}", slivers.rspec.unwrap_or_default());
        return Ok(());
    }
    arguments.which.print(&slivers)?;
    if !arguments.which.json {
        show::logins(&manifest::logins(slivers.rspec.as_deref().unwrap_or_default())?);
    }
    Ok(())
}

pub(super) async fn allocate(arguments: &Allocate) -> Outcome {
    let chosen = arguments.which.choose()?;
    let rspec = read_rspec(&arguments.rspec)?;
    let end_time = arguments.end.as_deref().map(end).transpose()?;
    let options = CallOptions { end_time, ..chosen.options };
    let slice = chosen.slice.to_string();
    let slivers = chosen.session.client.allocate(&slice, &chosen.credentials, &rspec, &options).await?;
    arguments.which.print(&slivers)
}

pub(super) async fn provision(arguments: &Provision) -> Outcome {
    let chosen = arguments.which.choose()?;
    let end_time = arguments.end.as_deref().map(end).transpose()?;
    let options = CallOptions { end_time, ..chosen.with_users(&arguments.users)? };
    let mut slivers = chosen.session.client.provision(&chosen.urns, &chosen.credentials, &options).await?;
    if arguments.patience.wait {
        let rspec = slivers.rspec.take();
        slivers = chosen.wait(Goal::Ready, &arguments.patience, &chosen.options).await?;
        slivers.rspec = rspec;
    }
    arguments.which.print(&slivers)?;
    if !arguments.which.json {
        show::logins(&manifest::logins(slivers.rspec.as_deref().unwrap_or_default())?);
    }
    Ok(())
}

pub(super) async fn status(arguments: &Status) -> Outcome {
    let chosen = arguments.which.choose()?;
    let options = CallOptions { timeline: arguments.timeline, ..chosen.options.clone() };
    let slivers = if arguments.patience.wait {
        chosen.wait(Goal::Ready, &arguments.patience, &options).await?
    } else {
        chosen.session.client.status(&chosen.urns, &chosen.credentials, &options).await?
    };
    arguments.which.print(&slivers)?;
    if arguments.timeline && !arguments.which.json {
        show::timelines(&slivers);
    }
    Ok(())
}

pub(super) async fn perform(arguments: &Perform) -> Outcome {
    let chosen = arguments.which.choose()?;
    let action = &arguments.action;
    let options = if action == "geni_update_users" {
        chosen.with_users(&arguments.users)?
    } else {
        chosen.options.clone()
    };
    let mut slivers =
        chosen.session.client.perform(&chosen.urns, &chosen.credentials, action, &options).await?;
    if arguments.patience.wait {
        slivers = chosen.wait(Goal::of_action(action), &arguments.patience, &chosen.options).await?;
    }
    arguments.which.print(&slivers)
}

pub(super) async fn renew(arguments: &Renew) -> Outcome {
    let chosen = arguments.which.choose()?;
    let options = CallOptions { extend_alap: arguments.as_late_as_possible, ..chosen.options };
    let end = end(&arguments.end)?;
    let slivers = chosen.session.client.renew(&chosen.urns, &chosen.credentials, &end, &options).await?;
    arguments.which.print(&slivers)
}

pub(super) async fn delete(arguments: &Delete) -> Outcome {
    let chosen = arguments.which.choose()?;
    let slivers = chosen.session.client.delete(&chosen.urns, &chosen.credentials, &chosen.options).await?;
    arguments.which.print(&slivers)
}

pub(super) async fn shutdown(arguments: &Shutdown) -> Outcome {
    let session = Session::open(&arguments.connection)?;
    let slice = session.slice(&arguments.slice)?;
    let credentials = session.slice_credentials(&slice)?;
    if session.client.shutdown(&slice.to_string(), &credentials, &session.options()).await? {
        say!("{slice} has been shut down");
        Ok(())
    } else {
        Err(Failure::failed(format!("something of {slice} still runs")))
    }
}

/// Reads a request.
fn read_rspec(path: &std::path::Path) -> Result<String, Failure> {
    let read = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(path),
    };
    read.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// An end as the API has it.
pub(super) fn end(text: &str) -> Result<String, Failure> {
    crate::end::parse(text).map(time::format)
}

fn user_and_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((urn, file)) if urn.starts_with("urn:") && !file.is_empty() => Ok((urn.to_owned(), file.into())),
        _ => Err("write it like urn:publicid:IDN+am.example.net+user+bob=bob.pub".to_owned()),
    }
}

//! `testyard host`: the machines that nodes run on, for operators.

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use testyard_model::suggest::closest;
use testyard_web::api::HostReport;

use super::session::{Connection, Session};
use super::show::until;
use crate::exit::{Failure, Outcome};
use crate::print;

/// `host`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the command that makes a machine a host of this testbed
    #[command(
        after_help = "The host stands in the configuration, as a [[host]] of that name. Its token is good for an hour, and \
        for one machine; a new one ends the old."
    )]
    Add(One),
    /// The hosts
    Ls(List),
    /// What is known of a host
    Show(One),
    /// Let no more nodes come to a host; those that are there stay
    Drain(Drain),
    /// Remove a host: its agent is sent away, and comes in no more
    #[command(
        after_help = "A host that something is on is not removed. Its [[host]] stands in the configuration until you take \
        that out."
    )]
    Rm(Remove),
}

/// One host.
#[derive(Debug, Args)]
pub struct One {
    /// The host
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// `host ls`
#[derive(Debug, Args)]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// `host drain`
#[derive(Debug, Args)]
pub struct Drain {
    /// The host
    name: String,
    /// Let nodes come to it again
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    connection: Connection,
}

/// `host rm`
#[derive(Debug, Args)]
pub struct Remove {
    /// The host
    name: String,
    /// It will not come back: give up whatever is on it
    #[arg(long)]
    lost: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(command: &Command) -> Outcome {
    match command {
        Command::Add(arguments) => add(arguments).await,
        Command::Ls(arguments) => list(arguments).await,
        Command::Show(arguments) => show(arguments).await,
        Command::Drain(arguments) => drain(arguments).await,
        Command::Rm(arguments) => remove(arguments).await,
    }
}

async fn add(One { name, json, connection }: &One) -> Outcome {
    let invitation = Session::open(connection).client.invite_host(name).await?;
    if *json {
        return print::json(&invitation);
    }
    let command = format!(
        "echo {} | testyard agent --controller {} --token -",
        invitation.token, invitation.controller
    );
    if !std::io::stdout().is_terminal() {
        say!("{command}");
        return Ok(());
    }
    say!("Run this as root on {name}; the token is good once, until {}:\n", until(invitation.until));
    say!("  {command}\n");
    say!("With --only-enrol it ends there, and `systemctl enable --now testyard-agent` does the rest.");
    Ok(())
}

async fn list(List { json, connection }: &List) -> Outcome {
    let hosts = Session::open(connection).client.hosts().await?;
    if *json {
        return print::json(&hosts);
    }
    let mut table = print::table(&["host", "state", "nodes", "free", "slices", "name", ""]);
    for host in &hosts {
        let nodes: u32 = host.nodes.values().sum();
        table.add_row([
            &host.name,
            &host.state,
            &nodes.to_string(),
            &host.free.to_string(),
            &host.nodes.len().to_string(),
            &host.public_name,
            host.why.as_deref().unwrap_or_default(),
        ]);
    }
    print::show(&table);
    Ok(())
}

async fn show(One { name, json, connection }: &One) -> Outcome {
    let hosts = Session::open(connection).client.hosts().await?;
    let host = find(&hosts, name)?;
    if *json {
        return print::json(host);
    }
    let why = host.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    say!("{}: {}{why}", host.name, host.state);
    say!("  reached as  {}", host.public_name);
    match host.tunnel {
        Some(address) => say!("  links       to other hosts by {address}"),
        None => say!("  links       stay on it: it has no address for tunnels"),
    }
    let used: u32 = host.nodes.values().sum();
    say!("  nodes       {used}, room for {} more of {}", host.free, host.capacity);
    say!("  runs        {}", if host.engines.is_empty() { "-".to_owned() } else { host.engines.join(", ") });
    for (slice, nodes) in &host.nodes {
        say!("  {nodes:>4} of {slice}");
    }
    Ok(())
}

async fn drain(Drain { name, undo, connection }: &Drain) -> Outcome {
    let is_new = Session::open(connection).client.drain_host(name, !undo).await?;
    match (is_new, undo) {
        (true, false) => say!("no more nodes come to {name}; those that are there stay"),
        (false, false) => say!("{name} is drained already"),
        (true, true) => say!("nodes come to {name} again"),
        (false, true) => say!("{name} was not drained"),
    }
    Ok(())
}

async fn remove(Remove { name, lost, json, connection }: &Remove) -> Outcome {
    let removed = Session::open(connection).client.remove_host(name, *lost).await?;
    if *json {
        return print::json(&removed);
    }
    if removed.forgotten > 0 {
        say!("{} slivers that were on {name} are given up", removed.forgotten);
    }
    match removed.revoked {
        true => say!("{name} is removed: its certificate and its tokens are good for nothing any more"),
        false => say!("{name} had neither certificate nor token"),
    }
    Ok(())
}

fn find<'a>(hosts: &'a [HostReport], name: &str) -> Result<&'a HostReport, Failure> {
    hosts.iter().find(|host| host.name == name).ok_or_else(|| {
        let names = || hosts.iter().map(|host| host.name.as_str());
        let hint = closest(name, names()).map_or_else(
            || format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean {near:?}?"),
        );
        Failure::failed(format!("there is no host {name:?}; {hint}"))
    })
}

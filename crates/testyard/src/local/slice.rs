//! The life of a slice: its end, and what operators do with any.

use clap::{Args, Subcommand};
use serde_json::json;
use testyard_model::time;
use testyard_web::api;

use super::session::{Connection, Session};
use super::{down, show};
use crate::exit::Outcome;
use crate::print;

/// `renew`
#[derive(Debug, Args)]
pub struct Renew {
    /// The slice
    slice: String,
    /// Its new end: a time, or from now like +2h or +7d
    end: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// `replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// The slice [default: the only one]
    slice: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// All slices of the testbed
    Ls(List),
    /// A slice with its users, hosts, and what was done to it
    Show(Which),
    /// Take everything of a slice away, whoever made it, also one that is shut down
    Delete(down::Arguments),
    /// Stop every node of a slice and close it to its users
    Shutdown(Which),
    /// Let a slice that was shut down be used again; its nodes stay stopped until they are started
    LiftShutdown(Which),
}

/// `slice ls`
#[derive(Debug, Args)]
pub struct List {
    /// Only those that this user made: the name at the testbed's authority, or the URN
    #[arg(long)]
    user: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Which slice.
#[derive(Debug, Args)]
pub struct Which {
    /// The slice: its name at the testbed's authority, or its URN
    slice: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn renew(arguments: &Renew) -> Outcome {
    let session = Session::open(&arguments.connection);
    let renew = api::Renew { end: crate::end::parse(&arguments.end)? };
    let slice = session.client.renew(&arguments.slice, &renew).await?;
    if arguments.json {
        return print::json(&slice);
    }
    let ends = slice.nodes.iter().map(|node| node.expires).min();
    say!("{} ends {}", slice.name, ends.map(time::format).unwrap_or_default());
    Ok(())
}

pub(super) async fn replay(arguments: &Replay) -> Outcome {
    let session = Session::open(&arguments.connection);
    let slice = session.slice(arguments.slice.as_deref()).await?;
    let slice = session.client.replay(&slice.urn).await?;
    if arguments.json {
        return print::json(&slice);
    }
    let schedule = slice.schedule.as_ref();
    say!("{} begins anew: run {}", slice.name, schedule.map_or(0, |schedule| schedule.run));
    Ok(())
}

pub(super) async fn run(command: &Command) -> Outcome {
    match command {
        Command::Ls(arguments) => return list(arguments).await,
        Command::Show(which) => return show(which).await,
        Command::Delete(arguments) => return down::run(arguments).await,
        Command::Shutdown(Which { slice, json, connection }) => {
            let stopped = Session::open(connection).client.shut_down(slice).await?;
            if *json {
                return print::json(&json!({ "slice": slice, "stopped": stopped }));
            }
            say!(
                "{slice} is shut down{}",
                if stopped { "" } else { "; some of it still runs, and is being stopped" }
            );
        }
        Command::LiftShutdown(Which { slice, json, connection }) => {
            let was = Session::open(connection).client.lift_shutdown(slice).await?;
            if *json {
                return print::json(&json!({ "slice": slice, "was_shut_down": was }));
            }
            say!("{slice} {}", if was { "may be used again; start its nodes" } else { "was not shut down" });
        }
    }
    Ok(())
}

async fn list(List { user, json, connection }: &List) -> Outcome {
    let client = Session::open(connection).client;
    let mut slices = client.slices().await?;
    let authority = client.testbed().await?.authority;
    if let Some(user) = user {
        let urn = match user.starts_with("urn:") {
            true => user.clone(),
            false => format!("urn:publicid:IDN+{authority}+user+{user}"),
        };
        slices.retain(|slice| slice.creator == urn);
    }
    if *json {
        return print::json(&slices);
    }
    if slices.is_empty() {
        say!("no slices");
        return Ok(());
    }
    let mut table = print::table(&["slice", "state", "nodes", "links", "made", "ends", "of"]);
    // Those of other authorities are told by their whole names.
    let ours = format!("urn:publicid:IDN+{authority}+");
    let short = |urn: &String| match urn.strip_prefix(&ours).and_then(|rest| rest.split_once('+')) {
        Some((_, name)) => name.to_owned(),
        None => urn.clone(),
    };
    for slice in &slices {
        table.add_row([
            &short(&slice.urn),
            &slice.state,
            &slice.nodes.values().sum::<usize>().to_string(),
            &slice.links.to_string(),
            &time::format(slice.created),
            &slice.expires.map(show::until).unwrap_or_default(),
            &short(&slice.creator),
        ]);
    }
    print::show(&table);
    Ok(())
}

/// How many lines of the audit trail are shown.
const LINES: u32 = 10;

async fn show(Which { slice, json, connection }: &Which) -> Outcome {
    let client = Session::open(connection).client;
    let found = client.slice(slice).await?;
    let briefs = client.slices().await?;
    let brief = briefs.into_iter().find(|brief| brief.urn == found.urn);
    let query = api::AuditQuery { slice: Some(found.urn.clone()), most: Some(LINES), ..Default::default() };
    let mut trail = client.audit(&query).await?;
    trail.reverse();
    if *json {
        return print::json(&json!({ "slice": found, "brief": brief, "audit": trail }));
    }
    say!("{}", found.urn);
    if let Some(brief) = &brief {
        say!("made {} by {}", time::format(brief.created), brief.creator);
        if brief.state == "shut_down" {
            say!(
                "shut down: its users cannot use it; `testyard slice lift-shutdown {}` ends that",
                brief.name
            );
        }
    }
    let mut users: Vec<&str> = found
        .nodes
        .iter()
        .filter_map(|node| node.ssh.as_ref())
        .flat_map(|ssh| ssh.logins.keys())
        .map(String::as_str)
        .collect();
    users.sort_unstable();
    users.dedup();
    say!("users: {}", if users.is_empty() { "nobody can log in".to_owned() } else { users.join(", ") });
    say!();
    show::slice(&found);
    if !trail.is_empty() {
        say!();
        super::audit::table(&trail);
    }
    Ok(())
}

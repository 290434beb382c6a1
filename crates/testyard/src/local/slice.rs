//! The life of a slice: its end, and what only operators may do.

use clap::{Args, Subcommand};
use serde_json::json;
use testyard_model::time;
use testyard_web::api;

use super::session::{Connection, Session};
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
    /// Stop every node of a slice and close it to its users
    Shutdown(Which),
    /// Let a slice that was shut down be used again; its nodes stay stopped until they are started
    LiftShutdown(Which),
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

//! `testyard restart`, `stop`, `start`, `reload`.

use clap::Args;
use testyard_web::api::Act;

use super::session::{Connection, Session};
use super::wait::{self, Goal, Limit};
use crate::exit::{Failure, Outcome};
use crate::print;

/// Which nodes, and whether to wait.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The nodes: NODE, or NODE.SLICE where several slices have one of that name
    #[arg(required_unless_present = "all")]
    nodes: Vec<String>,
    /// All nodes of the slice
    #[arg(long, conflicts_with = "nodes")]
    all: bool,
    /// The slice [default: the one that has these nodes]
    #[arg(long)]
    slice: Option<String>,
    /// Do not wait until it is so
    #[arg(long)]
    no_wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(action: &str, arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let mut nodes = Vec::with_capacity(arguments.nodes.len());
    let slice = if arguments.all {
        session.slice(arguments.slice.as_deref()).await?.urn
    } else {
        let mut slice: Option<String> = None;
        for name in &arguments.nodes {
            let place = session.place(name, arguments.slice.as_deref()).await?;
            if slice.as_ref().is_some_and(|known| *known != place.slice.urn) {
                return Err(Failure::usage("these nodes are of several slices: one at a time"));
            }
            slice = Some(place.slice.urn);
            nodes.push(place.node);
        }
        slice.unwrap_or_default()
    };
    let act = Act { action: action.to_owned(), nodes: nodes.clone() };
    let after = session.client.act(&slice, &act).await?;
    if arguments.no_wait {
        return if arguments.json { print::json(&after) } else { Ok(()) };
    }
    let goal = if action == "stop" { Goal::Stopped } else { Goal::Ready };
    wait::settle(&session, &after, goal, &nodes, &arguments.limit, arguments.json).await
}

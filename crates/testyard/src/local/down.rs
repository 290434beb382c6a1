//! `testyard down`: everything of a slice is given back.

use clap::Args;

use super::session::{Connection, Session};
use crate::exit::Outcome;
use crate::print;

/// `down`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The slice
    slice: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let slice = session.client.delete(&arguments.slice).await?;
    if arguments.json {
        return print::json(&slice);
    }
    let (nodes, links) = (slice.nodes.len(), slice.links.len());
    let of = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    say!("{} is gone: {}, {}", slice.name, of(nodes, "node"), of(links, "link"));
    Ok(())
}

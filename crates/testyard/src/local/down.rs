//! `testyard down`: everything of a slice is given back.

use clap::Args;

use super::session::{Connection, Session};
use crate::exit::Outcome;
use crate::print;
use crate::progress::Screen;

/// `down`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The slice
    slice: String,
    /// Do not wait until its hosts have removed everything
    #[arg(long)]
    no_wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let slice = session.client.delete(&arguments.slice).await?;
    if !arguments.no_wait {
        let mut screen = Screen::new(1);
        screen.update("", format!("{}  being removed", slice.name));
        let removed = session.client.removed(&slice.urn).await;
        screen.finish();
        if !removed? {
            remark!("the testbed has ended; its hosts remove the rest when it is back");
        }
    }
    if arguments.json {
        return print::json(&slice);
    }
    let (nodes, links) = (slice.nodes.len(), slice.links.len());
    let of = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    say!("{} is gone: {}, {}", slice.name, of(nodes, "node"), of(links, "link"));
    Ok(())
}

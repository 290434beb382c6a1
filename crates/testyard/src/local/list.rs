//! `testyard ls`: the slices.

use clap::Args;

use super::session::{Connection, Session};
use super::show::until;
use crate::exit::Outcome;
use crate::print;

/// `ls`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let slices = session.client.slices().await?;
    if arguments.json {
        return print::json(&slices);
    }
    if slices.is_empty() {
        say!("no slices; `testyard up FILE` makes one");
        return Ok(());
    }
    let mut table = print::table(&["slice", "state", "nodes", "links", "ends", "of"]);
    for slice in &slices {
        let nodes: Vec<String> =
            slice.nodes.iter().map(|(state, count)| format!("{count} {state}")).collect();
        let ends = slice.expires.map(until).unwrap_or_default();
        let creator = slice.creator.rsplit('+').next().unwrap_or_default();
        table.add_row([
            &slice.name,
            &slice.state,
            &nodes.join(", "),
            &slice.links.to_string(),
            &ends,
            creator,
        ]);
    }
    print::show(&table);
    Ok(())
}

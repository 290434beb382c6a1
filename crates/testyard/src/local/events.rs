//! `testyard events`: what happens, as it happens.

use clap::Args;
use testyard_web::api::Event;

use super::session::{Connection, Session};
use crate::exit::Outcome;
use crate::passage;

/// `events`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only of this slice
    slice: Option<String>,
    /// Print a line of JSON each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let mut events = session.client.events(arguments.slice.as_deref()).await?;
    while let Some(event) = events.next::<Event>().await? {
        if arguments.json {
            let line = serde_json::to_string(&event).map_err(crate::exit::Failure::failed)?;
            say!("{line}");
            continue;
        }
        let Event { at, slice, node, state, error } = event;
        let text = format!("{}  {slice}  {node}  {state}  {error}", at.strftime("%H:%M:%S%.3f"));
        passage::lines(text.trim_end()).iter().for_each(|line| say!("{line}"));
    }
    Ok(())
}

//! `testyard events`: what happens, as it happens, also over restarts of the testbed.

use clap::Args;
use jiff::Timestamp;
use testyard_web::api::{Event, EventKind};

use super::ear::{Ear, Heard};
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
    let mut ear = Ear::new(&session.client, arguments.slice.as_deref());
    let mut is_first = true;
    loop {
        let event = match ear.next().await? {
            Heard::Event(event) => event,
            Heard::Anew if std::mem::take(&mut is_first) => continue,
            // Nobody knows what happened while the testbed was away.
            Heard::Anew => Event::missed(Timestamp::now(), arguments.slice.clone().unwrap_or_default()),
        };
        if arguments.json {
            let line = serde_json::to_string(&event).map_err(crate::exit::Failure::failed)?;
            say!("{line}");
            continue;
        }
        passage::lines(&line(&event)).iter().for_each(|line| say!("{line}"));
    }
}

/// An event for people.
fn line(event: &Event) -> String {
    let Event { at, slice, kind, node, link, program, state, detail, error } = event;
    let about = match kind {
        EventKind::Node | EventKind::Missed => node.clone(),
        EventKind::Program => format!("{node} program {program}"),
        EventKind::Link => format!("link {link}"),
        EventKind::Links => "links".to_owned(),
        EventKind::Schedule => "schedule".to_owned(),
        EventKind::Slice => String::new(),
    };
    let at = at.strftime("%H:%M:%S%.3f").to_string();
    let parts = [at.as_str(), slice, &about, state, detail, error];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

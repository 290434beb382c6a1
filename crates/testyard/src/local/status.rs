//! `testyard status`: how the nodes and links of a slice are, once or for as long as somebody looks.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use testyard_web::api::Slice;

use super::ear::Ear;
use super::session::{Connection, Session};
use super::show;
use crate::exit::Outcome;
use crate::print;

/// `status`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The slice [default: the only one]
    slice: Option<String>,
    /// Show what took how long, too
    #[arg(long)]
    timeline: bool,
    /// Show it anew whenever something changes, until Ctrl-C, also over restarts of the testbed
    #[arg(long, short)]
    watch: bool,
    /// Print JSON; with --watch a line for each state
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// How often it is looked at where nothing is told: times run.
const REFRESH: Duration = Duration::from_secs(5);

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let slice = session.slice(arguments.slice.as_deref()).await?;
    if !arguments.watch {
        return if arguments.json { print::json(&slice) } else { tell(arguments, &slice) };
    }
    let urn = slice.urn.clone();
    let mut last: Option<Slice> = None;
    let mut ear = Ear::new(&session.client, Some(&urn));
    loop {
        let slice = ear.look(&urn, REFRESH).await?;
        if last.as_ref() != Some(&slice) || !arguments.json {
            present(arguments, &slice)?;
        }
        last = Some(slice);
    }
}

fn present(arguments: &Arguments, slice: &Slice) -> Outcome {
    if arguments.json {
        let line = serde_json::to_string(slice).map_err(crate::exit::Failure::failed)?;
        say!("{line}");
        return Ok(());
    }
    if std::io::stdout().is_terminal() {
        // To the upper left, and what was there away.
        let _ = std::io::stdout().write_all(b"\x1b[H\x1b[2J");
    }
    tell(arguments, slice)
}

fn tell(arguments: &Arguments, slice: &Slice) -> Outcome {
    show::slice(slice);
    if !arguments.timeline {
        return Ok(());
    }
    for node in &slice.nodes {
        say!();
        say!("{}", node.name);
        let mut table = print::table(&["", "ms", "step"]);
        let mut before = None;
        for moment in &node.timeline {
            let step = before.map_or_else(String::new, |before| format!("+{}", moment.ms - before));
            before = Some(moment.ms);
            table.add_row([&moment.what, &moment.ms.to_string(), &step]);
        }
        print::show(&table);
    }
    Ok(())
}

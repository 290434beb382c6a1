//! `testyard audit`: who did what, for operators.

use clap::Args;
use testyard_model::time;
use testyard_web::api;

use super::session::{Connection, Session};
use crate::exit::{Failure, Outcome};
use crate::print;

/// `audit`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    testyard audit --slice lab\n  \
    testyard audit --user ann --since -24h\n  \
    testyard audit --request 5c1f0e9a77b2d340    what one call did; its number is in the log and in the answer's header\n\
    It has what was done, by whatever door; what was refused is in the log of serve.")]
pub struct Arguments {
    /// Only about this slice: its name at the testbed's authority, or its URN
    #[arg(long)]
    slice: Option<String>,
    /// Only about this host
    #[arg(long, conflicts_with = "slice")]
    host: Option<String>,
    /// Only on behalf of this user: the name at the testbed's authority, or the URN
    #[arg(long)]
    user: Option<String>,
    /// Only in this call
    #[arg(long)]
    request: Option<String>,
    /// Not before this: a time, or before now like -24h or -7d
    #[arg(long, allow_hyphen_values = true)]
    since: Option<String>,
    /// The newest so many lines
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let query = api::AuditQuery {
        slice: arguments.slice.clone(),
        host: arguments.host.clone(),
        user: arguments.user.clone(),
        request: arguments.request.clone(),
        since: arguments.since.as_deref().map(since).transpose()?,
        most: Some(arguments.lines),
    };
    // The oldest first, as logs are read.
    let mut lines = Session::open(&arguments.connection).client.audit(&query).await?;
    lines.reverse();
    if arguments.json {
        return print::json(&lines);
    }
    if lines.is_empty() {
        say!("nothing was done");
        return Ok(());
    }
    table(&lines);
    Ok(())
}

/// Prints lines of the trail.
pub(super) fn table(lines: &[api::Audited]) {
    let mut table = print::table(&["when", "who", "what", "to", ""]);
    for line in lines {
        let who = match &line.tool {
            Some(tool) => format!("{} by {}", short(&line.user), short(tool)),
            None => short(&line.user).to_owned(),
        };
        table.add_row([
            &time::format(line.at),
            &who,
            &line.operation,
            short(&line.object),
            line.detail.as_str(),
        ]);
    }
    print::show(&table);
}

fn since(text: &str) -> Result<jiff::Timestamp, Failure> {
    let Some(span) = text.strip_prefix('-') else { return time::parse(text).map_err(Failure::usage) };
    let span = crate::config::parse_duration(span).map_err(Failure::usage)?;
    let before = jiff::SignedDuration::try_from(span).ok();
    let before = before.and_then(|span| jiff::Timestamp::now().checked_sub(span).ok());
    before.ok_or_else(|| Failure::usage(format!("{text} is too far away")))
}

/// The name at the end of a URN; other texts as they are.
fn short(text: &str) -> &str {
    if text.starts_with("urn:") { text.rsplit('+').next().unwrap_or(text) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_now() {
        let hour = jiff::Timestamp::now().duration_since(since("-1h").unwrap());
        assert!((3_590..3_700).contains(&hour.as_secs()), "{hour:?}");
        assert!(since("2026-01-02T03:04:05Z").is_ok());
        for bad in ["-", "-x", "yesterday", "+1h"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}

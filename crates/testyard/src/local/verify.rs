//! `testyard verify`: what links really do, against what was asked.

use clap::Args;
use testyard_model::name::ClientId;
use testyard_model::time;
use testyard_verify::{Outcome as Found, Report};
use testyard_web::ClientError;
use testyard_web::api::{Verified, Verify};

use super::session::{Connection, Session};
use crate::exit::{Failure, Kind, Outcome};
use crate::print;
use crate::progress::Screen;

/// `verify`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: testyard verify\n          testyard verify lab --link uplink --json\n          \
                        testyard verify class --sample 50 --budget 2m\n\
                        Frames are sent over the links: real traffic, a few per cent of a core. See docs/reference/verify.md.\n\
                        Exit codes: 0 as asked, 1 something is not."
)]
pub struct Arguments {
    /// The slice [default: the only one]
    slice: Option<String>,
    /// Only this link; repeat for more
    #[arg(long = "link", value_name = "LINK")]
    links: Vec<ClientId>,
    /// At most so many ways, chosen by chance
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// How long it may take: 30s, 5m
    #[arg(long, value_name = "TIME")]
    budget: Option<String>,
    /// Show the newest report instead of measuring
    #[arg(long, conflicts_with_all = ["links", "sample", "budget"])]
    last: bool,
    /// What could not be measured is no success, either
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let slice = session.slice(arguments.slice.as_deref()).await?;
    let report = if arguments.last {
        let kept = session.client.report(&slice.urn).await?;
        if !arguments.json {
            say!("{} at {}", slice.name, time::format(kept.at));
        }
        kept.report
    } else {
        measure(&session, &slice.urn, arguments).await?
    };
    if arguments.json {
        print::json(&report)?;
    } else {
        print::text(report.table());
    }
    let [_, broken, unmeasured] = report.counts();
    match report.outcome {
        Found::Broken if arguments.json => Err(Failure::silent(Kind::Failed)),
        Found::Broken => Err(Failure::failed(format!("{broken} of what was measured is not as asked"))),
        _ if arguments.strict && unmeasured > 0 => {
            Err(Failure::failed(format!("{unmeasured} could not be measured, and --strict was asked for")))
        }
        Found::NotMeasured => Err(Failure::failed("nothing could be measured")),
        Found::Holds => Ok(()),
    }
}

async fn measure(session: &Session, slice: &str, arguments: &Arguments) -> Result<Report, Failure> {
    let budget =
        arguments.budget.as_deref().map(crate::config::parse_duration).transpose().map_err(Failure::usage)?;
    let verify = Verify {
        links: arguments.links.iter().cloned().collect(),
        sample: arguments.sample,
        budget_ms: budget.map(|budget| u64::try_from(budget.as_millis()).unwrap_or(u64::MAX)),
    };
    let mut lines = session.client.verify(slice, &verify).await?;
    let mut screen = Screen::new(1);
    loop {
        match lines.next::<Verified>().await? {
            Some(Verified::Step { done, of }) => screen.update("", format!("measuring, step {done} of {of}")),
            Some(Verified::Report(report)) => {
                screen.finish();
                return Ok(*report);
            }
            Some(Verified::Refused(problem)) => {
                screen.finish();
                return Err(ClientError::Refused(problem).into());
            }
            None => {
                return Err(Failure::failed("the testbed has ended; the links were not measured to the end"));
            }
        }
    }
}

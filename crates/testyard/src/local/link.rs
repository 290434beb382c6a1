//! `testyard link`: a link changes while it runs.

use clap::{Args, Subcommand};
use testyard_model::name::ClientId;
use testyard_model::setting::Setting;
use testyard_web::api::{ChangeLink, Slice};

use super::session::{Connection, Session};
use super::show;
use super::wait::{self, Limit};
use crate::exit::{Failure, Outcome};
use crate::print;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Change what it does to packets
    Set(Set),
    /// Take it down: its interfaces lose their carrier
    Down(Plain),
    /// Bring it up
    Up(Plain),
    /// Make it as the topology has it
    Reset(Which),
}

/// `link set`
#[derive(Debug, Args)]
#[command(after_help = "Examples: testyard link set lab uplink delay=50ms loss=1%\n          \
                        testyard link set lab uplink rate=1Mbit --from web --for 30s\n\
                        Settings: rate, delay, jitter, loss, duplicate, reorder, corrupt, queue; none takes one away.\n\
                        Without --from a delay is the whole way from any member to any other.")]
pub struct Set {
    #[command(flatten)]
    which: Which,
    /// What it does: KEY=VALUE
    #[arg(required = true, value_name = "KEY=VALUE")]
    settings: Vec<Setting>,
    /// Only to what this node or interface sends
    #[arg(long, value_name = "NODE")]
    from: Option<ClientId>,
    #[command(flatten)]
    span: Span,
}

/// `link down`, `link up`
#[derive(Debug, Args)]
pub struct Plain {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    span: Span,
}

/// Which link.
#[derive(Debug, Args)]
pub struct Which {
    /// The slice
    slice: String,
    /// The link
    link: String,
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

/// For how long.
#[derive(Debug, Args)]
struct Span {
    /// Take it back after this time: 30s, 5m
    #[arg(long = "for", value_name = "TIME")]
    span: Option<String>,
}

pub(super) async fn run(command: &Command) -> Outcome {
    let plain = |action: &str| ChangeLink { action: action.to_owned(), ..ChangeLink::default() };
    let (which, change) = match command {
        Command::Set(set) => {
            let change = ChangeLink {
                settings: set.settings.clone(),
                from: set.from.clone(),
                for_ms: set.span.milliseconds()?,
                ..plain("set")
            };
            (&set.which, change)
        }
        Command::Down(down) => {
            (&down.which, ChangeLink { for_ms: down.span.milliseconds()?, ..plain("down") })
        }
        Command::Up(up) => (&up.which, ChangeLink { for_ms: up.span.milliseconds()?, ..plain("up") }),
        Command::Reset(which) => (which, plain("reset")),
    };
    let session = Session::open(&which.connection);
    let mut slice = session.client.change_link(&which.slice, &which.link, &change).await?;
    if !which.no_wait {
        let limit = which.limit.duration();
        slice = wait::wait_for_link(&session, &slice.urn, &which.link, limit).await?;
    }
    tell(which, &slice)
}

fn tell(which: &Which, slice: &Slice) -> Outcome {
    let link = slice.links.iter().find(|link| link.name == which.link);
    let link = link.ok_or_else(|| Failure::failed(format!("link {} is gone", which.link)))?;
    if which.json {
        return print::json(link);
    }
    let (state, does) = (if link.up { "up" } else { "down" }, show::does(link));
    let does = if does.is_empty() { "packets pass as they are".to_owned() } else { does };
    let reverts =
        link.reverts.map(|reverts| format!("; reverts {}", show::until(reverts))).unwrap_or_default();
    say!("{}: {state}, {does}{reverts}", link.name);
    Ok(())
}

impl Span {
    fn milliseconds(&self) -> Result<Option<u64>, Failure> {
        let parsed =
            self.span.as_deref().map(crate::config::parse_duration).transpose().map_err(Failure::usage)?;
        Ok(parsed.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

//! Waiting for a slice, with progress; and `testyard wait`.
//!
//! What is waited for is looked at whenever something is told of the slice; by the clock only for the progress that is shown.

use std::time::Duration;

use clap::{Args, ValueEnum};
use testyard_web::ClientError;
use testyard_web::api::{Event, Node, Slice};
use tokio::time::Instant;

use super::session::{Connection, Session};
use crate::exit::{Failure, Kind, Outcome};
use crate::print;
use crate::progress::Screen;

/// How long to wait.
#[derive(Debug, Args)]
pub(super) struct Limit {
    /// How long to wait
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
}

/// `wait`
#[derive(Debug, Args)]
#[command(after_help = "Example: testyard up lab.yaml --no-wait; …; testyard wait lab\n\
                        Exit codes: 0 it is so, 4 a node has failed, 5 time over.")]
pub struct Arguments {
    /// The slice [default: the only one]
    slice: Option<String>,
    /// Only for these nodes
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    nodes: Vec<String>,
    /// For what
    #[arg(long = "for", value_enum, default_value_t = Goal::Ready)]
    goal: Goal,
    #[command(flatten)]
    limit: Limit,
    #[command(flatten)]
    connection: Connection,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Goal {
    /// Everything runs, and SSH answers
    Ready,
    /// Stopped
    Stopped,
    /// Nothing of it is left
    Gone,
}

/// What a node has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Reached,
    Failed,
    Underway,
}

/// How soon a testbed that has ended is looked for again.
const AWAY: Duration = Duration::from_millis(500);

/// How often what is shown is looked at when nothing is told.
const REFRESH: Duration = Duration::from_secs(1);

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let session = Session::open(&arguments.connection);
    let name = match (&arguments.slice, arguments.goal) {
        (Some(name), _) => name.clone(),
        (None, Goal::Gone) => return Err(Failure::usage("which slice is to be gone?")),
        (None, _) => session.slice(None).await?.name,
    };
    wait(&session, &name, arguments.goal, &arguments.nodes, arguments.limit.duration()).await?;
    if arguments.goal == Goal::Gone {
        session.client.removed(&name).await?;
    }
    Ok(())
}

impl Limit {
    pub(super) const fn duration(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

impl Goal {
    fn progress(self, node: &Node) -> Progress {
        match (self, node.state.as_str()) {
            (Self::Gone, _) => Progress::Underway,
            (Self::Ready, "ready") | (Self::Stopped, "notready") => Progress::Reached,
            (_, "failed") => Progress::Failed,
            _ => Progress::Underway,
        }
    }
}

/// Waits until the nodes named, or all, have come to their goal, and gives the slice as it is then.
pub(super) async fn wait(
    session: &Session,
    name: &str,
    goal: Goal,
    nodes: &[String],
    limit: Duration,
) -> Result<Slice, Failure> {
    let deadline = Instant::now() + limit;
    let mut screen: Option<Screen> = None;
    let mut last: Option<Slice> = None;
    let outcome =
        tokio::time::timeout_at(deadline, follow(session, name, goal, nodes, &mut screen, &mut last)).await;
    if let Some(screen) = &screen {
        screen.finish();
    }
    outcome.unwrap_or_else(|_| {
        let waited = |node: &&Node| nodes.is_empty() || nodes.contains(&node.name);
        let late = last.iter().flat_map(|slice| &slice.nodes).filter(waited);
        let late: Vec<&str> = late
            .filter(|node| goal.progress(node) == Progress::Underway)
            .map(|node| node.name.as_str())
            .take(10)
            .collect();
        let message = format!("not there within {} s: {}", limit.as_secs(), late.join(", "));
        Err(Failure { kind: Kind::TimedOut, message })
    })
}

async fn follow(
    session: &Session,
    name: &str,
    goal: Goal,
    nodes: &[String],
    screen: &mut Option<Screen>,
    last: &mut Option<Slice>,
) -> Result<Slice, Failure> {
    loop {
        // First the ear, then the eye: what happens in between is not missed.
        let mut events = match session.client.events(Some(name)).await {
            Ok(events) => events,
            Err(ClientError::Refused(problem)) if goal == Goal::Gone && problem.kind == "not_found" => {
                return Ok(nothing(name));
            }
            Err(error) if last.is_some() && is_away(&error) => {
                tokio::time::sleep(AWAY).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        loop {
            let slice = match session.client.slice(name).await {
                Ok(slice) => slice,
                Err(ClientError::Refused(problem)) if goal == Goal::Gone && problem.kind == "not_found" => {
                    return Ok(nothing(name));
                }
                Err(error) if last.is_some() && is_away(&error) => break,
                Err(error) => return Err(error.into()),
            };
            let waited: Vec<&Node> =
                slice.nodes.iter().filter(|node| nodes.is_empty() || nodes.contains(&node.name)).collect();
            if let Some(strange) =
                nodes.iter().find(|name| slice.nodes.iter().all(|node| node.name != **name))
            {
                return Err(Failure::usage(format!("slice {} has no node {strange:?}", slice.name)));
            }
            let screen = screen.get_or_insert_with(|| Screen::new(waited.len()));
            for node in &waited {
                let doing = node.progress.as_deref().unwrap_or_default();
                screen.update(
                    &node.urn,
                    format!("{}  {}  {doing}", node.name, node.state).trim_end().to_owned(),
                );
            }
            let count = |progress| waited.iter().filter(|node| goal.progress(node) == progress).count();
            screen.count(count(Progress::Reached), waited.len());
            if count(Progress::Underway) == 0 && goal != Goal::Gone {
                return match waited.iter().find(|node| goal.progress(node) == Progress::Failed) {
                    None => Ok(slice),
                    Some(failed) => Err(Failure {
                        kind: Kind::SliverFailed,
                        message: format!("{} has failed: {}", failed.name, failed.error),
                    }),
                };
            }
            *last = Some(slice);
            // How far a pull has come is no event.
            if let Ok(Ok(None) | Err(_)) = tokio::time::timeout(REFRESH, events.next::<Event>()).await {
                break;
            }
            // Many things happen at a time; one look is enough for them.
            while let Ok(Ok(Some(_))) = tokio::time::timeout(Duration::ZERO, events.next::<Event>()).await {}
        }
        // The testbed ended; it may be back in a moment.
        tokio::time::sleep(AWAY).await;
    }
}

/// Whether the testbed is away, and may be back in a moment.
fn is_away(error: &ClientError) -> bool {
    matches!(error, ClientError::Connect { .. } | ClientError::Broken(_))
}

/// A slice of which nothing is left.
fn nothing(name: &str) -> Slice {
    Slice {
        name: name.to_owned(),
        urn: String::new(),
        state: "empty".to_owned(),
        nodes: vec![],
        links: vec![],
        schedule: None,
        remarks: vec![],
    }
}

/// Waits for what an action leads to, and shows it.
pub(super) async fn settle(
    session: &Session,
    slice: &Slice,
    goal: Goal,
    nodes: &[String],
    limit: &Limit,
    json: bool,
) -> Outcome {
    let slice = wait(session, &slice.urn, goal, nodes, limit.duration()).await?;
    if json {
        return print::json(&slice);
    }
    super::show::slice(&slice);
    Ok(())
}

//! Waiting for a slice, with progress; and `testyard wait`.
//!
//! What is waited for is looked at whenever something is told of the slice; by the clock only for the progress that is shown.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use testyard_model::topology::OnFailure;
use testyard_web::ClientError;
use testyard_web::api::{Link, Node, Slice};
use tokio::time::Instant;

use super::ear::Ear;
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
                        Exit codes: 0 it is so, 4 a node has failed or something stays in the way, 5 time over.")]
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
    /// Everything is as asked for: nodes run, SSH answers, links and what changes while they run are so
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

/// What a slice has come to.
#[derive(Debug)]
enum Verdict {
    Reached,
    Underway,
    /// Something is in the way, which may pass.
    Troubled(String),
    /// It will not come to it.
    Failed(Failure),
}

/// What is waited for, and what is shown meanwhile.
trait Aim {
    /// How far the slice has come to it.
    fn judge(&self, slice: &Slice) -> Verdict;

    /// Shows it.
    fn show(&self, slice: &Slice, screen: &mut Option<Screen>);

    /// What has not come to it, for people.
    fn late(&self, slice: &Slice) -> Vec<String>;

    /// Whether there is to be nothing left of the slice.
    fn is_end(&self) -> bool {
        false
    }
}

/// Nodes come to a goal.
struct OfNodes<'a> {
    goal: Goal,
    /// All if none is named.
    names: &'a [String],
}

/// A link becomes what it was told to be.
struct OfLink<'a>(&'a str);

/// For how long something may be in the way: hosts try again, sooner than this.
const PATIENCE: Duration = Duration::from_secs(5);

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
            // It is told, and the rest goes on.
            (Self::Ready, "failed") if !node.on_failure.is_fatal() => Progress::Reached,
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
    let slice = come_to(session, name, &OfNodes { goal, names: nodes }, limit).await?;
    let is_told = |node: &&Node| node.state == "failed" && node.on_failure == OnFailure::Nonfatal;
    for node in slice.nodes.iter().filter(|_| goal == Goal::Ready).filter(is_told) {
        remark!("{} has failed, and the rest goes on without it: {}", node.name, node.error);
    }
    Ok(slice)
}

/// Waits until a link is what it was told to be, and gives the slice as it is then.
pub(super) async fn wait_for_link(
    session: &Session,
    name: &str,
    link: &str,
    limit: Duration,
) -> Result<Slice, Failure> {
    come_to(session, name, &OfLink(link), limit).await
}

async fn come_to(session: &Session, name: &str, aim: &impl Aim, limit: Duration) -> Result<Slice, Failure> {
    let deadline = Instant::now() + limit;
    let mut screen: Option<Screen> = None;
    let mut last: Option<Slice> = None;
    let follow = follow(session, name, aim, &mut screen, &mut last);
    let outcome = tokio::time::timeout_at(deadline, follow).await;
    if let Some(screen) = &screen {
        screen.finish();
    }
    outcome.unwrap_or_else(|_| {
        let mut late: Vec<String> = last.iter().flat_map(|slice| aim.late(slice)).take(10).collect();
        late.extend(last.and_then(|slice| slice.problem));
        let message = format!("not there within {} s: {}", limit.as_secs(), late.join(", "));
        Err(Failure { kind: Kind::TimedOut, message })
    })
}

async fn follow(
    session: &Session,
    name: &str,
    aim: &impl Aim,
    screen: &mut Option<Screen>,
    last: &mut Option<Slice>,
) -> Result<Slice, Failure> {
    let mut ear = Ear::new(&session.client, Some(name));
    let mut troubled: Option<Instant> = None;
    loop {
        let slice = match ear.look(name, REFRESH).await {
            Ok(slice) => slice,
            Err(ClientError::Refused(problem)) if aim.is_end() && problem.kind == "not_found" => {
                return Ok(nothing(name));
            }
            Err(error) => return Err(error.into()),
        };
        aim.show(&slice, screen);
        match aim.judge(&slice) {
            Verdict::Reached => return Ok(slice),
            Verdict::Failed(failure) => return Err(failure),
            Verdict::Underway => troubled = None,
            Verdict::Troubled(problem) => {
                if troubled.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                    let message = format!("{} is not as it was asked to be: {problem}", slice.name);
                    return Err(Failure { kind: Kind::SliverFailed, message });
                }
            }
        }
        *last = Some(slice);
    }
}

// === impl OfNodes ===

impl OfNodes<'_> {
    fn waited<'s>(&self, slice: &'s Slice) -> impl Iterator<Item = &'s Node> {
        slice.nodes.iter().filter(|node| self.names.is_empty() || self.names.contains(&node.name))
    }

    /// Whether what is asked of them is so, also where they are ready all the while.
    fn has_converged(&self, slice: &Slice) -> bool {
        if self.names.is_empty() {
            return slice.converged;
        }
        self.waited(slice).all(|node| node.converged) && self.links(slice).all(|link| link.converged)
    }

    fn links<'s>(&self, slice: &'s Slice) -> impl Iterator<Item = &'s Link> {
        let concerned = |link: &&Link| link.members.iter().any(|member| self.names.contains(&member.node));
        slice.links.iter().filter(move |link| self.names.is_empty() || concerned(link))
    }
}

impl Aim for OfNodes<'_> {
    fn judge(&self, slice: &Slice) -> Verdict {
        let Self { goal, names } = self;
        if let Some(strange) = names.iter().find(|name| slice.nodes.iter().all(|node| node.name != **name)) {
            let message = format!("slice {} has no node {strange:?}", slice.name);
            return Verdict::Failed(Failure::usage(message));
        }
        let is_underway = self.waited(slice).any(|node| goal.progress(node) == Progress::Underway);
        let failed = self.waited(slice).find(|node| goal.progress(node) == Progress::Failed);
        match (goal, failed) {
            (Goal::Gone, _) => Verdict::Underway,
            (_, Some(failed)) if !is_underway => Verdict::Failed(Failure {
                kind: Kind::SliverFailed,
                message: format!("{} has failed: {}", failed.name, failed.error),
            }),
            (Goal::Stopped, _) if is_underway => Verdict::Underway,
            (Goal::Stopped, _) => Verdict::Reached,
            (Goal::Ready, _) if !is_underway && self.has_converged(slice) => Verdict::Reached,
            (Goal::Ready, _) => {
                let links = self.links(slice).find_map(|link| link.problem.clone());
                let trouble = links.or_else(|| slice.problem.clone().filter(|_| !is_underway));
                trouble.map_or(Verdict::Underway, Verdict::Troubled)
            }
        }
    }

    fn show(&self, slice: &Slice, screen: &mut Option<Screen>) {
        let waited = || self.waited(slice);
        let screen = screen.get_or_insert_with(|| Screen::new(waited().count()));
        for node in waited() {
            let doing = node.progress.as_deref().unwrap_or_default();
            let line = format!("{}  {}  {doing}", node.name, node.state);
            screen.update(&node.urn, line.trim_end().to_owned());
        }
        let reached = waited().filter(|node| self.goal.progress(node) == Progress::Reached);
        screen.count(reached.count(), waited().count());
    }

    fn late(&self, slice: &Slice) -> Vec<String> {
        let is_late = |node: &&Node| {
            let converges = self.goal == Goal::Ready && !node.converged;
            self.goal.progress(node) == Progress::Underway || converges
        };
        self.waited(slice).filter(is_late).map(|node| node.name.clone()).collect()
    }

    fn is_end(&self) -> bool {
        self.goal == Goal::Gone
    }
}

// === impl OfLink ===

impl Aim for OfLink<'_> {
    fn judge(&self, slice: &Slice) -> Verdict {
        let Some(link) = slice.links.iter().find(|link| link.name == self.0) else {
            return Verdict::Failed(Failure::failed(format!("link {} is gone", self.0)));
        };
        match &link.problem {
            Some(problem) => Verdict::Troubled(problem.clone()),
            None if link.converged => Verdict::Reached,
            None => Verdict::Underway,
        }
    }

    fn show(&self, _slice: &Slice, screen: &mut Option<Screen>) {
        // Nearly always over before a line could be read: one that moves will do.
        if std::io::stderr().is_terminal() {
            let screen = screen.get_or_insert_with(|| Screen::new(1));
            screen.update(self.0, format!("link {}: being changed", self.0));
        }
    }

    fn late(&self, _slice: &Slice) -> Vec<String> {
        vec![format!("link {}", self.0)]
    }
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
        converged: true,
        problem: None,
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

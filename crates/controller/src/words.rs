//! What a sliver is doing in words that every front door uses.

use jiff::Timestamp;
use testyard_agent::observed::{Phase, ProgramReport};
use testyard_guest_protocol::{ProgramState, ServiceId, ServiceReport, ServiceState};
use testyard_model::schedule::Action;
use testyard_model::service::{ExecuteFiles, Services};

use crate::api::SliverView;

/// A service of a node, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// `install` or `execute`.
    pub kind: &'static str,
    /// Which of its kind, from 1, as people and docker-am's file names count.
    pub number: u32,
    /// The URL and the folder, or the command.
    pub what: Option<String>,
    /// `waiting`, `running`, `exited`, `signalled`, `failed`, `interrupted`.
    pub state: &'static str,
    /// How it ended, if by itself.
    pub exit_code: Option<i32>,
    /// What ended it, if a signal did.
    pub signal: Option<i32>,
    /// Its files in the node; installs have none.
    pub files: Option<ExecuteFiles>,
    /// The end of its output, or why it failed.
    pub detail: String,
}

/// A program of a node, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramView {
    /// The user's name of it.
    pub name: String,
    /// Which start of the run this is about; 0 before the first.
    pub start: u32,
    /// `waiting`, `running`, `exited`, `signalled`, `failed`, `interrupted`.
    pub state: &'static str,
    /// How it ended, if by itself.
    pub exit_code: Option<i32>,
    /// What ended it, if a signal did.
    pub signal: Option<i32>,
    /// It could not be started, or ended otherwise than expected.
    pub unexpected: bool,
    /// The files of its output and errors in the node.
    pub logs: Vec<String>,
    /// The end of its output, or why it failed.
    pub detail: String,
}

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What; on the host with `host: ` before it.
    pub what: String,
    /// When.
    pub at: Timestamp,
    /// Milliseconds since the first.
    pub ms: i64,
}

impl SliverView {
    /// What its host does for it, while it is neither ready nor stopped.
    #[must_use]
    pub fn progress(&self) -> Option<String> {
        let node = self.observed.as_ref()?;
        let text = match node.phase {
            Phase::Waiting => "waiting for its host",
            Phase::Pulling if let Some(step) = &node.making => {
                return Some(format!("making its image: {step}"));
            }
            Phase::Pulling => {
                return Some(match node.pull {
                    Some(pull) if pull.total > 0 => {
                        format!("pulling its image: {} of {} MiB", pull.done >> 20, pull.total >> 20)
                    }
                    _ => "pulling its image".to_owned(),
                });
            }
            Phase::Booting => "booting",
            Phase::Configuring => "being set up",
            Phase::Installing => "installing",
            Phase::Stopping => "stopping",
            Phase::Ready | Phase::Stopped | Phase::Failed => return None,
        };
        Some(text.to_owned())
    }

    /// What became of the image's own program, if it has one.
    #[must_use]
    pub fn program(&self) -> Option<String> {
        match self.observed.as_ref()?.program {
            ProgramState::None => None,
            ProgramState::Running => Some("running".to_owned()),
            ProgramState::Exited(status) => Some(format!("exited {status}")),
            ProgramState::Signalled(signal) => Some(format!("signalled {signal}")),
            ProgramState::NotStarted(error) => Some(format!("not started, error {error}")),
        }
    }

    /// How its installs and executes stand, as far as its host has seen them.
    #[must_use]
    pub fn services_seen(&self) -> Vec<ServiceView> {
        let reports = self.observed.iter().flat_map(|node| &node.services);
        reports.map(|report| service(report, &self.services)).collect()
    }

    /// How its programs stand, as far as its host has seen them.
    #[must_use]
    pub fn programs_seen(&self) -> Vec<ProgramView> {
        let reports = self.observed.iter().flat_map(|node| &node.programs);
        reports.map(ProgramView::from).collect()
    }

    /// What happened to it when, in order.
    #[must_use]
    pub fn timeline(&self) -> Vec<Moment> {
        let mut entries: Vec<(Timestamp, String)> =
            self.events.iter().map(|event| (event.at, event.what.clone())).collect();
        for milestone in self.observed.iter().flat_map(|node| &node.timeline) {
            entries.push((milestone.at, format!("host: {}", milestone.stage.as_str())));
        }
        entries.sort_by_key(|(at, _)| *at);
        let first = entries.first().map(|(at, _)| *at);
        let ms = |at: Timestamp| first.map_or(0, |first| at.duration_since(first).as_millis());
        let moment = |(at, what)| Moment { what, at, ms: i64::try_from(ms(at)).unwrap_or(i64::MAX) };
        entries.into_iter().map(moment).collect()
    }
}

impl From<&ProgramReport> for ProgramView {
    fn from(report: &ProgramReport) -> Self {
        let (state, exit_code, signal) = standing(report.state);
        let files = Some(&report.files).filter(|files| !files.is_empty());
        Self {
            name: report.program.to_string(),
            start: report.start,
            state,
            exit_code,
            signal,
            unexpected: report.unexpected,
            logs: files.map(|files| vec![format!("{files}.out"), format!("{files}.err")]).unwrap_or_default(),
            detail: report.detail.clone(),
        }
    }
}

/// What an event of a schedule does.
#[must_use]
pub fn in_words(action: &Action) -> String {
    match action {
        Action::LinkUp(link) => format!("link {link} up"),
        Action::LinkDown(link) => format!("link {link} down"),
        Action::LinkSet { link, from, settings } => {
            let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
            let from = from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
            format!("link {link} set {}{from}", settings.join(" "))
        }
        Action::ProgramStart { program, .. } => format!("program {program} start"),
        Action::ProgramStop(program) => format!("program {program} stop"),
        Action::ProgramSignal { program, signal } => format!("program {program} signal {signal}"),
        Action::NodeRestart(node) => format!("node {node} restart"),
        Action::NodeReload(node) => format!("node {node} reload"),
    }
}

/// A state as a word, an exit status, a signal.
const fn standing(state: ServiceState) -> (&'static str, Option<i32>, Option<i32>) {
    match state {
        ServiceState::Waiting => ("waiting", None, None),
        ServiceState::Running => ("running", None, None),
        ServiceState::Exited(code) => ("exited", Some(code), None),
        ServiceState::Signalled(signal) => ("signalled", None, Some(signal)),
        ServiceState::Failed => ("failed", None, None),
        ServiceState::Interrupted => ("interrupted", None, None),
    }
}

fn service(report: &ServiceReport, asked: &Services) -> ServiceView {
    let (state, exit_code, signal) = standing(report.state);
    let detail = report.detail.clone();
    match report.id {
        ServiceId::Install(index) => {
            let install = asked.installs.get(index as usize);
            let what = install.map(|install| format!("{} into {}", install.url, install.path));
            let number = index.saturating_add(1);
            ServiceView { kind: "install", number, what, state, exit_code, signal, files: None, detail }
        }
        ServiceId::Execute(index) => {
            let what = asked.executes.get(index as usize).map(|execute| execute.command.clone());
            let folder = Some(report.folder.as_str()).filter(|folder| !folder.is_empty());
            let number = index.saturating_add(1);
            let files = Some(ExecuteFiles::new(number as usize, folder));
            ServiceView { kind: "execute", number, what, state, exit_code, signal, files, detail }
        }
    }
}

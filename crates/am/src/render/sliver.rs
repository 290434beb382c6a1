//! The sliver struct (am-api.md §1.7), with some members of our own that say more.

use jiff::Timestamp;
use testyard_agent::observed;
use testyard_controller::api::{SliceView, SliverView};
use testyard_formats::rspec::ExecuteFiles;
use testyard_guest_protocol::{ProgramState, ServiceId, ServiceReport, ServiceState};
use testyard_model::service::Services;
use testyard_model::state::{Allocation, Operational};
use testyard_model::time;

use crate::answer::Outcome;
use crate::options::Options;
use crate::xmlrpc::Value;

/// How much is told of each sliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Plain,
    /// With what took how long.
    Timeline,
}

impl Detail {
    pub(crate) fn of(options: &Options<'_>) -> Outcome<Self> {
        Ok(if options.flag("testyard_timeline")? { Self::Timeline } else { Self::Plain })
    }
}

/// The array `geni_slivers`: those that are there, and those that were named in vain with best effort.
pub(crate) fn slivers(view: &SliceView, detail: Detail, now: Timestamp) -> Value {
    let there = view.slivers.iter().map(|sliver| one(sliver, detail));
    let missing = view.missing.iter().map(|(urn, reason)| {
        Value::members([
            ("geni_sliver_urn", Value::text(urn.to_string())),
            ("geni_allocation_status", Value::from(Allocation::Unallocated.as_str())),
            ("geni_operational_status", Value::from(Operational::PendingAllocation.as_str())),
            ("geni_expires", Value::text(time::format(now))),
            ("geni_error", Value::text(reason.as_str())),
        ])
    });
    Value::Array(there.chain(missing).collect())
}

fn one(sliver: &SliverView, detail: Detail) -> Value {
    let mut members = vec![
        ("geni_sliver_urn", Value::text(sliver.urn.to_string())),
        ("geni_allocation_status", Value::from(sliver.allocation.as_str())),
        ("geni_operational_status", Value::from(sliver.operational.as_str())),
        ("geni_expires", Value::text(time::format(sliver.expires))),
        ("geni_error", Value::text(sliver.error.as_str())),
        ("testyard_client_id", Value::text(sliver.client_id.to_string())),
        ("testyard_host", Value::text(sliver.host.to_string())),
    ];
    if let Some(node) = &sliver.observed {
        members.extend(progress(node).map(|text| ("testyard_progress", Value::String(text))));
        if !node.notices.is_empty() {
            let notices = node.notices.iter().map(|notice| Value::text(notice.as_str()));
            members.push(("testyard_notices", Value::Array(notices.collect())));
        }
        members.extend(program(node.program).map(|text| ("testyard_program", Value::String(text))));
        if !node.services.is_empty() {
            let reports = node.services.iter().map(|report| service(report, &sliver.services));
            members.push(("testyard_services", Value::Array(reports.collect())));
        }
    }
    if detail == Detail::Timeline {
        members.push(("testyard_timeline", timeline(sliver)));
    }
    Value::members(members)
}

/// What became of the image's own program.
fn program(state: ProgramState) -> Option<String> {
    match state {
        ProgramState::None => None,
        ProgramState::Running => Some("running".to_owned()),
        ProgramState::Exited(status) => Some(format!("exited {status}")),
        ProgramState::Signalled(signal) => Some(format!("signalled {signal}")),
        ProgramState::NotStarted(error) => Some(format!("not started, error {error}")),
    }
}

/// What a host does for a node that is not ready yet.
fn progress(node: &observed::Node) -> Option<String> {
    let text = match node.phase {
        observed::Phase::Waiting => "waiting for its host",
        observed::Phase::Pulling => {
            return Some(match node.pull {
                Some(pull) if pull.total > 0 => {
                    format!("pulling its image: {} of {} MiB", pull.done >> 20, pull.total >> 20)
                }
                _ => "pulling its image".to_owned(),
            });
        }
        observed::Phase::Booting => "booting",
        observed::Phase::Configuring => "being set up",
        observed::Phase::Installing => "installing",
        observed::Phase::Stopping => "stopping",
        observed::Phase::Ready | observed::Phase::Stopped | observed::Phase::Failed => return None,
    };
    Some(text.to_owned())
}

fn service(report: &ServiceReport, asked: &Services) -> Value {
    let (state, exit) = match report.state {
        ServiceState::Waiting => ("waiting", None),
        ServiceState::Running => ("running", None),
        ServiceState::Exited(code) => ("exited", Some(code)),
        ServiceState::Signalled(signal) => ("signalled", Some(signal)),
        ServiceState::Failed => ("failed", None),
        ServiceState::Interrupted => ("interrupted", None),
    };
    let mut members = vec![("state", Value::from(state)), ("detail", Value::text(report.detail.as_str()))];
    match report.id {
        ServiceId::Install(index) => {
            members.push(("kind", Value::from("install")));
            members.push(("number", number(index)));
            if let Some(install) = asked.installs.get(index as usize) {
                members.push(("what", Value::text(format!("{} into {}", install.url, install.path))));
            }
        }
        ServiceId::Execute(index) => {
            members.push(("kind", Value::from("execute")));
            members.push(("number", number(index)));
            if let Some(execute) = asked.executes.get(index as usize) {
                members.push(("what", Value::text(execute.command.as_str())));
            }
            // Files are numbered like commands, from 1.
            let folder = Some(report.folder.as_str()).filter(|folder| !folder.is_empty());
            let files = ExecuteFiles::new(index as usize + 1, folder);
            members.extend([("log", Value::text(files.log)), ("status", Value::text(files.status))]);
        }
    }
    match report.state {
        ServiceState::Signalled(_) => members.extend(exit.map(|code| ("signal", Value::from(code)))),
        _ => members.extend(exit.map(|code| ("exit_code", Value::from(code)))),
    }
    Value::members(members)
}

/// People count from 1, and so do docker-am's file names.
fn number(index: u32) -> Value {
    Value::Int(i64::from(index) + 1)
}

/// What happened when, in order, with milliseconds since the first.
fn timeline(sliver: &SliverView) -> Value {
    let mut entries: Vec<(Timestamp, String)> =
        sliver.events.iter().map(|event| (event.at, event.what.clone())).collect();
    for milestone in sliver.observed.iter().flat_map(|node| &node.timeline) {
        let stage = serde_json::to_value(milestone.stage).ok();
        let stage = stage.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        entries.push((milestone.at, format!("host: {stage}")));
    }
    entries.sort_by_key(|(at, _)| *at);
    let first = entries.first().map(|(at, _)| *at);
    let entries = entries.into_iter().map(|(at, what)| {
        let since = first.map_or(0, |first| at.duration_since(first).as_millis());
        Value::members([
            ("what", Value::String(what)),
            ("at", Value::String(at.to_string())),
            ("ms", Value::from(i32::try_from(since).unwrap_or(i32::MAX))),
        ])
    });
    Value::Array(entries.collect())
}

//! The sliver struct (am-api.md §1.7), with some members of our own that say more.

use jiff::Timestamp;
use testyard_controller::api::{SliceView, SliverView};
use testyard_controller::words::ServiceView;
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
        members.extend(sliver.progress().map(|text| ("testyard_progress", Value::String(text))));
        if !node.notices.is_empty() {
            let notices = node.notices.iter().map(|notice| Value::text(notice.as_str()));
            members.push(("testyard_notices", Value::Array(notices.collect())));
        }
        members.extend(sliver.program().map(|text| ("testyard_program", Value::String(text))));
        if !node.services.is_empty() {
            let services = sliver.services_seen().into_iter().map(service);
            members.push(("testyard_services", Value::Array(services.collect())));
        }
    }
    if detail == Detail::Timeline {
        members.push(("testyard_timeline", timeline(sliver)));
    }
    Value::members(members)
}

fn service(service: ServiceView) -> Value {
    let mut members = vec![
        ("state", Value::from(service.state)),
        ("detail", Value::text(service.detail.as_str())),
        ("kind", Value::from(service.kind)),
        ("number", Value::Int(i64::from(service.number))),
    ];
    members.extend(service.what.map(|what| ("what", Value::text(what.as_str()))));
    if let Some(files) = service.files {
        members.extend([("log", Value::text(files.log)), ("status", Value::text(files.status))]);
    }
    members.extend(service.signal.map(|signal| ("signal", Value::from(signal))));
    members.extend(service.exit_code.map(|code| ("exit_code", Value::from(code))));
    Value::members(members)
}

/// What happened when, in order, with milliseconds since the first.
fn timeline(sliver: &SliverView) -> Value {
    let entries = sliver.timeline().into_iter().map(|moment| {
        Value::members([
            ("what", Value::String(moment.what)),
            ("at", Value::String(moment.at.to_string())),
            ("ms", Value::from(i32::try_from(moment.ms).unwrap_or(i32::MAX))),
        ])
    });
    Value::Array(entries.collect())
}

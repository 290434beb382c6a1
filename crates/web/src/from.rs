//! The controller's answers as what goes over the socket.

use testyard_controller::api::{
    HostReport, ImageView, LinkAction, LinkView, Offer, Outlook, ScheduleView, SliceSummary, SliceView,
    SliverView,
};
use testyard_controller::words::{Moment, ProgramView, ServiceView, in_words};
use testyard_controller::{AuditRow, Event, Happening};
use testyard_model::state::{Allocation, Operational};
use testyard_model::urn::SliceUrn;

use crate::api::{self, EventKind};
use crate::words::translated;

/// From bad to good: a slice is what the worst of its nodes is.
const WORST_FIRST: [Operational; 8] = [
    Operational::Failed,
    Operational::Stopping,
    Operational::Configuring,
    Operational::UpdatingUsers,
    Operational::ReadyBusy,
    Operational::NotReady,
    Operational::PendingAllocation,
    Operational::Ready,
];

/// A state without the prefix that all have.
pub(crate) fn word(state: Operational) -> &'static str {
    match state {
        Operational::PendingAllocation => "allocated",
        other => plain(other.as_str()),
    }
}

pub(crate) fn plain(word: &'static str) -> &'static str {
    word.strip_prefix("geni_").unwrap_or(word)
}

fn worst(states: impl Iterator<Item = Operational> + Clone) -> &'static str {
    let worst = WORST_FIRST.into_iter().find(|state| states.clone().any(|other| other == *state));
    worst.map_or("empty", word)
}

pub(crate) fn brief(summary: &SliceSummary) -> api::Brief {
    let SliceSummary { urn, creator, created, expires, nodes, links, shut_down } = summary;
    let state = if *shut_down { "shut_down" } else { worst(nodes.keys().copied()) };
    api::Brief {
        name: urn.name().to_owned(),
        urn: urn.to_string(),
        creator: creator.to_string(),
        created: *created,
        expires: *expires,
        state: state.to_owned(),
        nodes: nodes.iter().map(|(state, count)| (word(*state).to_owned(), *count)).collect(),
        links: *links,
    }
}

pub(crate) fn slice(view: SliceView) -> api::Slice {
    // A node whose failure is not to matter does not make the whole fail, as long as there are others.
    let counts =
        |sliver: &SliverView| sliver.operational != Operational::Failed || sliver.on_failure.is_fatal();
    let any = view.slivers.iter().any(counts);
    let counted = view.slivers.iter().filter(|sliver| !any || counts(sliver));
    let state = worst(counted.map(|sliver| sliver.operational)).to_owned();
    let name = view.urn.name();
    api::Slice {
        name: name.to_owned(),
        urn: view.urn.to_string(),
        state,
        nodes: view.slivers.iter().map(|sliver| node(sliver, name)).collect(),
        links: view.links.into_iter().map(link).collect(),
        schedule: view.schedule.map(schedule),
        converged: view.converged,
        problem: view.problem,
        remarks: view.diagnostics,
    }
}

/// An image that was made of a URL.
pub(crate) fn image(image: ImageView) -> api::Image {
    let ImageView { host, url, content, state, detail, log } = image;
    api::Image {
        url: url.to_string(),
        host: host.to_string(),
        state: state.to_owned(),
        detail: translated(&detail, "NODE"),
        sha256: content.map(|content| content.to_string()),
        log,
    }
}

fn schedule(schedule: ScheduleView) -> api::Schedule {
    let ScheduleView { events, run, done, late_ms_max, notice } = schedule;
    let (run, zero) = run.map_or((0, None), |(number, zero)| (number, Some(zero)));
    api::Schedule { events, done, run, zero, late_ms_max, notice }
}

fn program(program: ProgramView) -> api::Program {
    let ProgramView { name, start, state, exit_code, signal, unexpected, logs, detail } = program;
    api::Program { name, start, state: state.to_owned(), exit_code, signal, unexpected, logs, detail }
}

fn node(sliver: &SliverView, slice: &str) -> api::Node {
    let at = format!("{}.{slice}", sliver.client_id);
    let notices = sliver.observed.iter().flat_map(|node| &node.notices);
    let provisioned = sliver.allocation == Allocation::Provisioned;
    let ssh = sliver.ssh_port.filter(|_| provisioned).map(|port| api::Ssh {
        host: sliver.host_address.clone(),
        port,
        logins: sliver.accounts.iter().map(|a| (a.user.to_string(), a.login.to_string())).collect(),
        host_keys: sliver.host_keys.clone(),
    });
    let port = |forward: &testyard_fabric::Forward| api::Port {
        port: forward.port.to_string(),
        host_port: forward.host_port,
    };
    let interface = |interface: &testyard_controller::api::InterfaceView| api::Interface {
        name: interface.client_id.to_string(),
        device: interface.device.clone(),
        mac: interface.mac,
        addresses: interface.addresses.clone(),
    };
    api::Node {
        name: sliver.client_id.to_string(),
        urn: sliver.urn.to_string(),
        allocation: plain(sliver.allocation.as_str()).to_owned(),
        state: word(sliver.operational).to_owned(),
        converged: sliver.converged,
        on_failure: sliver.on_failure,
        error: translated(&sliver.error, &at),
        progress: sliver.progress(),
        notices: notices.map(|notice| translated(notice, &at)).collect(),
        host: sliver.host.to_string(),
        image: sliver.image.to_string(),
        sliver_type: sliver.sliver_type.to_string(),
        expires: sliver.expires,
        hostname: sliver.hostname.to_string(),
        control_address: sliver.address.ipv4.to_string(),
        ssh,
        ports: sliver.forwards.iter().map(port).collect(),
        interfaces: sliver.interfaces.iter().map(interface).collect(),
        program: sliver.program(),
        services: sliver.services_seen().into_iter().map(service).collect(),
        programs: sliver.programs_seen().into_iter().map(program).collect(),
        timeline: sliver
            .timeline()
            .into_iter()
            .map(|Moment { what, at, ms }| api::Moment { what, at, ms })
            .collect(),
    }
}

fn service(service: ServiceView) -> api::Service {
    let ServiceView { kind, number, what, state, exit_code, signal, files, detail } = service;
    let log = files.map(|files| files.log);
    api::Service {
        kind: kind.to_owned(),
        number,
        what,
        state: state.to_owned(),
        exit_code,
        signal,
        log,
        detail,
    }
}

fn link(link: LinkView) -> api::Link {
    let LinkView { urn, client_id, now, reverts, changed, converged, problem, .. } = link;
    let member = |member: testyard_plan::network::parts::NetworkMember| api::Member {
        node: member.node.to_string(),
        interface: member.interface.to_string(),
        device: member.device.to_string(),
        addresses: member.addresses,
        to_link: member.to_link,
        from_link: member.from_link,
    };
    api::Link {
        name: client_id.to_string(),
        urn: urn.to_string(),
        kind: now.kind,
        up: !now.down,
        mtu: now.mtu,
        networks: now.subnets,
        members: now.members.into_iter().map(member).collect(),
        changed,
        converged,
        reverts,
        problem,
    }
}

pub(crate) fn outlook(outlook: Outlook) -> api::Outlook {
    let Outlook { changes, plan, version } = outlook;
    let lines =
        if changes.is_empty() { vec![] } else { changes.to_string().lines().map(str::to_owned).collect() };
    let (disturbs, revision) = (changes.disturbs(), version.to_string());
    let remarks = [plan.diagnostics, plan.near_limits].concat();
    api::Outlook { disturbs, changes, lines, remarks, revision }
}

pub(crate) fn offer(offer: &Offer) -> (Vec<api::SliverType>, Vec<api::Host>) {
    let kinds = offer.sliver_types.iter().map(|kind| api::SliverType {
        name: kind.name.to_string(),
        description: kind.description.clone(),
        default_image: kind.default_image.to_string(),
    });
    let hosts = offer.hosts.iter().map(|host| api::Host {
        name: host.name.to_string(),
        capacity: host.capacity,
        free: host.free,
        healthy: host.healthy,
    });
    (kinds.collect(), hosts.collect())
}

/// A host, as its operators see it.
pub(crate) fn host_report(report: HostReport) -> api::HostReport {
    let HostReport { offer, public_name, tunnel, drained, listed, engines, away, limits, nodes } = report;
    let (state, why) = match (away, drained, offer.healthy) {
        (Some(why), ..) => ("away", Some(why)),
        (None, ..) if !listed => ("unlisted", Some("it is not in the configuration any more".to_owned())),
        (None, true, _) => ("drained", None),
        (None, false, true) => ("ready", None),
        (None, false, false) => ("ill", Some(engines.join(", "))),
    };
    api::HostReport {
        name: offer.name.to_string(),
        state: state.to_owned(),
        why: why.filter(|why| !why.is_empty()),
        capacity: offer.capacity,
        free: offer.free,
        nodes: nodes.into_iter().map(|(slice, nodes)| (slice.to_string(), nodes)).collect(),
        public_name,
        tunnel,
        engines,
        limits,
    }
}

pub(crate) fn event(event: Event) -> api::Event {
    let Event { slice, at, what, .. } = event;
    let about = |kind, state: &str| api::Event {
        at,
        slice: slice.name().to_owned(),
        kind,
        state: state.to_owned(),
        ..api::Event::default()
    };
    match what {
        Happening::Sliver { client_id, allocation, operational, error, .. } => {
            let error = translated(&error, &format!("{client_id}.{}", slice.name()));
            let state = if allocation == Allocation::Unallocated { "gone" } else { word(operational) };
            api::Event { node: client_id.to_string(), error, ..about(EventKind::Node, state) }
        }
        Happening::Program { node, report } => {
            let ProgramView { name, start, state, exit_code, signal, unexpected, detail, .. } =
                ProgramView::from(&report);
            let how = exit_code.or(signal).map(|code| format!(" {code}")).unwrap_or_default();
            api::Event {
                node: node.to_string(),
                program: name,
                detail: format!("start {start}{how}"),
                error: if unexpected { detail } else { String::new() },
                ..about(EventKind::Program, state)
            }
        }
        Happening::Link { link, from, what, until } => {
            let (state, mut detail) = match &what {
                LinkAction::Up => ("up", vec![]),
                LinkAction::Down => ("down", vec![]),
                LinkAction::Reset => ("reset", vec![]),
                LinkAction::Set(settings) => ("set", settings.iter().map(ToString::to_string).collect()),
            };
            detail.extend(from.map(|from| format!("from {from}")));
            detail.extend(until.map(|until| format!("until {}", testyard_model::time::format(until))));
            api::Event { link: link.to_string(), detail: detail.join(" "), ..about(EventKind::Link, state) }
        }
        Happening::Reverted { link } => {
            api::Event { link: link.to_string(), ..about(EventKind::Link, "reverted") }
        }
        Happening::Links { problem: None } => about(EventKind::Links, "joined"),
        Happening::Links { problem: Some(error) } => {
            api::Event { error, ..about(EventKind::Links, "failed") }
        }
        Happening::Begun { run } => {
            api::Event { detail: format!("run {run}"), ..about(EventKind::Schedule, "begun") }
        }
        Happening::Scheduled { run, due, action, late_ms } => {
            let detail = format!("{}, at {due} of run {run}, {late_ms} ms late", in_words(&action));
            api::Event { detail, ..about(EventKind::Schedule, "done") }
        }
        Happening::Converged { converged, problem } => {
            let state = if converged { "converged" } else { "converging" };
            api::Event { error: problem.unwrap_or_default(), ..about(EventKind::Slice, state) }
        }
    }
}

/// What a listener is told that was too slow.
pub(crate) fn missed(at: jiff::Timestamp, slice: Option<&SliceUrn>) -> api::Event {
    api::Event::missed(at, slice.map(|slice| slice.name().to_owned()).unwrap_or_default())
}

/// A line of the audit trail.
pub(crate) fn audited(row: AuditRow) -> api::Audited {
    api::Audited {
        at: row.at,
        user: row.user.to_string(),
        tool: row.tool.map(|tool| tool.to_string()),
        object: row.object.to_string(),
        operation: row.operation,
        detail: row.detail,
        request: row.request.map(|request| request.to_string()),
    }
}

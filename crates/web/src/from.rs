//! The controller's answers as what goes over the socket.

use testyard_controller::Event;
use testyard_controller::api::{LinkView, Offer, Outlook, ScheduleView, SliceSummary, SliceView, SliverView};
use testyard_controller::words::{Moment, ProgramView, ServiceView};
use testyard_model::state::{Allocation, Operational};
use testyard_model::urn::SliceUrn;

use crate::api;
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
    let state = worst(view.slivers.iter().map(|sliver| sliver.operational)).to_owned();
    let name = view.urn.name();
    api::Slice {
        name: name.to_owned(),
        urn: view.urn.to_string(),
        state,
        nodes: view.slivers.iter().map(|sliver| node(sliver, name)).collect(),
        links: view.links.into_iter().map(link).collect(),
        schedule: view.schedule.map(schedule),
        remarks: view.diagnostics,
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
    let LinkView { urn, client_id, now, reverts, changed, problem, .. } = link;
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
        reverts,
        problem,
    }
}

pub(crate) fn outlook(outlook: Outlook) -> api::Outlook {
    let Outlook { changes, plan } = outlook;
    let lines =
        if changes.is_empty() { vec![] } else { changes.to_string().lines().map(str::to_owned).collect() };
    api::Outlook {
        disturbs: changes.disturbs(),
        changes,
        lines,
        remarks: [plan.diagnostics, plan.near_limits].concat(),
    }
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

pub(crate) fn event(event: Event) -> api::Event {
    let state = match event.allocation {
        Allocation::Unallocated => "gone",
        _ => word(event.operational),
    };
    api::Event {
        at: event.at,
        slice: event.slice.name().to_owned(),
        node: event.client_id.to_string(),
        state: state.to_owned(),
        error: translated(&event.error, &format!("{}.{}", event.client_id, event.slice.name())),
    }
}

/// What a listener is told that was too slow.
pub(crate) fn missed(at: jiff::Timestamp, slice: Option<&SliceUrn>) -> api::Event {
    api::Event {
        at,
        slice: slice.map(|slice| slice.name().to_owned()).unwrap_or_default(),
        node: String::new(),
        state: "missed".to_owned(),
        error: String::new(),
    }
}

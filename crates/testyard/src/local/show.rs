//! A slice as tables.

use jiff::Timestamp;
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;
use testyard_model::time;
use testyard_web::api::{Link, Node, Schedule, Slice};

use crate::{passage, print};

/// Nodes, links, what they run, what is wrong.
pub(super) fn slice(slice: &Slice) {
    say!("{}  {}  {}", slice.name, slice.state, ends(slice));
    say!();
    nodes(&slice.nodes);
    if !slice.links.is_empty() {
        say!();
        links(&slice.links);
    }
    services(&slice.nodes);
    if let Some(schedule) = &slice.schedule {
        say!();
        say!("{}", progress(schedule));
    }
    remarks(slice);
}

fn progress(schedule: &Schedule) -> String {
    let Schedule { events, done, run, late_ms_max, .. } = schedule;
    match run {
        0 => format!("schedule: {events} events, from when all nodes are ready"),
        run => format!("schedule: {done} of {events} events in run {run}, at most {late_ms_max} ms late"),
    }
}

fn ends(slice: &Slice) -> String {
    let first = slice.nodes.iter().map(|node| node.expires).min();
    first.map_or_else(String::new, |expires| format!("until {} ({})", time::format(expires), until(expires)))
}

/// How long from now.
pub(super) fn until(when: Timestamp) -> String {
    let seconds = when.duration_since(Timestamp::now()).as_millis().saturating_add(999).div_euclid(1_000);
    match seconds {
        ..=0 => "now".to_owned(),
        1..=119 => format!("in {seconds} s"),
        120..=7_199 => format!("in {} min", seconds / 60),
        7_200..=172_799 => format!("in {} h", seconds / 3_600),
        _ => format!("in {} days", seconds / 86_400),
    }
}

fn nodes(nodes: &[Node]) {
    let mut table = print::table(&["node", "state", "addresses", "ssh port", "host", "image"]);
    for node in nodes {
        let addresses = node.interfaces.iter().flat_map(|interface| &interface.addresses);
        let addresses: Vec<String> = addresses.map(|address| address.addr().to_string()).collect();
        let port = node.ssh.as_ref().map(|ssh| ssh.port.to_string()).unwrap_or_default();
        let state = match &node.progress {
            Some(progress) => format!("{}: {progress}", node.state),
            None => node.state.clone(),
        };
        table.add_row([&node.name, &state, &addresses.join(" "), &port, &node.host, &node.image]);
    }
    print::show(&table);
}

fn links(links: &[Link]) {
    let mut table = print::table(&["link", "kind", "state", "between", "one way"]);
    for link in links {
        let kind = if link.kind == LinkKind::Lan { "LAN" } else { "cable" };
        let members: Vec<&str> = link.members.iter().map(|member| member.node.as_str()).take(6).collect();
        let more =
            if link.members.len() > 6 { format!(" … ({})", link.members.len()) } else { String::new() };
        table.add_row([&link.name, kind, &state(link), &(members.join(" ") + &more), &does(link)]);
    }
    print::show(&table);
}

fn state(link: &Link) -> String {
    let state = if link.up { "up" } else { "down" };
    match (link.changed, link.reverts) {
        (_, Some(reverts)) => format!("{state}, changed, reverts {}", until(reverts)),
        (true, None) => format!("{state}, changed"),
        (false, None) => state.to_owned(),
    }
}

/// What a link does to packets, once if it does the same everywhere.
pub(super) fn does(link: &Link) -> String {
    let one = |to: &Impairment, from: &Impairment| match (to.is_clear(), from.is_clear()) {
        (true, true) => String::new(),
        (false, true) => to.to_string(),
        (true, false) => format!("in: {from}"),
        (false, false) => format!("{to}, in: {from}"),
    };
    let all: Vec<String> =
        link.members.iter().map(|member| one(&member.to_link, &member.from_link)).collect();
    match all.first() {
        Some(first) if all.iter().all(|other| other == first) => first.clone(),
        _ => {
            let each = link.members.iter().zip(&all).filter(|(_, does)| !does.is_empty());
            each.map(|(member, does)| format!("from {}: {does}", member.node)).collect::<Vec<_>>().join("; ")
        }
    }
}

fn services(nodes: &[Node]) {
    if nodes.iter().all(|node| node.services.is_empty() && node.programs.is_empty()) {
        return;
    }
    say!();
    let mut table = print::table(&["node", "service", "state", "log", "what"]);
    for node in nodes {
        for service in &node.services {
            let state = match service.exit_code.or(service.signal) {
                Some(code) => format!("{} {code}", service.state),
                None => service.state.clone(),
            };
            let (log, what) =
                (service.log.clone().unwrap_or_default(), service.what.clone().unwrap_or_default());
            let which = format!("{} {}", service.kind, service.number);
            table.add_row([node.name.clone(), which, state, log, passage::short(&what).join(" ")]);
        }
        for program in &node.programs {
            let state = match program.exit_code.or(program.signal) {
                Some(code) => format!("{} {code}", program.state),
                None => program.state.clone(),
            };
            let log = program.logs.first().cloned().unwrap_or_default();
            let what =
                if program.unexpected { format!("unexpected: {}", program.detail) } else { String::new() };
            let which = format!("program {}", program.name);
            table.add_row([node.name.clone(), which, state, log, passage::short(&what).join(" ")]);
        }
    }
    print::show(&table);
}

fn remarks(slice: &Slice) {
    let errors = slice.nodes.iter().filter(|node| !node.error.is_empty());
    let errors = errors.map(|node| format!("{}: {}", node.name, node.error));
    let notices = slice.nodes.iter().flat_map(|node| {
        let news = node.notices.iter().filter(|notice| !node.error.contains(notice.as_str()));
        news.map(|notice| format!("{}: note: {notice}", node.name))
    });
    // One host tells the same of all its links.
    let mut problems: Vec<String> = slice
        .links
        .iter()
        .filter_map(|link| link.problem.clone())
        .map(|problem| format!("links: {problem}"))
        .collect();
    problems.dedup();
    let late = slice.schedule.iter().filter_map(|schedule| schedule.notice.as_ref());
    let late = late.map(|notice| format!("schedule: note: {notice}"));
    let all: Vec<String> = errors.chain(problems).chain(notices).chain(late).collect();
    if !all.is_empty() {
        say!();
    }
    for line in all.iter().flat_map(|text| passage::lines(text)) {
        say!("{line}");
    }
}

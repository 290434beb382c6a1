//! Answers as tables.

use comfy_table::{ColumnConstraint, Table, Width};
use testyard_am::client::{ServiceStatus, Sliver, Slivers, Version};

use crate::passage;
use crate::print;
use crate::ssh::Login;

/// Room for `/tmp/startup-10.txt` and the blanks around it.
const LOG_WIDTH: u16 = 21;

/// A version.
pub(super) fn version(version: &Version) {
    say!("AM API      {}", version.api);
    if let Some(urn) = &version.urn {
        say!("URN         {urn}");
    }
    for (number, url) in &version.urls {
        say!("version {number}   {url}");
    }
    for (what, rspecs) in [("requests", &version.request_rspecs), ("adverts", &version.ad_rspecs)] {
        let all: Vec<String> =
            rspecs.iter().map(|rspec| format!("{} {}", rspec.kind, rspec.version)).collect();
        say!("{what:11} {}", all.join(", "));
    }
    say!("credentials {}", version.credentials.join(", "));
    say!("allocate    {}", version.allocate);
}

/// Slivers, with what is wrong and what they run below.
pub(super) fn slivers(slivers: &Slivers) {
    for warning in &slivers.warnings {
        remark!("testyard: warning: {warning}");
    }
    if slivers.slivers.is_empty() {
        say!("no slivers");
        return;
    }
    let mut table = print::table(&["node", "allocation", "operation", "expires", "progress"]);
    for sliver in &slivers.slivers {
        table.add_row([
            name(sliver),
            plain(&sliver.allocation),
            plain(&sliver.operational),
            &sliver.expires,
            &sliver.progress,
        ]);
    }
    print::show(&table);
    for line in remarks(slivers) {
        say!("{line}");
    }
    if slivers.slivers.iter().any(|sliver| !sliver.services.is_empty()) {
        say!();
        print::show(&services(slivers));
    }
}

/// What is wrong, then what should be known, a passage each.
fn remarks(slivers: &Slivers) -> Vec<String> {
    let errors = slivers.slivers.iter().filter(|sliver| !sliver.error.is_empty());
    let errors = errors.map(|sliver| format!("{}: {}", name(sliver), sliver.error));
    let notes = slivers.slivers.iter().flat_map(|sliver| {
        let news = sliver.notices.iter().filter(|notice| !sliver.error.contains(notice.as_str()));
        news.map(|notice| format!("{}: note: {notice}", name(sliver)))
    });
    errors.chain(notes).flat_map(|text| passage::lines(&text)).collect()
}

/// What a service has to say beside its state, unless the sliver's error has told it.
fn detail(sliver: &Sliver, service: &ServiceStatus) -> Option<String> {
    let detail = service.detail.trim();
    let news = !detail.is_empty() && service.state != "running" && !sliver.error.contains(detail);
    news.then(|| passage::short(detail).join("\n"))
}

fn services(slivers: &Slivers) -> Table {
    let mut table = print::table(&["node", "service", "state", "log", "what"]);
    // A path that is broken over lines cannot be copied; long commands can be broken instead.
    if let Some(column) = table.column_mut(3) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(LOG_WIDTH)));
    }
    for sliver in &slivers.slivers {
        for service in &sliver.services {
            let which = format!("{} {}", service.kind, service.number);
            table.add_row([name(sliver), &which, &state(service), &service.log, &service.what]);
            if let Some(detail) = detail(sliver, service) {
                table.add_row(["", "", "", "", &detail]);
            }
        }
    }
    table
}

fn state(service: &ServiceStatus) -> String {
    match service.exit_code.or(service.signal) {
        Some(code) => format!("{} {code}", service.state),
        None => service.state.clone(),
    }
}

/// What happened to each sliver, when, and how long after the first.
pub(super) fn timelines(slivers: &Slivers) {
    for sliver in &slivers.slivers {
        say!();
        say!("{}", name(sliver));
        let mut table = print::table(&["", "ms", "step", "at"]);
        let mut before = None;
        for entry in &sliver.timeline {
            let step = before.map_or_else(String::new, |before| format!("+{}", entry.ms - before));
            before = Some(entry.ms);
            table.add_row([&entry.what, &entry.ms.to_string(), &step, milliseconds(&entry.at)]);
        }
        print::show(&table);
    }
}

/// A time without what is finer than a millisecond.
fn milliseconds(time: &str) -> &str {
    match time.split_once('.') {
        Some((whole, _)) => time.get(..whole.len() + 4).unwrap_or(time).trim_end_matches('Z'),
        None => time,
    }
}

/// How to log in to each node.
pub(super) fn logins(logins: &[Login]) {
    if logins.is_empty() {
        return;
    }
    say!();
    let mut table = print::table(&["node", "log in with"]);
    for login in logins {
        table.add_row([&login.node, &login.command()]);
    }
    print::show(&table);
}

/// The name that a person knows a sliver by.
pub(super) fn name(sliver: &Sliver) -> &str {
    if sliver.client_id.is_empty() { &sliver.urn } else { &sliver.client_id }
}

/// A state without the prefix that all have.
fn plain(state: &str) -> &str {
    state.strip_prefix("geni_").unwrap_or(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_twice() {
        let detail = "cannot fetch it: connection refused";
        let failed = ServiceStatus {
            kind: "install".to_owned(),
            number: 1,
            state: "failed".to_owned(),
            detail: detail.to_owned(),
            ..ServiceStatus::default()
        };
        let loud = ServiceStatus { detail: "y\n".repeat(250), ..failed.clone() };
        let sliver = Sliver {
            client_id: "left".to_owned(),
            error: format!("install 1 failed: {detail}"),
            notices: vec!["install 1 failed".to_owned(), "something else".to_owned()],
            services: vec![failed, loud],
            ..Sliver::default()
        };
        let slivers = Slivers { slivers: vec![sliver], ..Slivers::default() };
        assert_eq!(remarks(&slivers).len(), 2, "an error and the other note");
        let lines: Vec<String> = services(&slivers).lines().collect();
        assert!(lines.iter().all(|line| !line.contains("refused")), "{lines:#?}");
        assert!(lines.len() < 12 && lines.iter().any(|line| line.contains("250 lines")), "{lines:#?}");
    }

    #[test]
    fn services_with_logs_and_signals() {
        let service = ServiceStatus {
            kind: "execute".to_owned(),
            number: 10,
            what: "a long command ".repeat(12),
            state: "signalled".to_owned(),
            signal: Some(15),
            log: "/tmp/startup-10.txt".to_owned(),
            ..ServiceStatus::default()
        };
        let sliver = Sliver { client_id: "left".to_owned(), services: vec![service], ..Sliver::default() };
        let lines: Vec<String> =
            services(&Slivers { slivers: vec![sliver], ..Slivers::default() }).lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{lines:#?}");
        let row = &lines[1];
        assert!(row.contains("signalled 15") && row.contains("/tmp/startup-10.txt"), "{lines:#?}");
    }
}

//! What the programs in a node are told of its slice, as texts: the same that callers of the AM API are told, less what
//! not every user of a node may see.
//!
//! Left out: what services print and the commands that they run (`testyard_services` of Status), and user names and
//! passwords in addresses of the request (`https://token@…`), which a manifest repeats.

use std::sync::Arc;

use jiff::Timestamp;
use testyard_controller::api::{Caller, SliceView, Surroundings};
use testyard_model::state::Operational;
use testyard_model::time;

use crate::methods;
use crate::render;
use crate::settings::AmSettings;
use crate::xmlrpc::Value;

/// What the testbed says of itself, as JSON: the value of GetVersion.
#[must_use]
pub fn get_version(settings: &AmSettings) -> String {
    methods::version(settings).to_json().to_string()
}

/// The manifest of the node's slice.
pub async fn manifest(around: Surroundings, settings: &Arc<AmSettings>, now: Timestamp) -> String {
    let creator = Caller {
        user: around.creator,
        tool: None,
        until: now,
        only_own: false,
        operator: false,
        request: None,
    };
    let manifest = render::manifest(around.view, &creator, settings, now).await;
    without_user_information(manifest.trim_end_matches('\n'))
}

/// How the slice's slivers are, as JSON: the value of Status.
#[must_use]
pub fn status(view: &SliceView) -> String {
    let slivers = view.slivers.iter().map(|sliver| {
        Value::members([
            ("geni_sliver_urn", Value::text(sliver.urn.to_string())),
            ("geni_allocation_status", Value::from(sliver.allocation.as_str())),
            ("geni_operational_status", Value::from(sliver.operational.as_str())),
            ("geni_expires", Value::text(time::format(sliver.expires))),
            ("geni_error", Value::text(reason(sliver.operational))),
            ("testyard_client_id", Value::text(sliver.client_id.to_string())),
        ])
    });
    let members =
        [("geni_urn", Value::text(view.urn.to_string())), ("geni_slivers", Value::Array(slivers.collect()))];
    Value::members(members).to_json().to_string()
}

/// The same as JSON in the words of version 2 of the AM API.
#[must_use]
pub fn sliver_status(view: &SliceView) -> String {
    let states: Vec<&str> = view.slivers.iter().map(|sliver| of_version_2(sliver.operational)).collect();
    let all = |state: &str| states.iter().all(|of| *of == state);
    let any = |state: &str| states.contains(&state);
    let whole = match () {
        () if any(FAILED) => FAILED,
        () if all(READY) => READY,
        () if any(CONFIGURING) => CONFIGURING,
        () => UNKNOWN,
    };
    let resources = view.slivers.iter().zip(&states).map(|(sliver, state)| {
        Value::members([
            ("geni_urn", Value::text(sliver.urn.to_string())),
            ("geni_status", Value::from(*state)),
            ("geni_error", Value::text(reason(sliver.operational))),
            ("testyard_client_id", Value::text(sliver.client_id.to_string())),
        ])
    });
    Value::members([
        ("geni_urn", Value::text(view.urn.to_string())),
        ("geni_status", Value::from(whole)),
        ("geni_resources", Value::Array(resources.collect())),
    ])
    .to_json()
    .to_string()
}

const READY: &str = "ready";
const FAILED: &str = "failed";
const CONFIGURING: &str = "configuring";
const UNKNOWN: &str = "unknown";

fn of_version_2(state: Operational) -> &'static str {
    match state {
        Operational::Ready | Operational::ReadyBusy | Operational::UpdatingUsers => READY,
        Operational::Failed => FAILED,
        Operational::Configuring => CONFIGURING,
        _ => UNKNOWN,
    }
}

/// Reasons may quote what a service has printed, so the node learns only that there is one.
fn reason(state: Operational) -> &'static str {
    match state {
        Operational::Failed => "failed; the status of the slice says why",
        _ => "",
    }
}

/// The text without user names and passwords in its addresses: `scheme://user:password@host` is `scheme://host`.
fn without_user_information(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, authority) = rest.split_at(at + 3);
        kept.push_str(before);
        let end =
            authority.find(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).unwrap_or(authority.len());
        let user = authority[..end].rfind('@').map_or(0, |at| at + 1);
        rest = &authority[user..];
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_who_logs_in() {
        for (text, kept) in [
            (
                "<install url=\"https://ann:pa@ss@h.example/a?b=c@d\"/>",
                "<install url=\"https://h.example/a?b=c@d\"/>",
            ),
            ("git clone https://token@h/x https://u:p@h/y", "git clone https://h/x https://h/y"),
            ("a://b@", "a://"),
            (
                "xmlns='http://www.geni.net/resources/rspec/3' ann@example.net",
                "xmlns='http://www.geni.net/resources/rspec/3' ann@example.net",
            ),
            ("://://@é@x", "://://x"),
            ("", ""),
        ] {
            assert_eq!(without_user_information(text), kept);
        }
    }
}

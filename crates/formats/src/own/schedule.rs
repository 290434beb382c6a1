//! Reading what happens when: `{at: 10s, set: uplink, delay: 200ms}`, `{at: 1m, down: uplink}`, `{at: 5s, start: load}`.

use testyard_model::diagnostic::Severity;
use testyard_model::schedule::{Action, Event, MOST_EVENTS};
use testyard_model::setting::{SETTING_KEYS, Setting};
use testyard_model::topology::Topology;

use super::impairment::{setting, settings};
use super::link::Members;
use super::reference::{Names, find};
use crate::remarks::{Remarks, short};
use crate::tree::fields::{Fields, items, text};
use crate::tree::{Entry, Value};

const VERBS: [&str; 8] = ["up", "down", "set", "start", "stop", "signal", "restart", "reload"];
const OWN_KEYS: [&str; 5] = ["at", "from", "settings", "command", "program"];

/// Every key of an event.
pub(super) fn keys() -> Vec<&'static str> {
    OWN_KEYS.into_iter().chain(VERBS).chain(SETTING_KEYS).collect()
}

pub(super) fn read(
    fields: &Fields<'_>,
    topology: &Topology,
    names: &Names,
    remarks: &mut Remarks,
) -> Vec<Event> {
    let list = fields.get("schedule").map_or(&[][..], items);
    if let Some(item) = list.get(MOST_EVENTS) {
        remarks.error(item.at, format!("more than {MOST_EVENTS} events"));
    }
    let keys = keys();
    list.iter().take(MOST_EVENTS).filter_map(|item| event(item, &keys, topology, names, remarks)).collect()
}

fn event(
    value: &Value,
    keys: &[&str],
    topology: &Topology,
    names: &Names,
    remarks: &mut Remarks,
) -> Option<Event> {
    let fields = Fields::read(value, "an event", keys, Severity::Error, remarks)?;
    let verbs: Vec<&Entry> = fields.entries().iter().filter(|e| VERBS.contains(&e.key.as_str())).collect();
    let [verb] = verbs.as_slice() else {
        remarks
            .error(value.at, format!("an event does {} things instead of one", verbs.len()))
            .suggest(format!("one of {}", VERBS.join(", ")));
        return None;
    };
    if fields.get("at").is_none() {
        remarks.error(value.at, "an event has no time").suggest("like at: 10s, from when all is ready");
        return None;
    }
    let at = fields.parse("at", remarks)?;
    let others: &[&str] = match verb.key.as_str() {
        "set" => &["from", "settings"],
        "start" => &["command"],
        "signal" => &["program"],
        _ => &[],
    };
    let is_extra = |key: &str| {
        let is_setting = verb.key == "set" && SETTING_KEYS.contains(&key);
        key != "at" && key != verb.key && !others.contains(&key) && !is_setting
    };
    if let Some(extra) = fields.entries().iter().find(|entry| is_extra(&entry.key)) {
        remarks.error(extra.at, format!("{} has no meaning beside {}", extra.key, verb.key));
    }
    let name = text(&verb.value, &verb.key, remarks)?;
    let at_name = verb.value.at;
    let mut known = |kinds, what| find(kinds, what, name, at_name, remarks).map(|(id, _)| id);
    let action = match verb.key.as_str() {
        "up" => Action::LinkUp(known(&names.links, "link")?),
        "down" => Action::LinkDown(known(&names.links, "link")?),
        "restart" => Action::NodeRestart(known(&names.nodes, "node")?),
        "reload" => Action::NodeReload(known(&names.nodes, "node")?),
        "stop" => Action::ProgramStop(known(&names.programs, "program")?),
        "start" => {
            let program = known(&names.programs, "program")?;
            Action::ProgramStart { program, command: fields.text("command", remarks).map(str::to_owned) }
        }
        "signal" => {
            let Some(program) = fields.get("program") else {
                remarks
                    .error(value.at, "signal has no program")
                    .suggest("like {signal: TERM, program: load}");
                return None;
            };
            let (program, _) =
                find(&names.programs, "program", text(program, "program", remarks)?, program.at, remarks)?;
            let signal = name.strip_prefix("SIG").unwrap_or(name);
            if signal.is_empty() || !signal.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
                remarks
                    .error(at_name, format!("{:?} is no signal", short(name)))
                    .suggest("like TERM or USR1");
            }
            Action::ProgramSignal { program, signal: signal.to_owned() }
        }
        _ => {
            let (link, number) = find(&names.links, "link", name, at_name, remarks)?;
            let from = match fields.get("from") {
                None => None,
                Some(from) => {
                    let link = topology.links.get(number).filter(|known| known.client_id == link)?;
                    let index = Members::new(link, topology, names).find(
                        text(from, "from", remarks)?,
                        from.at,
                        remarks,
                    )?;
                    Some(link.members[index].interface.clone())
                }
            };
            let settings = changes(&fields, remarks);
            if settings.is_empty() {
                remarks.error(value.at, "set changes nothing").suggest("add delay: 50ms, loss: 1%, …");
            }
            Action::LinkSet { link, from, settings }
        }
    };
    Some(Event { at, action })
}

/// The changes: as keys of the event, or, where one comes twice or must stand behind another, as a list of maps.
fn changes(fields: &Fields<'_>, remarks: &mut Remarks) -> Vec<Setting> {
    let mut changes = settings(fields, remarks);
    for item in fields.get("settings").map_or(&[][..], items) {
        match item.entries() {
            None => {
                remarks.error(item.at, "settings are maps").suggest("like {delay: 50ms}");
            }
            Some(entries) => {
                changes.extend(entries.iter().filter_map(|entry| setting(&entry.key, &entry.value, remarks)));
            }
        }
    }
    changes
}

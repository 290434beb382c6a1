//! Reading nodes.

use std::num::NonZeroU32;

use testyard_model::diagnostic::{Position, Severity};
use testyard_model::link::Attribute;
use testyard_model::name::ClientId;
use testyard_model::quantity::{Size, Span};
use testyard_model::service::{Execute, Install, Program, Services, Shell};
use testyard_model::sliver_type::Port;
use testyard_model::topology::{Node, OnFailure, Storage, Topology};

use super::endpoint;
use super::reference::{Names, take};
use super::word;
use crate::remarks::{Remarks, short};
use crate::rspec::{check_path, check_url};
use crate::tree::fields::{Fields, items, parse, text};
use crate::tree::{Kind, Value};

/// The most nodes.
const MAX_NODES: usize = 10_000;
pub(super) const KEYS: [&str; 15] = [
    "name",
    "type",
    "image",
    "component",
    "host",
    "exclusive",
    "ports",
    "install",
    "run",
    "programs",
    "interfaces",
    "routes",
    "storage",
    "on-failure",
    "attributes",
];
const FAILURES: [(&str, OnFailure); 3] =
    [("fatal", OnFailure::Fatal), ("nonfatal", OnFailure::Nonfatal), ("ignore", OnFailure::Ignore)];

/// Reads all nodes; gives the routes, which may name what is not read yet, by the numbers of their nodes.
pub(super) fn all<'v>(
    fields: &Fields<'v>,
    topology: &mut Topology,
    names: &mut Names,
    remarks: &mut Remarks,
) -> Vec<(usize, &'v Value)> {
    let mut later = Vec::new();
    for (name, at, value) in named(fields.get("nodes"), "node", remarks) {
        if topology.nodes.len() >= MAX_NODES {
            remarks.error(at, format!("more than {MAX_NODES} nodes"));
            break;
        }
        let number = topology.nodes.len();
        if !take(&mut names.nodes, "node", &name, number, at, remarks) {
            continue;
        }
        let mut node = Node::new(name);
        if let Some(value) = value
            && let Some(fields) = Fields::read(value, "a node", &KEYS, Severity::Error, remarks)
        {
            fill(&mut node, number, &fields, names, remarks);
            later.extend(fields.get("routes").map(|routes| (number, routes)));
        }
        topology.nodes.push(node);
    }
    later
}

/// Things with names: a map from names to what they are, or a list of names and of maps with `name`.
fn named<'v>(
    value: Option<&'v Value>,
    what: &str,
    remarks: &mut Remarks,
) -> Vec<(ClientId, Position, Option<&'v Value>)> {
    let mut result = Vec::new();
    let mut add = |name: &str, at, value, remarks: &mut Remarks| match name.parse() {
        Ok(name) => result.push((name, at, value)),
        Err(error) => {
            remarks.error(at, format!("{what}: {error}"));
        }
    };
    match value.map(|value| (&value.kind, value)) {
        None => {}
        Some((Kind::Map(entries), _)) => {
            for entry in entries {
                let inside = Some(&entry.value).filter(|value| value.kind != Kind::Null);
                if let Some(twice) =
                    inside.and_then(Value::entries).and_then(|e| e.iter().find(|e| e.key == "name"))
                {
                    remarks.error(
                        twice.at,
                        format!("this {what} has its name already: {:?}", short(&entry.key)),
                    );
                }
                add(&entry.key, entry.at, inside, remarks);
            }
        }
        Some((_, list)) => {
            for item in items(list) {
                match item.entries().map(|entries| entries.iter().find(|entry| entry.key == "name")) {
                    None => {
                        if let Some(name) = text(item, what, remarks) {
                            add(name, item.at, None, remarks);
                        }
                    }
                    Some(None) => {
                        remarks.error(item.at, format!("a {what} has no name")).suggest("add name: …");
                    }
                    Some(Some(entry)) => {
                        if let Some(name) = text(&entry.value, "name", remarks) {
                            add(name, item.at, Some(item), remarks);
                        }
                    }
                }
            }
        }
    }
    result
}

fn fill(node: &mut Node, number: usize, fields: &Fields<'_>, names: &mut Names, remarks: &mut Remarks) {
    node.sliver_type = fields.parse("type", remarks);
    node.image = fields.parse("image", remarks);
    node.component = fields.parse("component", remarks);
    node.partition = fields.text("host", remarks).map(str::to_owned);
    node.exclusive = fields.flag("exclusive", remarks);
    if let Some(value) = fields.get("ports") {
        node.ports = items(value).iter().filter_map(|item| parse::<Port>(item, "ports", remarks)).collect();
    }
    node.services = services(fields, remarks);
    for (name, at, value) in named(fields.get("programs"), "program", remarks) {
        if take(&mut names.programs, "program", &name, number, at, remarks) {
            node.programs.extend(program(name, at, value, remarks));
        }
    }
    if let Some(value) = fields.get("interfaces") {
        for item in items(value) {
            node.interfaces.extend(endpoint::declared(item, number, names, remarks));
        }
    }
    if let Some(value) = fields.get("storage") {
        node.storage = items(value).iter().filter_map(|item| storage(item, remarks)).collect();
    }
    if let Some(value) = fields.get("on-failure") {
        node.on_failure = word(value, "on-failure", &FAILURES, remarks).unwrap_or_default();
    }
    node.attributes = attributes(fields, remarks);
}

fn services(fields: &Fields<'_>, remarks: &mut Remarks) -> Services {
    let mut services = Services::default();
    if let Some(value) = fields.get("install") {
        services.installs = items(value).iter().filter_map(|item| install(item, remarks)).collect();
    }
    if let Some(value) = fields.get("run") {
        services.executes = items(value).iter().filter_map(|item| execute(item, remarks)).collect();
    }
    services
}

fn install(value: &Value, remarks: &mut Remarks) -> Option<Install> {
    let fields = Fields::read(value, "install", &["url", "path", "checksum"], Severity::Error, remarks)?;
    let (Some(url), Some(path)) = (fields.text("url", remarks), fields.text("path", remarks)) else {
        remarks
            .error(value.at, "install needs url and path")
            .suggest("like {url: \"https://example.net/tool.tar.gz\", path: /opt/tool}");
        return None;
    };
    for problem in [check_url(url), check_path(path)].into_iter().filter_map(Result::err) {
        remarks.error(value.at, format!("install {problem}"));
    }
    let checksum = match fields.get("checksum") {
        None => None,
        Some(_) => Some(fields.parse("checksum", remarks)?),
    };
    Some(Install { url: url.to_owned(), path: path.to_owned(), checksum })
}

fn command(value: &Value, remarks: &mut Remarks) -> Option<String> {
    let command = text(value, "the command", remarks)?;
    if command.trim().is_empty() || command.contains('\0') {
        remarks.error(value.at, "the command is empty or has a NUL in it");
        return None;
    }
    Some(command.to_owned())
}

fn execute(value: &Value, remarks: &mut Remarks) -> Option<Execute> {
    if value.entries().is_none() {
        return Some(Execute { shell: Shell::Sh, command: command(value, remarks)?, timeout: None });
    }
    let fields = Fields::read(value, "run", &["command", "shell", "timeout"], Severity::Error, remarks)?;
    let shell = match fields.get("shell") {
        None => Shell::Sh,
        Some(value) => word(value, "shell", &[("sh", Shell::Sh), ("bash", Shell::Bash)], remarks)?,
    };
    let Some(text) = fields.get("command") else {
        remarks.error(value.at, "run has no command");
        return None;
    };
    Some(Execute { shell, command: command(text, remarks)?, timeout: timeout(&fields, remarks) })
}

/// Whole seconds, as a number or with a unit.
fn timeout(fields: &Fields<'_>, remarks: &mut Remarks) -> Option<NonZeroU32> {
    const SECOND: u64 = 1_000_000_000;
    let value = fields.get("timeout")?;
    let given = value.as_text().unwrap_or_default();
    let seconds = given.parse::<u32>().ok().or_else(|| {
        let span = given.parse::<Span>().ok().filter(|span| span.as_nanos() % SECOND == 0)?;
        u32::try_from(span.as_nanos() / SECOND).ok()
    });
    let timeout = seconds.and_then(NonZeroU32::new);
    if timeout.is_none() {
        remarks
            .error(value.at, format!("timeout is {:?}", short(given)))
            .suggest("whole seconds, one at least: 90, or 5m");
    }
    timeout
}

fn program(name: ClientId, at: Position, value: Option<&Value>, remarks: &mut Remarks) -> Option<Program> {
    const KEYS: [&str; 5] = ["name", "command", "directory", "timeout", "expected-exit"];
    let plain = |command| {
        let client_id = name.clone();
        Program { client_id, command, directory: None, timeout: None, expected_exit: None }
    };
    let Some(value) = value else {
        remarks.error(at, format!("program {:?} has no command", short(name.as_str())));
        return None;
    };
    if value.entries().is_none() {
        return Some(plain(command(value, remarks)?));
    }
    let fields = Fields::read(value, "a program", &KEYS, Severity::Error, remarks)?;
    let Some(text) = fields.get("command") else {
        remarks.error(at, format!("program {:?} has no command", short(name.as_str())));
        return None;
    };
    let expected_exit = match fields.get("expected-exit") {
        None => None,
        Some(_) => Some(fields.number("expected-exit", "an exit code, like 0", remarks)?),
    };
    Some(Program {
        directory: fields.text("directory", remarks).map(str::to_owned),
        timeout: timeout(&fields, remarks),
        expected_exit,
        ..plain(command(text, remarks)?)
    })
}

fn storage(value: &Value, remarks: &mut Remarks) -> Option<Storage> {
    let (path, size) = match value.entries() {
        None => (value, None),
        Some(_) => {
            let fields = Fields::read(value, "storage", &["path", "size"], Severity::Error, remarks)?;
            let Some(path) = fields.get("path") else {
                remarks.error(value.at, "storage has no path");
                return None;
            };
            let size = match fields.get("size") {
                None => None,
                Some(_) => Some(fields.parse::<Size>("size", remarks)?),
            };
            (path, size)
        }
    };
    let mount_point = text(path, "path", remarks)?;
    if check_path(mount_point).is_err() {
        let message = format!("storage is {:?}, no absolute path without .. in it", short(mount_point));
        remarks.error(path.at, message).suggest("like /data");
    }
    Some(Storage { mount_point: mount_point.to_owned(), size })
}

/// What other systems' languages say of a thing.
pub(super) fn attributes(fields: &Fields<'_>, remarks: &mut Remarks) -> Vec<Attribute> {
    let pairs = pairs(fields.get("attributes"), "attributes", remarks);
    pairs.into_iter().map(|(key, value)| Attribute { key, value }).collect()
}

/// Keys and texts: a map, or a list of maps with one key each where one comes twice.
pub(super) fn pairs(value: Option<&Value>, what: &str, remarks: &mut Remarks) -> Vec<(String, String)> {
    let Some(value) = value else { return Vec::new() };
    let mut result = Vec::new();
    for item in items(value) {
        let Some(entries) = item.entries() else {
            remarks
                .error(item.at, format!("{what} is {}, not a map", item.name()))
                .suggest("like {key: value}");
            continue;
        };
        for entry in entries {
            if let Some(text) = text(&entry.value, &short(&entry.key), remarks) {
                result.push((entry.key.clone(), text.to_owned()));
            }
        }
    }
    result
}

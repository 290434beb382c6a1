//! The language's JSON schema, for editors that complete and check while people type. It says what keys there are and
//! what kind of value each has; what names refer to, only the reader can say.

use testyard_model::setting::SETTING_KEYS;

use super::{ROUTINGS, link, node, schedule};

/// The schema (JSON Schema, draft 2020-12), as the committed file has it.
#[must_use]
pub fn schema() -> String {
    let settings = settings();
    let map = |properties: &str, required: &str| {
        format!(
            r#"{{"type": "object", "additionalProperties": false,{required} "properties": {{{properties}}}}}"#
        )
    };
    let link_keys = properties(&link::keys(), &settings);
    let event_keys = properties(&schedule::keys(), &settings);
    let routings: Vec<String> = ROUTINGS.iter().map(|(word, _)| format!("{word:?}")).collect();
    let setting_keys: Vec<String> = settings.iter().map(|(key, kind)| format!("{key:?}: {kind}")).collect();
    let nodes = properties(&node::KEYS, &[]);
    let text = format!(
        r##"{{
"$schema": "https://json-schema.org/draft/2020-12/schema",
"$id": "http://testyard.dev/schema/topology/1",
"title": "A Testyard topology",
"type": "object",
"additionalProperties": false,
"properties": {{
  "testyard": {{"const": 1, "description": "the version of the language"}},
  "routing": {{"enum": [{routings}], "default": "static"}},
  "environment": {{"$ref": "#/$defs/pairs"}},
  "attributes": {{"$ref": "#/$defs/pairs"}},
  "nodes": {{"description": "by name, or a list of names and of maps with a name", "oneOf": [
    {{"type": "object", "additionalProperties": {{"oneOf": [{{"type": "null"}}, {{"$ref": "#/$defs/node"}}]}}}},
    {{"type": "array", "items": {{"oneOf": [{{"$ref": "#/$defs/text"}}, {{"$ref": "#/$defs/node"}}]}}}}]}},
  "links": {{"type": "array", "items": {{"$ref": "#/$defs/link"}}}},
  "schedule": {{"type": "array", "items": {{"$ref": "#/$defs/event"}}}}
}},
"$defs": {{
  "text": {{"type": ["string", "number"]}},
  "texts": {{"oneOf": [{{"$ref": "#/$defs/text"}}, {{"type": "array", "items": {{"$ref": "#/$defs/text"}}}}]}},
  "pairs": {{"oneOf": [
    {{"type": "object", "additionalProperties": {{"$ref": "#/$defs/text"}}}},
    {{"type": "array", "items": {{"type": "object", "additionalProperties": {{"$ref": "#/$defs/text"}}}}}}]}},
  "queue": {{"oneOf": [{{"$ref": "#/$defs/text"}}, {queue}]}},
  "settings": {settings_map},
  "directions": {{"type": "object", "additionalProperties": {{"$ref": "#/$defs/settings"}}}},
  "node": {node},
  "install": {install},
  "run": {run},
  "program": {program},
  "interface": {interface},
  "member": {member},
  "storage": {storage},
  "route": {route},
  "capture": {capture},
  "link": {link},
  "event": {event}
}}
}}"##,
        routings = routings.join(", "),
        queue = map(
            r##""limit": {"$ref": "#/$defs/text"}, "red": {"oneOf": [{"type": "boolean"}, {"type": "object", "additionalProperties": false, "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "probability": {"$ref": "#/$defs/text"}, "weight": {"$ref": "#/$defs/text"}, "gentle": {"type": "boolean"}}}]}"##,
            r#" "required": ["limit"],"#
        ),
        settings_map = map(&setting_keys.join(", "), ""),
        node = map(&nodes, ""),
        install = map(
            r#""url": {"type": "string"}, "path": {"type": "string"}, "checksum": {"type": "string"}"#,
            r#" "required": ["url", "path"],"#
        ),
        run = map(
            r##""command": {"type": "string"}, "shell": {"enum": ["sh", "bash"]}, "timeout": {"$ref": "#/$defs/text"}"##,
            r#" "required": ["command"],"#
        ),
        program = map(
            r##""name": {"$ref": "#/$defs/text"}, "command": {"type": "string"}, "directory": {"type": "string"}, "timeout": {"$ref": "#/$defs/text"}, "expected-exit": {"type": "integer"}"##,
            r#" "required": ["command"],"#
        ),
        interface = map(
            r##""name": {"$ref": "#/$defs/text"}, "address": {"$ref": "#/$defs/texts"}, "mac": {"type": "string"}, "cost": {"type": "integer"}, "attributes": {"$ref": "#/$defs/pairs"}"##,
            r#" "required": ["name"],"#
        ),
        member = map(
            r##""node": {"$ref": "#/$defs/text"}, "interface": {"$ref": "#/$defs/text"}, "address": {"$ref": "#/$defs/texts"}, "mac": {"type": "string"}, "cost": {"type": "integer"}, "attributes": {"$ref": "#/$defs/pairs"}"##,
            ""
        ),
        storage = map(
            r##""path": {"type": "string"}, "size": {"$ref": "#/$defs/text"}"##,
            r#" "required": ["path"],"#
        ),
        route = map(
            r##""to": {"oneOf": [{"$ref": "#/$defs/text"}, {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false, "properties": {"node": {"$ref": "#/$defs/text"}, "interface": {"$ref": "#/$defs/text"}, "link": {"$ref": "#/$defs/text"}, "network": {"type": "string"}}}]}, "via": {"oneOf": [{"$ref": "#/$defs/text"}, {"type": "object", "additionalProperties": false, "properties": {"node": {"$ref": "#/$defs/text"}, "address": {"type": "string"}}}]}"##,
            r#" "required": ["to", "via"],"#
        ),
        capture = map(r#""bytes": {"type": "integer"}, "filter": {"type": "string"}"#, ""),
        link = map(&link_keys, r#" "oneOf": [{"required": ["between"]}, {"required": ["lan"]}],"#),
        event = map(&event_keys, r#" "required": ["at"],"#),
    );
    match crate::tree::json::parse(&text, &crate::tree::Limits::TOPOLOGY) {
        Ok(value) => crate::tree::write::json(&value),
        // The tests would not let this be committed.
        Err(refused) => refused.to_string(),
    }
}

/// The settings of an impairment, each with its kind of value.
fn settings() -> Vec<(&'static str, String)> {
    SETTING_KEYS
        .into_iter()
        .map(|key| {
            let kind = if key == "queue" { "queue" } else { "text" };
            (key, format!(r##"{{"$ref": "#/$defs/{kind}"}}"##))
        })
        .collect()
}

fn properties(keys: &[&str], settings: &[(&str, String)]) -> String {
    let one = |key: &&str| {
        let setting = settings.iter().find(|(known, _)| known == key).map(|(_, kind)| kind.clone());
        format!("{key:?}: {}", setting.unwrap_or_else(|| kind(key).to_owned()))
    };
    keys.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What the value of a key is that is no setting.
fn kind(key: &str) -> &'static str {
    match key {
        "exclusive" => r#"{"type": "boolean"}"#,
        "down" => r#"{"type": ["boolean", "string"]}"#,
        "ports" => r##"{"$ref": "#/$defs/texts"}"##,
        "install" => {
            r##"{"oneOf": [{"$ref": "#/$defs/install"}, {"type": "array", "items": {"$ref": "#/$defs/install"}}]}"##
        }
        "run" => {
            r##"{"oneOf": [{"type": "string"}, {"$ref": "#/$defs/run"}, {"type": "array", "items": {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/run"}]}}]}"##
        }
        "programs" => {
            r##"{"oneOf": [{"type": "object", "additionalProperties": {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/program"}]}}, {"type": "array", "items": {"$ref": "#/$defs/program"}}]}"##
        }
        "interfaces" => {
            r##"{"type": "array", "items": {"oneOf": [{"$ref": "#/$defs/text"}, {"$ref": "#/$defs/interface"}]}}"##
        }
        "routes" => r##"{"type": "array", "items": {"$ref": "#/$defs/route"}}"##,
        "storage" => {
            r##"{"oneOf": [{"type": "string"}, {"$ref": "#/$defs/storage"}, {"type": "array", "items": {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/storage"}]}}]}"##
        }
        "on-failure" => r#"{"enum": ["fatal", "nonfatal", "ignore"]}"#,
        "attributes" => r##"{"$ref": "#/$defs/pairs"}"##,
        "between" => {
            r##"{"type": "array", "minItems": 2, "maxItems": 2, "items": {"oneOf": [{"$ref": "#/$defs/text"}, {"$ref": "#/$defs/member"}]}}"##
        }
        "lan" => {
            r##"{"type": "array", "items": {"oneOf": [{"$ref": "#/$defs/text"}, {"$ref": "#/$defs/member"}]}}"##
        }
        "prefix" => r#"{"type": "integer", "minimum": 8, "maximum": 30}"#,
        "mtu" | "seed" => r#"{"type": "integer", "minimum": 0}"#,
        "capture" => r##"{"oneOf": [{"type": "boolean"}, {"type": "string"}, {"$ref": "#/$defs/capture"}]}"##,
        // Of a link members' settings; of an event the member that they are for.
        "from" | "to" => r##"{"oneOf": [{"$ref": "#/$defs/text"}, {"$ref": "#/$defs/directions"}]}"##,
        "settings" => r##"{"type": "array", "items": {"$ref": "#/$defs/settings"}}"##,
        _ => r##"{"$ref": "#/$defs/text"}"##,
    }
}

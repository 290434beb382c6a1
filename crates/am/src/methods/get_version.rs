//! GetVersion: what this server speaks. Everybody may ask.

use testyard_formats::rspec::{EXTENSIONS, RSPEC, SCHEMA_AD, SCHEMA_REQUEST};

use crate::answer::{Failure, Outcome, succeeded};
use crate::settings::AmSettings;
use crate::xmlrpc::Value;

/// The version of the AM API.
const API: i32 = 3;

/// Names that a testbed's extras cannot take.
const RESERVED: &str = "geni_";

pub(crate) fn get_version(settings: &AmSettings, arguments: &[Value]) -> Outcome {
    match arguments {
        [] | [Value::Struct(_) | Value::Nil] => {}
        [other] => {
            let output = format!("GetVersion: options must be a struct, not {}", other.kind());
            return Err(Failure::bad_arguments(output));
        }
        _ => return Err(Failure::bad_arguments("GetVersion takes (options)")),
    }
    let mut answer = succeeded(value(settings));
    if let Value::Struct(members) = &mut answer {
        // Left over from version 1 of the API; omni reads it.
        members.insert("geni_api".to_owned(), Value::from(API));
    }
    Ok(answer)
}

/// What the testbed says of itself.
pub(crate) fn value(settings: &AmSettings) -> Value {
    let mut value = Value::members([
        ("geni_api", Value::from(API)),
        ("geni_api_versions", Value::members([(API.to_string(), Value::text(&settings.public_url))])),
        ("geni_request_rspec_versions", rspec_versions(SCHEMA_REQUEST)),
        ("geni_ad_rspec_versions", rspec_versions(SCHEMA_AD)),
        (
            "geni_credential_types",
            Value::Array(vec![
                credential_type("geni_sfa", "3"),
                credential_type("geni_sfa", "2"),
                credential_type("geni_abac", "1"),
            ]),
        ),
        // Not a boolean: the acceptance tests want a number (am-api.md §1.5).
        ("geni_single_allocation", Value::from(0)),
        ("geni_allocate", Value::from("geni_many")),
        ("geni_am_type", Value::texts(["testyard"])),
        ("geni_am_code", Value::text(&settings.version)),
        ("geni_urn", Value::text(settings.urn.to_string())),
        ("urn", Value::text(settings.urn.to_string())),
        ("hrn", Value::text(&settings.hrn)),
    ]);
    if let Value::Struct(members) = &mut value {
        for (name, text) in settings.extras.iter().filter(|(name, _)| !name.starts_with(RESERVED)) {
            members.entry(name.clone()).or_insert_with(|| Value::text(text));
        }
    }
    value
}

fn rspec_versions(schema: &str) -> Value {
    Value::Array(vec![Value::members([
        ("type", Value::from("GENI")),
        ("version", Value::from("3")),
        ("schema", Value::from(schema)),
        ("namespace", Value::from(RSPEC)),
        ("extensions", Value::texts(EXTENSIONS.iter().copied())),
    ])])
}

fn credential_type(kind: &str, version: &str) -> Value {
    Value::members([("geni_type", Value::from(kind)), ("geni_version", Value::from(version))])
}

//! The methods, a file each. All of them: arguments, authorisation, options, one call of the controller, answer.

mod allocate;
mod delete;
mod describe;
mod get_version;
mod list_resources;
mod perform;
mod provision;
mod renew;
mod shutdown;
mod status;

pub(crate) use get_version::{get_version, value as version};

use testyard_trust::Operation;

use crate::answer::Outcome;
use crate::arguments::Arguments;
use crate::door::Door;
use crate::options::Options;
use crate::render::compress;
use crate::xmlrpc::Value;

const URNS: &[&str] = &["urns", "credentials", "options"];
const SLICE: &[&str] = &["slice_urn", "credentials", "options"];

/// The arguments of a method, in wire order (am-api.md §1.3).
const fn names(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::ListResources => &["credentials", "options"],
        Operation::Describe | Operation::Provision | Operation::Status | Operation::Delete => URNS,
        Operation::Allocate => &["slice_urn", "credentials", "rspec", "options"],
        Operation::PerformOperationalAction => &["urns", "credentials", "action", "options"],
        Operation::Renew => &["urns", "credentials", "expiration_time", "options"],
        Operation::Shutdown => SLICE,
    }
}

/// Carries out a call.
pub(crate) async fn run(door: &Door<'_>, values: Vec<Value>) -> Outcome {
    // Who shows no certificate learns nothing else, not even what is wrong with the call.
    door.certificates()?;
    let arguments = &Arguments::new(door.operation.as_str(), names(door.operation), values)?;
    match door.operation {
        Operation::ListResources => list_resources::list_resources(door, arguments).await,
        Operation::Describe => describe::describe(door, arguments).await,
        Operation::Allocate => allocate::allocate(door, arguments).await,
        Operation::Provision => provision::provision(door, arguments).await,
        Operation::Status => status::status(door, arguments).await,
        Operation::PerformOperationalAction => perform::perform(door, arguments).await,
        Operation::Renew => renew::renew(door, arguments).await,
        Operation::Delete => delete::delete(door, arguments).await,
        Operation::Shutdown => shutdown::shutdown(door, arguments).await,
    }
}

/// The `value` of a failure. jFed reads that of three methods as an array whatever the code, and decompresses that of
/// ListResources if it asked for compression (am-api.md §7, §1.2).
pub(crate) fn value_of_failure(operation: Operation, values: &[Value]) -> Value {
    match operation {
        Operation::PerformOperationalAction | Operation::Renew | Operation::Delete => {
            Value::Array(Vec::new())
        }
        Operation::ListResources => {
            let options = values.last().and_then(Value::as_struct);
            let asked = options
                .is_some_and(|options| Options::new(options).flag("geni_compressed").is_ok_and(|yes| yes));
            if asked { Value::String(compress("")) } else { Value::empty() }
        }
        _ => Value::empty(),
    }
}

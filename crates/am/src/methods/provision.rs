//! Provision: gives what is reserved; the nodes boot while the answer is on its way.

use testyard_controller::api::Provision;

use crate::answer::Outcome;
use crate::arguments::Arguments;
use crate::auth;
use crate::door::Door;
use crate::render::{Detail, manifest, slivers};
use crate::xmlrpc::Value;

pub(super) async fn provision(door: &Door<'_>, arguments: &Arguments) -> Outcome {
    let allowed = auth::may(door, arguments, arguments.target("urns")?).await?;
    let options = arguments.options()?;
    options.rspec_version()?;
    let call = Provision {
        selection: allowed.selection,
        users: options.users()?.unwrap_or_default(),
        end: options.end_time()?,
        effort: options.effort()?,
    };
    let view = door.testbed.provision(&allowed.caller, call).await?;
    let statuses = slivers(&view, Detail::Plain, door.now);
    let text = manifest(view, &allowed.caller, &door.settings, door.now).await;
    Ok(Value::members([("geni_rspec", Value::String(text)), ("geni_slivers", statuses)]))
}

//! Status: how slivers are.

use crate::answer::{Failure, Outcome};
use crate::arguments::Arguments;
use crate::auth;
use crate::code::GeniCode;
use crate::door::Door;
use crate::render::{Detail, slivers};
use crate::xmlrpc::Value;

pub(super) async fn status(door: &Door<'_>, arguments: &Arguments) -> Outcome {
    let allowed = auth::may(door, arguments, arguments.target("urns")?).await?;
    let options = arguments.options()?;
    let (effort, detail) = (options.effort()?, Detail::of(&options)?);
    let slice = allowed.slice().to_string();
    let view = door.testbed.status(&allowed.caller, allowed.selection, effort).await?;
    if view.slivers.is_empty() && view.missing.is_empty() {
        // A success would tell some clients that the slice exists here (am-api.md §9).
        return Err(Failure::new(GeniCode::SearchFailed, format!("slice {slice} has no slivers here")));
    }
    Ok(Value::members([
        ("geni_urn", Value::String(view.urn.to_string())),
        ("geni_slivers", slivers(&view, detail, door.now)),
    ]))
}

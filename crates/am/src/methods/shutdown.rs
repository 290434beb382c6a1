//! Shutdown: the operators' emergency stop of a slice.

use crate::answer::{Failure, Outcome};
use crate::arguments::{Arguments, Target};
use crate::auth;
use crate::door::Door;
use crate::xmlrpc::Value;

pub(super) async fn shutdown(door: &Door<'_>, arguments: &Arguments) -> Outcome {
    let slice = arguments.slice("slice_urn")?;
    let allowed = auth::may(door, arguments, Target::Slice(slice.clone())).await?;
    door.testbed.shutdown_slice(&allowed.caller, slice).await.map(Value::Bool).map_err(Failure::from)
}

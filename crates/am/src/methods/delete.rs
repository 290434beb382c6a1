//! Delete: takes slivers back.

use crate::answer::Outcome;
use crate::arguments::Arguments;
use crate::auth;
use crate::door::Door;
use crate::render::{Detail, slivers};

pub(super) async fn delete(door: &Door<'_>, arguments: &Arguments) -> Outcome {
    let allowed = auth::may(door, arguments, arguments.target("urns")?).await?;
    let effort = arguments.options()?.effort()?;
    let view = door.testbed.delete(&allowed.caller, allowed.selection, effort).await?;
    Ok(slivers(&view, Detail::Plain, door.now))
}

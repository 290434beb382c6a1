//! Renew: moves the end of slivers, later or earlier.

use testyard_controller::api::Renew;

use crate::answer::Outcome;
use crate::arguments::Arguments;
use crate::auth;
use crate::door::Door;
use crate::options::read_time;
use crate::render::{Detail, slivers};

pub(super) async fn renew(door: &Door<'_>, arguments: &Arguments) -> Outcome {
    let allowed = auth::may(door, arguments, arguments.target("urns")?).await?;
    let end = read_time("expiration_time", arguments.text("expiration_time")?)?;
    let options = arguments.options()?;
    let call = Renew {
        selection: allowed.selection,
        end,
        as_late_as_possible: options.flag("geni_extend_alap")?,
        effort: options.effort()?,
    };
    let view = door.testbed.renew(&allowed.caller, call).await?;
    Ok(slivers(&view, Detail::Plain, door.now))
}

//! PerformOperationalAction: start, stop, restart, reload, update users.

use testyard_controller::api::Perform;
use testyard_model::state::Action;

use crate::answer::{Failure, Outcome};
use crate::arguments::Arguments;
use crate::auth;
use crate::code::GeniCode;
use crate::door::Door;
use crate::render::{Detail, slivers};

pub(super) async fn perform(door: &Door<'_>, arguments: &Arguments) -> Outcome {
    let allowed = auth::may(door, arguments, arguments.target("urns")?).await?;
    let action = action(arguments.text("action")?)?;
    let options = arguments.options()?;
    let users = options.users()?;
    if action == Action::UpdateUsers && users.is_none() {
        return Err(Failure::bad_arguments("geni_update_users needs the option geni_users"));
    }
    let call = Perform {
        selection: allowed.selection,
        action,
        users: users.unwrap_or_default(),
        effort: options.effort()?,
    };
    let view = door.testbed.perform(&allowed.caller, call).await?;
    Ok(slivers(&view, Detail::Plain, door.now))
}

fn action(text: &str) -> Outcome<Action> {
    match text {
        // Emulab's own test script says it like this (am-api.md §1.6).
        "geni_update_users_cancel" => Ok(Action::CancelUpdateUsers),
        text => text.parse().map_err(|error| {
            Failure::new(GeniCode::Unsupported, format!("there is no such action: {error}"))
        }),
    }
}

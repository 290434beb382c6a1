//! ListResources: the advertisement.

use crate::answer::Outcome;
use crate::arguments::Arguments;
use crate::auth;
use crate::door::Door;
use crate::render::{advertisement, compress};
use crate::xmlrpc::Value;

pub(super) async fn list_resources(door: &Door<'_>, arguments: &Arguments) -> Outcome {
    auth::may_list(door, arguments).await?;
    let options = arguments.options()?;
    options.rspec_version()?;
    let (available, compressed) = (options.flag("geni_available")?, options.flag("geni_compressed")?);
    let offer = door.testbed.offer().await?;
    let text = advertisement(&offer, available, &door.settings, door.now);
    Ok(Value::String(if compressed { compress(&text) } else { text }))
}

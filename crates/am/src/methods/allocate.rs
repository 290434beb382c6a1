//! Allocate: reserves what a request asks for, for a short time.

use testyard_controller::api::Allocate;
use testyard_formats::rspec::{Request, parse_request};
use testyard_model::diagnostic::Severity;

use crate::answer::{Failure, Outcome};
use crate::arguments::{Arguments, Target};
use crate::auth;
use crate::door::Door;
use crate::offload::offload;
use crate::render::{Detail, manifest, slivers};
use crate::xmlrpc::Value;

pub(super) async fn allocate(door: &Door<'_>, arguments: &Arguments) -> Outcome {
    let slice = arguments.slice("slice_urn")?;
    let allowed = auth::may(door, arguments, Target::Slice(slice.clone())).await?;
    let options = arguments.options()?;
    let end = options.end_time()?;
    options.starts_now(door.now)?;
    let request = read(door, arguments.text("rspec")?.to_owned()).await?;
    let mut diagnostics = request.diagnostics;
    let document = request.document.as_str().to_owned();
    let call = Allocate { slice, topology: request.topology, document, end };
    let view = door.testbed.allocate(&allowed.caller, call).await?;
    diagnostics.extend(view.diagnostics.iter().cloned());
    let warnings = diagnostics.iter().filter(|d| d.severity != Severity::Error).map(ToString::to_string);
    let warnings = Value::texts(warnings);
    let statuses = slivers(&view, Detail::Plain, door.now);
    let text = manifest(view, &allowed.caller, &door.settings, door.now).await;
    Ok(Value::members([
        ("geni_rspec", Value::String(text)),
        ("geni_slivers", statuses),
        ("testyard_warnings", warnings),
    ]))
}

async fn read(door: &Door<'_>, text: String) -> Outcome<Request> {
    let settings = std::sync::Arc::clone(&door.settings);
    let request = offload(text.len(), move || parse_request(&text, &settings.requests)).await;
    request.map_err(Failure::from)
}

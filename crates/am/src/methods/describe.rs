//! Describe: the manifest of slivers, and how they are.

use testyard_controller::api::{Refusal, Selection, SliceView};
use testyard_model::urn::SliceUrn;

use crate::answer::Outcome;
use crate::arguments::Arguments;
use crate::auth;
use crate::door::Door;
use crate::render::{Detail, compress, manifest, slivers};
use crate::xmlrpc::Value;

pub(super) async fn describe(door: &Door<'_>, arguments: &Arguments) -> Outcome {
    let allowed = auth::may(door, arguments, arguments.target("urns")?).await?;
    let options = arguments.options()?;
    options.rspec_version()?;
    let compressed = options.flag("geni_compressed")?;
    let detail = Detail::of(&options)?;
    let view = match door.testbed.describe(&allowed.caller, allowed.selection.clone()).await {
        // A slice without slivers is described by an empty manifest (am-api.md §9).
        Err(Refusal::NotFound(_)) if matches!(allowed.selection, Selection::Slice(_)) => {
            nothing(allowed.slice().clone())
        }
        view => view?,
    };
    let (urn, statuses) = (view.urn.to_string(), slivers(&view, detail, door.now));
    let text = manifest(view, &allowed.caller, &door.settings, door.now).await;
    Ok(Value::members([
        ("geni_rspec", Value::String(if compressed { compress(&text) } else { text })),
        ("geni_urn", Value::String(urn)),
        ("geni_slivers", statuses),
    ]))
}

fn nothing(urn: SliceUrn) -> SliceView {
    SliceView {
        urn,
        documents: vec![],
        slivers: vec![],
        links: vec![],
        schedule: None,
        converged: true,
        problem: None,
        missing: vec![],
        diagnostics: vec![],
    }
}

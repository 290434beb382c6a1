//! Replay: a schedule begins anew.

use std::sync::Arc;

use testyard_model::urn::SliceUrn;

use crate::api::{Caller, Refusal, SliceView};
use crate::commit::{Context, Proposal, Step};
use crate::core::Core;
use crate::run;
use crate::select::nothing;
use crate::view::Told;

impl Core {
    pub(crate) async fn replay(
        self: &Arc<Self>,
        caller: &Caller,
        slice: &SliceUrn,
    ) -> Result<SliceView, Refusal> {
        let verb = |context: Context<'_>| again(context, slice);
        self.change_and_show(slice, caller, verb).await
    }
}

/// The schedule begins anew, now.
fn again(context: Context<'_>, urn: &SliceUrn) -> Result<Proposal<Told>, Refusal> {
    let Context { state, slice, now, .. } = context;
    let old = slice.ok_or_else(|| nothing(urn))?;
    let scheduled = old.networks.iter().filter(|(_, network)| !network.run().0.is_empty());
    let documents: Vec<i64> = scheduled.map(|(document, _)| *document).collect();
    if documents.is_empty() {
        return Err(Refusal::Unsupported(format!("slice {urn} has no schedule")));
    }
    if !documents.iter().all(|document| run::is_ready(state, &old, *document, now)) {
        return Err(Refusal::Unsupported(format!(
            "not all nodes of slice {urn} are ready: a schedule begins when they are"
        )));
    }
    let mut new = old.next();
    run::begin(&mut new, &documents, now);
    let told = Told { slivers: old.living(now).map(|sliver| sliver.id).collect(), ..Told::default() };
    Ok(Proposal { step: Some(Step::new(&old, new, "replay", String::new())), told })
}

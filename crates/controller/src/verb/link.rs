//! Changes of a link while it runs: down, up, other impairments, for good or for a while.

use std::sync::Arc;

use testyard_model::setting::SETTING_KEYS;
use testyard_model::time::format;
use testyard_plan::network::live::LiveError;

use crate::api::{Caller, ChangeLink, LinkAction, Refusal, SliceView};
use crate::commit::{Context, Proposal, Step};
use crate::core::Core;
use crate::event::Happening;
use crate::network::{ChangeError, Live};
use crate::select::nothing;
use crate::view::Told;

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        let text = error.to_string();
        match error {
            ChangeError::Live(LiveError::Link { .. } | LiveError::Member { .. }) => Self::NotFound(text),
            ChangeError::Live(LiveError::Impossible { .. } | LiveError::Netem { .. }) => {
                Self::BadRequest(text)
            }
            ChangeError::TooMany => Self::Busy(text),
        }
    }
}

impl Core {
    pub(crate) async fn change_link(
        self: &Arc<Self>,
        caller: &Caller,
        request: ChangeLink,
    ) -> Result<SliceView, Refusal> {
        let verb = |context: Context<'_>| propose(context, &request);
        self.change_and_show(&request.slice, caller, verb).await
    }
}

fn propose(context: Context<'_>, request: &ChangeLink) -> Result<Proposal<Told>, Refusal> {
    let Context { slice, now, .. } = context;
    let old = slice.ok_or_else(|| nothing(&request.slice))?;
    if let Some(until) = request.until.filter(|until| *until <= now) {
        return Err(Refusal::OutOfRange(format!(
            "{} is past: a change is for a while to come",
            format(until)
        )));
    }
    if old.networks.is_empty() {
        return Err(Refusal::NotFound(format!("slice {} has no links", request.slice)));
    }
    let change = Live {
        link: request.link.clone(),
        from: request.from.clone(),
        what: request.what.clone(),
        made: Some(now),
        until: request.until,
    };
    if let LinkAction::Set(settings) = &request.what
        && settings.len() > SETTING_KEYS.len()
    {
        return Err(Refusal::BadRequest("there are more settings than keys: one of each will do".to_owned()));
    }
    let mut new = old.next();
    let has = |network: &crate::network::Network| network.now().link(&request.link).is_ok();
    // Several requests of a slice may have a link of this name; the first is as good as any.
    let networks = || old.networks.iter();
    let Some((number, network)) = networks().find(|(_, network)| has(network)).or_else(|| networks().next())
    else {
        return Err(nothing(&request.slice));
    };
    let changed = network.with(change)?;
    let told = Told { slivers: old.living(now).map(|sliver| sliver.id).collect(), ..Told::default() };
    if changed == **network {
        return Ok(Proposal { step: None, told });
    }
    new.networks.insert(*number, Arc::new(changed));
    let detail = format!("{}: {}", request.link, in_words(&request.what));
    let ChangeLink { link, from, what, until, .. } = request.clone();
    let news = vec![Happening::Link { link, from, what, until }];
    Ok(Proposal { step: Some(Step::new(&old, new, "link", detail).telling(news)), told })
}

fn in_words(what: &LinkAction) -> String {
    match what {
        LinkAction::Up => "up".to_owned(),
        LinkAction::Down => "down".to_owned(),
        LinkAction::Reset => "reset".to_owned(),
        LinkAction::Set(settings) => {
            settings.iter().map(|setting| format!("{setting}")).collect::<Vec<_>>().join(" ")
        }
    }
}

//! Who calls, and may they? Asked before anything is said about what exists.

use jiff::Timestamp;
use testyard_controller::api::{Caller, Refusal, Selection};
use testyard_model::urn::{SliceUrn, UserUrn};
use testyard_trust::{Call, CallerChain, Grant, PassedCredential, Verifier};
use testyard_xml::{Limits, Node, text_of};

use std::sync::Arc;

use crate::answer::{Failure, Outcome};
use crate::arguments::{Arguments, Target};
use crate::door::Door;
use crate::offload::offload;

/// A call that may be made: by whom, and about what.
#[derive(Debug)]
pub(crate) struct Allowed {
    pub(crate) caller: Caller,
    pub(crate) selection: Selection,
}

impl Allowed {
    /// The slice that it is about.
    pub(crate) fn slice(&self) -> &SliceUrn {
        match &self.selection {
            Selection::Slice(slice) | Selection::Slivers { slice, .. } => slice,
        }
    }
}

/// The question to the verifier, owned, so that it can be asked on another thread.
#[derive(Clone)]
struct Question {
    verifier: Arc<Verifier>,
    operation: testyard_trust::Operation,
    caller: CallerChain,
    credentials: Arc<Vec<PassedCredential>>,
    speaking_for: Option<String>,
    now: Timestamp,
}

impl Question {
    fn of(door: &Door<'_>, arguments: &Arguments) -> Outcome<Self> {
        let caller = door.certificates()?.clone();
        let credentials = arguments.credentials()?;
        let speaking_for = arguments.options()?.speaking_for()?.map(str::to_owned);
        Ok(Self {
            verifier: Arc::clone(&door.verifier),
            operation: door.operation,
            caller,
            credentials: Arc::new(credentials),
            speaking_for,
            now: door.now,
        })
    }

    fn bytes(&self) -> usize {
        self.credentials.iter().map(|credential| credential.value.len()).sum()
    }

    fn ask(&self, slice: Option<&SliceUrn>) -> Outcome<Grant> {
        let call = Call {
            operation: self.operation,
            slice,
            caller: &self.caller,
            credentials: &self.credentials,
            speaking_for: self.speaking_for.as_deref(),
            now: self.now,
        };
        self.verifier.authorise(&call).map_err(Failure::from)
    }
}

/// May the caller see what there is? Any credential of theirs will do, but there must be one.
pub(crate) async fn may_list(door: &Door<'_>, arguments: &Arguments) -> Outcome<Caller> {
    let question = Question::of(door, arguments)?;
    if question.credentials.is_empty() {
        return Err(Failure::bad_arguments(
            "the list of credentials is empty: pass your user or slice credential",
        ));
    }
    let grant = offload(question.bytes(), move || question.ask(None)).await?;
    caller(door, grant)
}

/// May the caller do this with the target?
pub(crate) async fn may(door: &Door<'_>, arguments: &Arguments, target: Target) -> Outcome<Allowed> {
    let question = Question::of(door, arguments)?;
    match target {
        Target::Slice(slice) => {
            let (grant, slice) = offload(question.bytes(), move || (question.ask(Some(&slice)), slice)).await;
            // Only what the caller may touch: anybody can write names into a log otherwise.
            let caller = caller(door, grant?)?;
            tracing::Span::current().record("slice", slice.to_string());
            Ok(Allowed { caller, selection: Selection::Slice(slice) })
        }
        Target::Slivers(slivers) => {
            let granted = offload(question.bytes(), move || slices_granted(&question)).await?;
            let mut choices = granted.into_iter().map(|(slice, grant)| {
                let selection = Selection::Slivers { slice, slivers: slivers.clone() };
                caller(door, grant).map(|caller| Allowed { caller, selection })
            });
            let first = choices.next().expect("without a grant there is a failure instead")?;
            let others = choices.collect::<Outcome<Vec<_>>>()?;
            let allowed = owner_of_slivers(door, first, others).await?;
            tracing::Span::current().record("slice", allowed.slice().to_string());
            Ok(allowed)
        }
    }
}

/// Of several slices whose credentials were passed, the one that the slivers are of; the first if none.
async fn owner_of_slivers(door: &Door<'_>, first: Allowed, others: Vec<Allowed>) -> Outcome<Allowed> {
    let knows = async |choice: &Allowed| {
        let view = door.testbed.describe(&choice.caller, choice.selection.clone()).await;
        !matches!(view, Err(Refusal::NotFound(_)))
    };
    if others.is_empty() || knows(&first).await {
        return Ok(first);
    }
    for choice in others {
        if knows(&choice).await {
            return Ok(choice);
        }
    }
    Ok(first)
}

/// Sliver URNs do not say which slice they are of, credentials do: every slice that a credential of the caller is for,
/// at least one.
fn slices_granted(question: &Question) -> Outcome<Vec<(SliceUrn, Grant)>> {
    let mut slices: Vec<SliceUrn> = Vec::new();
    for slice in question.credentials.iter().filter_map(|credential| claimed_slice(&credential.value)) {
        if !slices.contains(&slice) {
            slices.push(slice);
        }
    }
    let mut granted = Vec::new();
    let mut refused = None;
    for slice in slices {
        match question.ask(Some(&slice)) {
            Ok(grant) => granted.push((slice, grant)),
            Err(failure) => refused = refused.or(Some(failure)),
        }
    }
    if !granted.is_empty() {
        return Ok(granted);
    }
    Err(refused.unwrap_or_else(|| match question.verifier.identify(&question.caller, question.now) {
        Err(refusal) => refusal.into(),
        Ok(_) if question.credentials.is_empty() => Failure::forbidden("there is no credential"),
        Ok(_) => {
            Failure::forbidden("none of the credentials is for a slice: pass the one of the slivers' slice")
        }
    }))
}

/// The slice that a credential says it is for. Nothing rests on it: it only says which question to ask.
fn claimed_slice(credential: &[u8]) -> Option<SliceUrn> {
    let text = std::str::from_utf8(credential).ok()?.trim_start_matches('\u{feff}').trim_start();
    let document = testyard_xml::parse(text, &Limits::CREDENTIAL).ok()?;
    let named = |node: Node<'_, '_>, name: &str| node.tag_name().name() == name;
    let credential = document.root_element().children().find(|node| named(*node, "credential"))?;
    let target = credential.children().find(|node| named(*node, "target_urn"))?;
    text_of(target).trim().parse().ok()
}

fn caller(door: &Door<'_>, grant: Grant) -> Outcome<Caller> {
    let user = UserUrn::try_from(grant.owner).map_err(|error| {
        Failure::forbidden(format!(
            "only users can call this, with a certificate and credentials of their own: {error}"
        ))
    })?;
    let request = Some(door.request);
    Ok(Caller { user, tool: grant.tool, until: grant.expires, only_own: false, operator: false, request })
}

//! A tool that calls in a user's name (am-api.md §3.8).
//!
//! The tool has its own TLS certificate, says whom it speaks for, and shows the user's signed statement that names the
//! tool's key. If one statement holds, the call is judged as the user's; if none does, it is refused, never judged as
//! the tool's own.

use testyard_model::urn::Urn;

use crate::call::{Label, PassedCredential};
use crate::certificate::Certificate;
use crate::credential::Body;
use crate::document::{self, Link};
use crate::refusal::{Reason, Refusal, Step};
use crate::verifier::{Role, Session};

/// Checks that one of the statements lets the tool speak for the user, and gives the user's URN.
pub(crate) fn check(
    session: &Session<'_>,
    user: &str,
    tool: &Certificate,
    credentials: &[PassedCredential],
) -> Result<Urn, Refusal> {
    let Ok(user) = user.parse::<Urn>() else {
        return refuse("geni_speaking_for is not a URN");
    };
    let mut last = None;
    for (index, passed) in credentials.iter().enumerate() {
        match passed.label() {
            Label::Unknown => continue,
            // Some clients pass statements under the label of slice credentials.
            Label::Sfa if !is_statement(&passed.value) => continue,
            Label::Sfa | Label::Abac => {}
        }
        match check_one(session, &user, tool, passed) {
            Ok(()) => return Ok(user),
            Err(refusal) => last = Some(refusal.about(index)),
        }
    }
    Err(last
        .unwrap_or_else(|| speaks_for("geni_speaking_for is set, and there is no statement that allows it")))
}

fn speaks_for(message: impl Into<String>) -> Refusal {
    Refusal::new(Step::SpeaksFor, Reason::SpeaksFor, message)
}

fn refuse<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(speaks_for(message))
}

fn is_statement(value: &[u8]) -> bool {
    let read = || {
        let document = document::parse(document::text(value)?)?;
        let links = document::links(&document)?;
        Ok::<_, Refusal>(links.first().is_some_and(|link| matches!(link.credential.body, Body::Abac(_))))
    };
    read().unwrap_or(false)
}

fn check_one(
    session: &Session<'_>,
    user: &Urn,
    tool: &Certificate,
    passed: &PassedCredential,
) -> Result<(), Refusal> {
    // Whatever is wrong with a statement, the answer is that it does not let the tool speak.
    let wrapped = |refusal: Refusal| speaks_for(refusal.message);
    let document = document::text(&passed.value).and_then(document::parse).map_err(wrapped)?;
    let links = document::links(&document).map_err(wrapped)?;
    let [link] = links.as_slice() else {
        return refuse("a speaks-for statement cannot be delegated");
    };
    let signer = session.verified_signer(link).map_err(wrapped)?;
    let pool = pool(session, link);
    session.chain(&signer, &pool, Role::Signer).map_err(wrapped)?;
    let Body::Abac(statement) = &link.credential.body else {
        return refuse("it is not a speaks-for statement");
    };
    if signer.urn().ok() != Some(user) {
        return refuse(format!("the statement was not signed by {user}"));
    }
    let key = signer.key_id();
    if statement.head != key || statement.role != format!("speaks_for_{key}") {
        return refuse("head and role of the statement do not name its signer's key");
    }
    if statement.tail != tool.key_id() {
        return refuse("the statement is about another tool than the caller");
    }
    if session.is_over(link.credential.expires) {
        return refuse("the statement has expired");
    }
    Ok(())
}

fn pool(session: &Session<'_>, link: &Link<'_, '_>) -> Vec<Certificate> {
    link.signature.certificates.iter().filter_map(|der| session.certificate(der).ok()).collect()
}

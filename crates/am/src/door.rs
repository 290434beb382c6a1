//! What a method has at hand during one call.

use std::sync::Arc;

use jiff::Timestamp;
use testyard_model::id::RequestId;
use testyard_trust::{CallerChain, Operation, Verifier};

use crate::answer::{Failure, Outcome};
use crate::settings::AmSettings;
use crate::testbed::Testbed;
use crate::tls::Peer;

/// One call's surroundings: snapshots, so that a reload in the middle changes nothing.
pub(crate) struct Door<'a> {
    pub(crate) testbed: &'a dyn Testbed,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) settings: Arc<AmSettings>,
    pub(crate) peer: &'a Peer,
    pub(crate) operation: Operation,
    /// The call's number.
    pub(crate) request: RequestId,
    pub(crate) now: Timestamp,
}

impl Door<'_> {
    /// The client's certificates; without any, nothing but the version is told.
    pub(crate) fn certificates(&self) -> Outcome<&CallerChain> {
        match &self.peer.chain {
            Err(text) => Err(Failure::forbidden(text.as_str())),
            Ok(chain) if chain.is_empty() => Err(Failure::forbidden(
                "no client certificate came with the connection: only GetVersion is answered without one",
            )),
            Ok(chain) => Ok(chain),
        }
    }
}

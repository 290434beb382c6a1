//! From a call to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use testyard_model::id::RequestId;
use testyard_telemetry::{self as telemetry, Calls, Outcome as Ended};
use testyard_trust::{Operation, Trust};

use crate::answer::{Outcome, failed, succeeded};
use crate::code::GeniCode;
use crate::door::Door;
use crate::methods;
use crate::settings::AmSettings;
use crate::testbed::Testbed;
use crate::tls::Peer;
use crate::xmlrpc::{Call, Fault, Value};

/// The AM API of one testbed. Cloning is cheap.
#[derive(Clone)]
pub struct AmService {
    testbed: Arc<dyn Testbed>,
    trust: Arc<Trust>,
    settings: Arc<ArcSwap<AmSettings>>,
    calls: Calls,
}

impl AmService {
    /// The AM API of this testbed, for callers that `trust` knows. Both `trust` and `settings` may be replaced
    /// while calls run; each call goes by what it found when it came.
    #[must_use]
    pub fn new(testbed: Arc<dyn Testbed>, trust: Arc<Trust>, settings: Arc<ArcSwap<AmSettings>>) -> Self {
        Self { testbed, trust, settings, calls: Calls::default() }
    }

    /// The same, whose calls are counted there.
    #[must_use]
    pub fn counted_by(self, calls: Calls) -> Self {
        Self { calls, ..self }
    }

    pub(crate) fn settings(&self) -> Arc<AmSettings> {
        self.settings.load_full()
    }

    /// Answers a call, whose number is `request`.
    ///
    /// # Errors
    /// [`Fault`] only if there is no such method. Everything else is a value with a code.
    pub async fn call(&self, peer: &Peer, request: RequestId, call: Call) -> Result<Value, Fault> {
        let begun = Instant::now();
        if call.method == "GetVersion" {
            let outcome = methods::get_version(&self.settings(), &call.arguments);
            self.note(peer, "GetVersion", &outcome, begun);
            return Ok(outcome.unwrap_or_else(|failure| failed(failure, Value::empty())));
        }
        let operation: Operation = call.method.parse().map_err(|_| no_such_method(&call.method))?;
        let value_of_failure = methods::value_of_failure(operation, &call.arguments);
        let door = Door {
            testbed: &*self.testbed,
            verifier: self.trust.verifier(),
            settings: self.settings(),
            peer,
            operation,
            request,
            now: Timestamp::now(),
        };
        let outcome = methods::run(&door, call.arguments).await;
        self.note(peer, operation.as_str(), &outcome, begun);
        Ok(match outcome {
            Ok(value) => succeeded(value),
            Err(failure) => failed(failure, value_of_failure),
        })
    }

    fn note(&self, peer: &Peer, method: &'static str, outcome: &Outcome, begun: Instant) {
        let took = begun.elapsed();
        let ended = match outcome {
            Ok(_) => Ended::Done,
            Err(failure) if failure.code == GeniCode::ServerError => Ended::Failed,
            Err(_) => Ended::Refused,
        };
        self.calls.note(telemetry::Door::Am, method, ended, took);
        log(peer, method, outcome, took);
    }
}

fn no_such_method(name: &str) -> Fault {
    tracing::info!(method = ?name, "no such method");
    let of_version_2 = ["CreateSliver", "SliverStatus", "RenewSliver", "DeleteSliver"];
    let hint = match of_version_2.contains(&name) {
        true => "it is of version 2 of the AM API, and this server speaks version 3",
        false => "this server speaks version 3 of the GENI AM API",
    };
    Fault::new(Fault::NO_METHOD, format!("there is no method {name:?}: {hint}"))
}

/// One line per call: who, what, how it went. Never what was passed: credentials and keys are in there.
fn log(peer: &Peer, method: &str, outcome: &Outcome, took: Duration) {
    let who = peer.chain.as_ref().ok().and_then(|chain| chain.leaf()).and_then(|leaf| leaf.urn().ok());
    let who = who.map_or_else(|| "nobody".to_owned(), ToString::to_string);
    let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok(_) => tracing::info!(method, who, ms, "done"),
        Err(failure) if failure.code == GeniCode::Forbidden => {
            tracing::info!(method, who, ms, why = ?failure.output, "forbidden");
        }
        Err(failure) => tracing::info!(method, who, ms, code = %failure.code, "refused"),
    }
}

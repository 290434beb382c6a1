//! The envelope that every method answers in (am-api.md §1.1): `code`, `value` and `output`, all three always, since
//! clients read them whatever happened.

use testyard_controller::api;
use testyard_formats::rspec::RequestError;
use testyard_trust::{Reason, Refusal};

use crate::code::GeniCode;
use crate::xmlrpc::Value;

/// How the answers name their author. Not `protogeni`: clients then read codes of that family into `am_code`.
pub const AM_TYPE: &str = "testyard";

/// What a method answers: the value of a success, or a failure.
pub(crate) type Outcome<T = Value> = Result<T, Failure>;

/// A call that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: GeniCode,
    /// Finer than `code`, where there is something finer to say.
    pub(crate) am_code: GeniCode,
    /// For the caller.
    pub(crate) output: String,
}

impl Failure {
    pub(crate) fn new(code: GeniCode, output: impl Into<String>) -> Self {
        Self { code, am_code: code, output: output.into() }
    }

    pub(crate) fn bad_arguments(output: impl Into<String>) -> Self {
        Self::new(GeniCode::BadArgs, output)
    }

    pub(crate) fn forbidden(output: impl Into<String>) -> Self {
        Self::new(GeniCode::Forbidden, output)
    }
}

/// The envelope of a success.
pub(crate) fn succeeded(value: Value) -> Value {
    envelope(GeniCode::Success, GeniCode::Success, value, String::new())
}

/// The envelope of a failure; `value` is what the method's clients can bear.
pub(crate) fn failed(failure: Failure, value: Value) -> Value {
    envelope(failure.code, failure.am_code, value, failure.output)
}

fn envelope(code: GeniCode, am_code: GeniCode, value: Value, output: String) -> Value {
    let code = Value::members([
        ("geni_code", Value::from(code.number())),
        ("am_type", Value::from(AM_TYPE)),
        ("am_code", Value::from(am_code.number())),
    ]);
    Value::members([("code", code), ("value", value), ("output", Value::String(output))])
}

impl From<api::Refusal> for Failure {
    fn from(refusal: api::Refusal) -> Self {
        use api::Refusal as R;
        let code = match &refusal {
            R::BadRequest(_) => GeniCode::BadArgs,
            R::NotFound(_) => GeniCode::SearchFailed,
            R::ShutDown(_) => GeniCode::Forbidden,
            R::TooBig(_) => GeniCode::TooBig,
            R::Unsupported(_) => GeniCode::Unsupported,
            R::Refused(_) => GeniCode::Refused,
            R::OutOfRange(_) => GeniCode::OutOfRange,
            R::AlreadyExists(_) => GeniCode::AlreadyExists,
            R::Changed(_) | R::Busy(_) => GeniCode::Busy,
            R::Expired(_) => GeniCode::Expired,
            R::Internal(_) => GeniCode::ServerError,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<Refusal> for Failure {
    /// FORBIDDEN for all; what kind of refusal it is stands in `am_code` (am-api.md §3.7).
    fn from(refusal: Refusal) -> Self {
        let am_code = match refusal.reason {
            Reason::Signature
            | Reason::Algorithm
            | Reason::Reference
            | Reason::Transform
            | Reason::BadGid
            | Reason::NamespaceAuthority
            | Reason::Delegation
            | Reason::Type
            | Reason::Shape
            | Reason::UnsafeXml
            | Reason::Limit => GeniCode::CredentialInvalid,
            Reason::Expired | Reason::NotYetValid => GeniCode::CredentialExpired,
            Reason::OwnerMismatch | Reason::TargetMismatch => GeniCode::CredentialMismatch,
            Reason::UntrustedSigner | Reason::UntrustedCaller => GeniCode::CredentialSignerUntrusted,
            Reason::Privilege | Reason::SpeaksFor | Reason::NoCredential => GeniCode::Forbidden,
        };
        Self { code: GeniCode::Forbidden, am_code, output: refusal.message }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let code = match &error {
            RequestError::NotXml { .. } | RequestError::NotRSpec(_) | RequestError::Invalid(_) => {
                GeniCode::BadArgs
            }
            RequestError::WrongVersion { .. } | RequestError::WrongType { .. } => GeniCode::BadVersion,
            RequestError::NothingForUs(_) => GeniCode::SearchFailed,
        };
        Self::new(code, error.to_string())
    }
}

//! Who may do what.
//!
//! Three questions are answered here, all by plain functions over bytes, roots, a policy and a time:
//!
//! 1. Who is the caller? A certificate chain up to a configured root gives a URN ([`chain`], [`roots`]).
//! 2. What do they show for it? SFA credentials and speaks-for statements, signed XML ([`verifier`]).
//! 3. Who hands such things out where there is no federation? The built-in authority ([`issuer`]).
//!
//! [`Verifier`] judges a call by one snapshot of roots and policy; [`Trust`] holds the current verifier and replaces
//! it when the files change. `docs/reference/trust.md` tells operators the rules and the order in which they apply;
//! [`corpus`] runs the vectors that show them.

#![forbid(unsafe_code)]

mod abac;
mod algorithm;
pub mod c14n;
mod cache;
pub mod call;
pub mod certificate;
pub mod chain;
pub mod corpus;
mod credential;
mod delegation;
mod der;
mod document;
#[doc(hidden)]
pub mod fuzzing;
pub mod issuer;
pub mod key;
pub mod operation;
pub mod pem;
pub mod policy;
pub mod privilege;
pub mod refusal;
pub mod roots;
mod signature;
mod speaks_for;
pub mod trust;
pub mod verifier;

pub use call::{Call, CallerChain, Grant, PassedCredential};
pub use certificate::{Certificate, CertificateError, Fingerprint};
pub use key::{NewKey, PrivateKey};
pub use operation::Operation;
pub use policy::CryptoPolicy;
pub use refusal::{Reason, Refusal, Step};
pub use roots::{Root, RootFault, RootSummary, RootsChange, RootsError, TrustRoots};
pub use trust::Trust;
pub use verifier::Verifier;

//! TLS of the front door, with OpenSSL.
//!
//! Any client certificate completes the handshake, and none does too: whether a certificate is good enough is asked
//! per call, with a policy and an answer in words, not with an alert that clients show as "handshake failure". Old
//! keys and signatures (RSA 1024, SHA-1, X.509 v1) are therefore let through here, at OpenSSL's security level 0, and
//! judged by `testyard-trust` (crates.md §2).
//!
//! Sessions are never resumed: a resumed session has lost the client's intermediate certificates.

mod acceptor;
mod files;
mod peer;

pub use files::{TlsError, TlsFiles};
pub use peer::Peer;

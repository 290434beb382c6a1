//! The GENI AM API v3: the front door that federations' clients (omni, geni-lib, jFed) use, and a client for any
//! aggregate.
//!
//! ```text
//! socket ─tls, server─→ XML-RPC call ─xmlrpc─→ service ─→ methods/<one a file> ─→ Testbed (the controller)
//!                                                │             │
//!                                                auth          render: slivers, manifest, advertisement
//! ```
//!
//! It only translates: it finds out who calls and whether they may ([`testyard_trust`]), reads arguments and options,
//! calls one method of the [`Testbed`], and renders the answer. `docs/reference/am-api.md` tells what each method does.

#![forbid(unsafe_code)]

mod answer;
mod arguments;
mod auth;
pub mod client;
pub mod code;
mod door;
pub mod facts;
#[doc(hidden)]
pub mod fuzzing;
mod methods;
mod offload;
mod options;
mod render;
pub mod server;
mod service;
mod settings;
mod testbed;
pub mod tls;
pub mod xmlrpc;

pub use answer::AM_TYPE;
pub use server::{ServerLimits, serve};
pub use service::AmService;
pub use settings::AmSettings;
pub use testbed::Testbed;
pub use tls::{Peer, TlsError, TlsFiles};

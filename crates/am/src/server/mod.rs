//! Connections and HTTP: everything that happens before a call is a call.
//!
//! ```text
//! accept ─limits─→ TLS handshake ─→ HTTP/1.1, kept alive ─→ POST ─limits─→ body ─→ XML-RPC call ─→ AmService
//!                  10 s              75 s to the next head          60 s, 32 MiB
//! ```
//!
//! Every wait for a client has an end, and no client can take more than its share of connections, memory and calls.
//! A call that has begun is finished also if its client goes away or the server is being shut down.

mod body;
mod clients;
mod http;
mod limits;
mod listen;

pub use limits::ServerLimits;
pub use listen::serve;

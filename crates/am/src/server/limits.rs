//! What clients may use.

use std::time::Duration;

/// What all clients together, and each of them, may use.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerLimits {
    /// Connections in all. More are closed at once.
    pub connections: usize,
    /// Connections from one address.
    pub connections_per_address: usize,
    /// Until the TLS handshake is done.
    pub handshake: Duration,
    /// Until the head of the next request is there; so long is an idle connection kept too.
    pub head: Duration,
    /// Until the body of a request is there.
    pub body: Duration,
    /// Until a client must have taken what is sent to it.
    pub unsent: Duration,
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Bytes of one body from a client without a certificate: it can only ask for the version.
    pub anonymous_body_bytes: usize,
    /// Bytes of all bodies that are in memory at one time. One address gets a quarter of it at most, but always
    /// enough for one body.
    pub all_bodies_bytes: usize,
    /// Calls at one time.
    pub calls: usize,
    /// Calls at one time with one certificate, or from one address without.
    pub calls_per_client: usize,
    /// How long a call waits for its turn before it is answered with BUSY.
    pub turn: Duration,
    /// Calls per second that one client may go on making; all clients of one address may make four times as many.
    pub rate: f64,
    /// Calls that one client may make at once before that.
    pub burst: f64,
    /// How long running calls may take to finish when the server is shut down.
    pub grace: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            connections_per_address: 128,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(75),
            body: Duration::from_secs(60),
            unsent: Duration::from_secs(60),
            body_bytes: 32 << 20,
            anonymous_body_bytes: 256 << 10,
            all_bodies_bytes: 256 << 20,
            calls: 128,
            calls_per_client: 32,
            turn: Duration::from_secs(5),
            rate: 100.0,
            burst: 400.0,
            grace: Duration::from_secs(30),
        }
    }
}

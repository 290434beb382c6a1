//! The local host on the fake runtime and the fake fabric: its converger and its pool.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

/// Whether it is spoken to over a connection: `tests/connected` has the same tests with it.
const CONNECTED: bool = false;

mod crashes;
mod images;
mod life;
mod limits;
mod links;
mod pool;
mod schedule;
mod world;

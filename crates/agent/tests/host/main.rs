//! The local host on the fake runtime and the fake fabric: its converger and its pool.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

mod crashes;
mod life;
mod limits;
mod links;
mod pool;
mod schedule;
mod world;

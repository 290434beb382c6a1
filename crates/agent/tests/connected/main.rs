//! The same suite as the local host's, spoken to over a connection: one contract, one suite.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

/// Whether it is spoken to over a connection.
const CONNECTED: bool = true;

#[path = "../host/crashes.rs"]
mod crashes;
#[path = "../host/images.rs"]
mod images;
#[path = "../host/life.rs"]
mod life;
#[path = "../host/limits.rs"]
mod limits;
#[path = "../host/links.rs"]
mod links;
#[path = "../host/schedule.rs"]
mod schedule;
#[path = "../host/world.rs"]
mod world;

//! From an RSpec to SSH, as users do it: the real program, the real engine, the real ssh.
//!
//! Every test has a testbed of its own with its own mark, and demands that nothing is left when it is gone.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

mod agents;
mod commands;
mod crash;
mod durability;
mod facts;
mod genilib;
mod hosts;
mod images;
mod ipv6;
mod lifecycle;
mod limits;
mod links;
mod local;
mod measured;
mod network;
mod operating;
mod outage;
mod policy;
mod pool;
mod ports;
mod pulls;
mod registry;
mod services;
mod support;
mod talk;
mod urls;

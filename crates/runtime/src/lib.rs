//! The runtime contract: what runs nodes of one kind on a host.
//!
//! A runtime boots, stops and removes nodes and tells what it sees; it decides nothing. Every call is idempotent:
//! the converger in `testyard-agent` calls again what it is not sure of. A runtime gives a node no network; the
//! fabric puts interfaces into [`Running::netns`]. What a runtime makes carries the [`NodeKey`] and the testbed's
//! instance mark, so [`Runtime::list`] needs no memory and nothing unmarked is touched.
//!
//! Every runtime passes [`conformance`], the [`fake`] one too.

#![forbid(unsafe_code)]

pub mod conformance;
mod contract;
mod error;
pub mod fake;
mod image;
mod maker;
mod spec;

pub use contract::{
    GuestListener, GuestStream, NodeSeen, PowerSeen, Running, Runtime, RuntimeEvent, RuntimeFacts,
};
pub use error::{ImageError, RuntimeError};
pub use image::{Image, ImageConfig, Pull, PullProgress};
pub use maker::{BuildPlace, MakeError, MakeLimits, MakeLog, Maker, Order};
pub use spec::{NodeKey, NodeSpec};
pub use testyard_images::Recipe;

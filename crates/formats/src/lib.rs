//! Topology languages: each is read into a [`Topology`](testyard_model::topology::Topology) and diagnostics with line
//! and column. RSpec also renders manifests and advertisements.
//!
//! Pure: no IO, no clock. What a request asks for in vain (an unknown sliver type, a full host) is the plan's to say;
//! what is said here needs nothing but the text.

#![forbid(unsafe_code)]

mod boxes;
pub mod containers;
mod csh;
mod exact;
pub mod export;
pub mod import;
pub mod language;
pub mod ns;
pub mod own;
mod pairwise;
pub mod read;
mod remarks;
pub mod rspec;
mod shape;
pub mod topdl;
mod tree;

#[doc(hidden)]
pub mod fuzzing;

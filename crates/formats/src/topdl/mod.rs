//! topdl 1.0, the topology language of DETER's federation and Containers (deter.md §2.4; `docs/reference/topdl.md`):
//! computers and substrates, joined by the computers' interfaces.
//!
//! An interface's capacity, latency and loss are those of its own half of the way, both ways; where it says nothing, its
//! substrate's count. So a packet meets the sum of both interfaces' latencies. Two interfaces on a substrate are a
//! point-to-point link, any other number is a LAN.

mod read;
mod substrate;
mod write;

pub use read::parse;
pub(crate) use write::write;

/// What tells a LAN of two members from a cable; no other system minds it.
const KIND: &str = "testyard:kind";

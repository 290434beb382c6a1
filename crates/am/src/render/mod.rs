//! What the controller says, as values and RSpecs.

mod advertisement;
mod compression;
mod manifest;
mod sliver;

pub(crate) use advertisement::advertisement;
pub(crate) use compression::{compress, decompress};
pub(crate) use manifest::manifest;
pub(crate) use sliver::{Detail, slivers};

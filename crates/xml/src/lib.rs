//! Foreign XML made safe to read, and edited without touching what was not meant.
//!
//! Everything that reads XML from outside (credentials, RSpecs, XML-RPC) goes through [`parse`]: a cheap scan refuses
//! what would make a tree builder slow or deep (DTDs, depth, attributes, elements, size) before a tree is built.
//! Trees are read-only, so their byte ranges stay true; [`Edits`] changes a document by splicing its text, which
//! keeps every byte that nobody meant to change: comments, prefixes, unknown extensions.
//!
//! A serialising DOM was tried and rejected: none of those at hand keeps `&#10;` in attributes, and the best was ten
//! times slower.

#![forbid(unsafe_code)]

mod edit;
pub mod fuzzing;
mod read;

pub use edit::{Edits, escape_attribute, escape_text};
pub use read::{Limits, XmlError, attribute, parse, position, prefix_of, text_of};
pub use roxmltree::{Attribute, Document, Node, NodeId};

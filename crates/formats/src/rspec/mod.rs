//! GENI RSpec v3: requests in, manifests and advertisements out (am-api.md §4; `docs/reference/rspec.md`).
//!
//! ```text
//! request text ─parse_request→ Request { topology, diagnostics, document }
//!                                           │ plan, run            │ kept whole, in the store
//!                                           ▼                      ▼
//!                                      ManifestNode … ────→ manifest(documents, nodes, info) → text
//! ```
//!
//! A manifest is the request's own text with changes spliced in, so comments, prefixes, unknown extensions and nodes
//! of other testbeds stay byte for byte as they came.

mod advertisement;
mod context;
mod delay;
mod document;
mod element;
mod error;
pub(crate) mod findings;
mod images;
mod interfaces;
mod link;
mod manifest;
mod markup;
mod merge;
mod namespace;
mod network;
mod node;
mod opstate;
mod request;
mod services;

pub use advertisement::{AdvertisedHost, Advertisement, Location, advertisement};
pub use context::{Context, RequestLimits, Unbound};
pub use document::RequestDocument;
pub use error::{Foreign, RequestError};
pub(crate) use link::LINK_TYPE;
pub use manifest::{
    Endpoint, Forward, ManifestInfo, ManifestInterface, ManifestLink, ManifestNode, manifest,
};
pub use namespace::{
    DELAY, DOCKER_AM, EMULAB, EXTENSIONS, OPSTATE, RSPEC, SCHEMA_AD, SCHEMA_MANIFEST, SCHEMA_REQUEST,
    TESTYARD, USER,
};
pub(crate) use network::prefix_length;
pub use request::{Request, parse_request};
pub(crate) use services::{check_path, check_url};

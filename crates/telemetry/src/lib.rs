//! What the testbed tells of itself, for those who look after it (docs/reference/metrics.md).
//!
//! ```text
//!  a call ─► request()  its number: in the log, in the audit trail, in the answer
//!         └► Calls      counted and timed, by door, call and outcome
//!
//!  a scrape ─► render([what was counted, what is there now, the process]) ─► OpenMetrics text
//! ```
//!
//! Counters live as long as the process. What can be looked at when somebody asks is looked at then, so that a host or a slice
//! that is gone leaves no line behind.

#![forbid(unsafe_code)]

mod calls;
mod process;
mod request;

pub use calls::{Calls, Door, Outcome};
pub use process::Process;
pub use request::request;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What all names of the testbed's own metrics begin with.
pub const PREFIX: &str = "testyard";

/// These registries as one text of `OpenMetrics` 1.0.
#[must_use]
pub fn render<'a>(registries: impl IntoIterator<Item = &'a Registry>) -> String {
    let mut text = String::new();
    for registry in registries {
        // Writing to a string cannot fail.
        let _ = encode_registry(&mut text, registry);
    }
    let _ = encode_eof(&mut text);
    text
}

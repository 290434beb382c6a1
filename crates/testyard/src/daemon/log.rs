//! The log: lines for people, or JSON for collectors, on the standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A line of text each.
    Text,
    /// A JSON object each.
    Json,
}

/// Starts it. `RUST_LOG` says how much; without it, `info`.
pub(crate) fn start(format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => builder.json().flatten_event(true).with_span_list(false).init(),
    }
}

//! When something is to end, as people write it: a time, or `+` and a span of time from now on.

use jiff::{SignedDuration, Timestamp};
use testyard_model::time;

use crate::exit::Failure;

/// Reads an end.
///
/// # Errors
/// If it is neither, or too far away.
pub(crate) fn parse(text: &str) -> Result<Timestamp, Failure> {
    let Some(span) = text.strip_prefix('+') else {
        return time::parse(text).map_err(Failure::usage);
    };
    let span = crate::config::parse_duration(span).map_err(Failure::usage)?;
    let later = SignedDuration::try_from(span).ok().and_then(|span| Timestamp::now().checked_add(span).ok());
    later.ok_or_else(|| Failure::usage(format!("{text} is too far away")))
}

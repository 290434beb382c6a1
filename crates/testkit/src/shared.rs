//! Test data made by others lies beside the project, not in it.

use std::path::{Path, PathBuf};

/// The path of something in the folder `shared` beside the project, or none where that is missing. Then the suite's
/// name goes to standard error, so that nothing is skipped in silence.
#[must_use]
pub fn path(suite: &str, relative: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(relative);
    if path.exists() {
        return Some(path);
    }
    eprintln!("NOT RUN: {suite}: ../shared/{relative} is missing");
    None
}

//! Committed fuzz corpora, run through the fuzz targets' own functions: what a fuzzer has found once stays found.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Runs a target over the corpus of its name in the folder of a crate (`CARGO_MANIFEST_DIR`).
///
/// # Panics
/// If the target does, over which file; or if there are fewer files than `least`: a corpus that is lost tests nothing.
pub fn run(of_crate: &str, name: &str, target: fn(&[u8]), least: usize) {
    run_folder(&Path::new(of_crate).join("fuzz/corpus").join(name), target, least);
}

/// Runs a target over every file of a folder.
///
/// # Panics
/// As [`run`] does.
pub fn run_folder(folder: &Path, target: fn(&[u8]), least: usize) {
    let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let run = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        assert!(run.is_ok(), "the target panics over {}", path.display());
        count += 1;
    }
    assert!(count >= least, "{count} files in {}, at least {least} are expected", folder.display());
}

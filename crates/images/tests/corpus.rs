//! The committed fuzz corpora, run through the fuzz targets' own functions.

use testyard_images::fuzzing;
use testyard_testkit::corpus;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn dockerfiles() {
    corpus::run(CRATE, "dockerfile", fuzzing::dockerfile, 10);
}

#[test]
fn fetched_files() {
    corpus::run(CRATE, "prepare", fuzzing::prepare, 8);
}

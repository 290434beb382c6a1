//! The committed fuzz corpora, run through the fuzz targets' own functions.

use testyard_testkit::corpus;
use testyard_xml::fuzzing;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn reading() {
    corpus::run(CRATE, "read", fuzzing::read, 15);
}

#[test]
fn editing() {
    corpus::run(CRATE, "edit", fuzzing::edit, 10);
}

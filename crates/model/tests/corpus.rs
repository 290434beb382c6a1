//! The committed fuzz corpora, run through the fuzz targets' own functions.

use testyard_model::fuzzing;
use testyard_testkit::corpus;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn words_of_strangers() {
    corpus::run(CRATE, "words", fuzzing::words, 20);
}

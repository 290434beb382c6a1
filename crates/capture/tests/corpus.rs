//! The committed fuzz corpus, run through the fuzz target's own function.

use testyard_capture::fuzzing;
use testyard_testkit::corpus;

#[test]
fn filters() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "filter", fuzzing::filter, 14);
}

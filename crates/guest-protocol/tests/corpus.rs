//! The committed fuzz corpora, run through the fuzz targets' own functions.

use testyard_guest_protocol::fuzzing;
use testyard_testkit::corpus;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn what_agents_read() {
    corpus::run(CRATE, "agent", fuzzing::agent, 12);
}

#[test]
fn what_guests_read() {
    corpus::run(CRATE, "guest", fuzzing::guest, 8);
}

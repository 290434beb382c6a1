//! The committed fuzz corpora, run through the fuzz targets' own functions.

use testyard_guest::fuzzing;
use testyard_testkit::corpus;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn accounts_and_keys() {
    corpus::run(CRATE, "accounts", fuzzing::accounts, 10);
}

#[test]
fn what_callers_give_to_sudo() {
    corpus::run(CRATE, "sudo", fuzzing::sudo, 10);
}

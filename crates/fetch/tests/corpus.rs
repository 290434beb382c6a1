//! The committed fuzz corpora, run through the fuzz targets' own functions.

use testyard_fetch::fuzzing;
use testyard_testkit::corpus;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn archives() {
    corpus::run(CRATE, "archive", fuzzing::archive, 20);
}

#[test]
fn answers_of_name_servers() {
    corpus::run(CRATE, "dns", fuzzing::dns, 15);
}

#[test]
fn answers_of_web_servers() {
    corpus::run(CRATE, "http", fuzzing::http, 15);
}

#[test]
fn addresses() {
    corpus::run(CRATE, "url", fuzzing::url, 15);
}

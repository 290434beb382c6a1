//! The committed fuzz corpora, run through the fuzz targets' own functions.

use std::path::Path;

use testyard_testkit::corpus;
use testyard_trust::fuzzing;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn credential() {
    corpus::run(CRATE, "credential", fuzzing::credential, 25);
}

#[test]
fn certificate() {
    corpus::run(CRATE, "certificate", fuzzing::certificate, 20);
}

/// Every file of the credential vectors, too.
#[test]
fn vectors() {
    for part in ["valid", "invalid"] {
        let folder = Path::new(CRATE).join("../../testdata/credentials").join(part);
        corpus::run_folder(&folder, fuzzing::credential, 35);
    }
}

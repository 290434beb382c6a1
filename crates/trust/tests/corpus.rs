//! The committed fuzz corpora, run through the fuzz targets' own functions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic, its helpers too"
)]

fn run(folder: &str, target: fn(&[u8]), least: usize) {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        target(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= least, "{count} files in {folder}");
}

#[test]
fn credential() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/credential");
    run(folder, testyard_trust::fuzzing::credential, 25);
}

#[test]
fn certificate() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/certificate");
    run(folder, testyard_trust::fuzzing::certificate, 20);
}

/// Every file of the credential vectors, too.
#[test]
fn vectors() {
    for part in ["valid", "invalid"] {
        let folder = format!("{}/../../testdata/credentials/{part}", env!("CARGO_MANIFEST_DIR"));
        run(&folder, testyard_trust::fuzzing::credential, 35);
    }
}

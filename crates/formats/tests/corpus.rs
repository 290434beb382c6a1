//! The committed fuzz corpus, run through the fuzz targets' own functions.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[test]
fn rspec() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/rspec");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        testyard_formats::fuzzing::rspec(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 20, "{count} files");
}

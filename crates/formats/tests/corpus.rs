//! The committed fuzz corpus, run through the fuzz targets' own functions.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

fn run(name: &str, target: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        target(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 20, "{count} files");
}

#[test]
fn rspec() {
    run("rspec", testyard_formats::fuzzing::rspec);
}

#[test]
fn topology() {
    run("topology", testyard_formats::fuzzing::topology);
}

//! The committed fuzz corpora, run through the fuzz targets' own functions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use testyard_wire::fuzzing;

fn run(name: &str, target: fn(&[u8]), least: usize) {
    let folder = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if std::panic::catch_unwind(|| target(&bytes)).is_err() {
            panic!("the target {name} panics over {}", path.display());
        }
        count += 1;
    }
    assert!(count >= least, "{count} files in {folder}");
}

#[test]
fn what_clients_say() {
    run("messages", fuzzing::messages, 10);
}

#[test]
fn frames_that_lie() {
    run("frame", fuzzing::frame, 12);
}

//! The committed fuzz corpora, run through the fuzz targets' own functions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use testyard_guest_protocol::fuzzing;

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
fn what_agents_read() {
    run("agent", fuzzing::agent, 12);
}

#[test]
fn what_guests_read() {
    run("guest", fuzzing::guest, 8);
}

//! The committed fuzz corpora, run through the fuzz targets' own functions.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use testyard_sshd::fuzzing;

fn run(name: &str, target: fn(&[u8])) {
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
    assert!(count >= 10, "{count} files in {folder}");
}

#[test]
fn lists_of_keys() {
    run("authorized_keys", fuzzing::authorized_keys);
}

#[test]
fn command_lines() {
    run("words", fuzzing::words);
}

#[test]
fn lines_of_scp() {
    run("scp", fuzzing::scp);
}

#[test]
fn packets_of_sftp() {
    run("sftp", fuzzing::sftp);
}

//! The committed fuzz corpora, run through the fuzz targets' own functions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic, its helpers too")]

use testyard_guest::fuzzing;

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
fn archives() {
    run("archive", fuzzing::archive, 20);
}

#[test]
fn answers_of_name_servers() {
    run("dns", fuzzing::dns, 15);
}

#[test]
fn answers_of_web_servers() {
    run("http", fuzzing::http, 15);
}

#[test]
fn addresses() {
    run("url", fuzzing::url, 15);
}

#[test]
fn accounts_and_keys() {
    run("accounts", fuzzing::accounts, 10);
}

#[test]
fn what_callers_give_to_sudo() {
    run("sudo", fuzzing::sudo, 10);
}

//! The committed fuzz corpora, run through the fuzz targets' own functions.

use testyard_sshd::fuzzing;
use testyard_testkit::corpus;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn lists_of_keys() {
    corpus::run(CRATE, "authorized_keys", fuzzing::authorized_keys, 10);
}

#[test]
fn command_lines() {
    corpus::run(CRATE, "words", fuzzing::words, 10);
}

#[test]
fn lines_of_scp() {
    corpus::run(CRATE, "scp", fuzzing::scp, 10);
}

#[test]
fn packets_of_sftp() {
    corpus::run(CRATE, "sftp", fuzzing::sftp, 10);
}

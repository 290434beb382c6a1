//! The committed fuzz corpora, run through the fuzz targets' own functions; and one of each message of the protocol.

use std::path::Path;

use testyard_agent::remote::fuzzing;
use testyard_testkit::corpus;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn what_agents_hear() {
    corpus::run(CRATE, "agent", fuzzing::agent, 10);
}

#[test]
fn what_controllers_hear() {
    corpus::run(CRATE, "controller", fuzzing::controller, 10);
}

#[test]
fn one_of_each_message() {
    let messages = Path::new(CRATE).join("tests/messages");
    let mut read = 0;
    for file in std::fs::read_dir(&messages).unwrap_or_else(|error| panic!("{}: {error}", messages.display()))
    {
        let path = file.expect("an entry").path();
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fuzzing::agent(&text);
        fuzzing::controller(&text);
        read += 1;
    }
    assert!(read > 30, "{read}");
}

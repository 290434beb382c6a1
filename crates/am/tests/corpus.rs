//! The committed fuzz corpora, run through the fuzz targets' own functions.

use testyard_am::fuzzing;
use testyard_testkit::corpus;

/// As it is, cut, and bent.
fn xmlrpc_and_worse(data: &[u8]) {
    fuzzing::xmlrpc(data);
    fuzzing::xmlrpc(&data[..data.len() / 2]);
    let bent: Vec<u8> = data.iter().map(|byte| if *byte == b'i' { b's' } else { *byte }).collect();
    fuzzing::xmlrpc(&bent);
}

#[test]
fn xmlrpc() {
    corpus::run(env!("CARGO_MANIFEST_DIR"), "xmlrpc", xmlrpc_and_worse, 11);
}

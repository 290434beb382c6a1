//! The committed corpus of the fuzz target, through the target's own function.

use std::path::Path;

#[test]
fn xmlrpc() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/xmlrpc");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let data = std::fs::read(entry.unwrap().path()).unwrap();
        testyard_am::fuzzing::xmlrpc(&data);
        // Cut and bent, too.
        testyard_am::fuzzing::xmlrpc(&data[..data.len() / 2]);
        let bent: Vec<u8> = data.iter().map(|byte| if *byte == b'i' { b's' } else { *byte }).collect();
        testyard_am::fuzzing::xmlrpc(&bent);
        files += 1;
    }
    assert!(files > 10, "{files} files");
}

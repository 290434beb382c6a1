//! Entry points of the fuzzers (`fuzz/`); `tests/corpus.rs` runs the committed corpora through the same functions.

use std::io::Write as _;

/// A Dockerfile: what is made of it is taken again, with the same bases.
pub fn dockerfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(judged) = crate::dockerfile::judge(&text, "testyard.build=x") {
        let again = crate::dockerfile::judge(&judged.text, "testyard.build=x");
        // With its labels it may have too many instructions.
        if let Ok(again) = again {
            assert_eq!(again.bases, judged.bases, "{text:?}");
        }
    }
}

/// A fetched file of any kind.
pub fn prepare(data: &[u8]) {
    let limits = crate::Limits { unpacked: 1 << 20, folder: std::env::temp_dir() };
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(data).expect("room");
    let _ = crate::prepare(&mut file, &limits, "testyard.build=x", "amd64");
}

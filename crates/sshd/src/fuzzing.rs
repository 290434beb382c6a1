//! Entry points of the fuzzers (`fuzz/`); `tests/corpus.rs` runs the committed corpora through the same functions.

/// A file of authorized_keys.
pub fn authorized_keys(data: &[u8]) {
    for line in crate::keys::parse(data) {
        let _ = line;
    }
}

/// A command line; what was split is read the same once quoted again.
///
/// # Panics
/// If it is not.
pub fn words(data: &[u8]) {
    let Ok(words) = crate::words::split(data) else { return };
    let quoted: Vec<_> = words.iter().map(|word| crate::words::quote(word)).collect();
    assert_eq!(crate::words::split(&quoted.join(&b' ')), Ok(words));
}

/// What a client of scp sends, as a line.
pub fn scp(data: &[u8]) {
    crate::scp::fuzz(data);
}

/// What a client of SFTP sends, as packets.
pub fn sftp(data: &[u8]) {
    crate::sftp::fuzz(data);
}

//! Entry points of the fuzz targets (`fuzz/`), run over the committed corpus by an ordinary test too.

use crate::xmlrpc::{Value, parse_call, parse_reply, write_call, write_reply};

/// What is read can be written, in ASCII, and reads the same again.
///
/// # Panics
/// If it does not: that is what is looked for.
pub fn xmlrpc(data: &[u8]) {
    if let Ok(call) = parse_call(data) {
        let written = write_call(&call);
        assert!(written.is_ascii());
        let again = parse_call(written.as_bytes()).expect("what we write, we read");
        assert_eq!(write_call(&again), written);
        for argument in call.arguments {
            reply(argument);
        }
    }
    if let Ok(Ok(value)) = parse_reply(data) {
        reply(value);
    }
}

fn reply(value: Value) {
    let written = write_reply(&Ok(value));
    assert!(written.is_ascii());
    let again = parse_reply(written.as_bytes()).expect("what we write, we read");
    assert_eq!(write_reply(&again), written);
}

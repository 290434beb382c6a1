//! A local socket that answers what a test has written down: for what pretended nodes never do.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::Value;

/// Answers at a path from now on, until the test's process ends: a path's answer, or not found.
pub(crate) fn listen(socket: &Path, answers: BTreeMap<&'static str, Vec<u8>>) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
            let path = head.split([' ', '?']).nth(1).unwrap_or_default();
            let missing = || plain(404, &serde_json::json!({"kind": "not_found", "error": path}));
            let _ = (&stream).write_all(&answers.get(path).cloned().unwrap_or_else(missing));
        }
    });
}

/// A whole answer.
pub(crate) fn plain(status: u16, value: &Value) -> Vec<u8> {
    let body = value.to_string();
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()
}

/// An answer in one chunk with a trailer.
pub(crate) fn with_trailer(body: &[u8], name: &str, value: &Value) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 X\r\nconnection: close\r\ntrailer: {name}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
        body.len()
    );
    let end = format!("\r\n0\r\n{name}: {value}\r\n\r\n");
    [head.as_bytes(), body, end.as_bytes()].concat()
}

/// The answers of a testbed with one slice, `lab`, of these nodes.
pub(crate) fn testbed(nodes: &Value) -> BTreeMap<&'static str, Vec<u8>> {
    let urn = "urn:publicid:IDN+localhost+slice+lab";
    let brief = serde_json::json!({
        "name": "lab", "urn": urn, "creator": "urn:publicid:IDN+localhost+user+ann",
        "created": "2026-01-01T00:00:00Z", "expires": null, "state": "ready", "nodes": {}, "links": 0,
    });
    let slice = serde_json::json!({
        "name": "lab", "urn": urn, "state": "ready", "converged": true, "nodes": nodes, "links": [], "remarks": [],
    });
    let you = serde_json::json!({
        "urn": "urn:publicid:IDN+localhost+authority+am", "authority": "localhost", "version": "0",
        "you": "urn:publicid:IDN+localhost+user+ann", "operator": true, "sliver_types": [], "hosts": [], "images": {},
    });
    [
        ("/v1/slices", plain(200, &serde_json::json!([brief]))),
        ("/v1/slices/urn%3Apublicid%3AIDN%2Blocalhost%2Bslice%2Blab", plain(200, &slice)),
        ("/v1/slices/lab", plain(200, &slice)),
        ("/v1/testbed", plain(200, &you)),
    ]
    .into()
}

//! What benchmarks of nodes share.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::Value;

/// One call of the engine's API.
pub(crate) fn engine(method: &str, path: &str, body: Option<&Value>) -> Value {
    let mut stream = UnixStream::connect("/var/run/docker.sock").expect("the engine listens");
    let body = body.map(Value::to_string).unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("the engine reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the engine answers");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    assert!(head.contains(" 2"), "{method} {path}: {answer}");
    serde_json::from_str(body).unwrap_or_default()
}

/// What happened to a sliver: what, and when in milliseconds.
#[allow(dead_code, reason = "not every benchmark reads timelines")]
pub(crate) fn timeline(sliver: &Value) -> Vec<(String, f64)> {
    sliver["timeline"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let at: jiff::Timestamp = entry["at"].as_str()?.parse().ok()?;
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century fit")]
            let at = at.as_microsecond() as f64 / 1000.0;
            Some((entry["what"].as_str()?.to_owned(), at))
        })
        .collect()
}

/// When something happened last.
#[allow(dead_code, reason = "not every benchmark reads timelines")]
pub(crate) fn at(timeline: &[(String, f64)], what: &str) -> Option<f64> {
    timeline.iter().rev().find(|(name, _)| name == what).map(|(_, at)| *at)
}

/// Milliseconds from the container's start to this step of the host's.
#[allow(dead_code, reason = "not every benchmark counts from the start")]
pub(crate) fn since_start(timeline: &[(String, f64)], stage: &str) -> Option<f64> {
    Some(at(timeline, &format!("host: {stage}"))? - at(timeline, "host: started")?)
}

/// The middle one.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! Entry points of the fuzz targets (`fuzz/`), run over the committed corpus by an ordinary test too.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{self, Frame, LONGEST, LONGEST_GREETING};
use super::message::{FromAgent, Greeting, Reply, ToAgent};

/// What an agent may hear: a reply to its greeting, and then messages; or the body of one.
///
/// # Panics
/// If what is read does not read again as it was, or shows a secret.
pub fn agent(data: &[u8]) {
    said::<Reply>(data, LONGEST_GREETING);
    for message in said::<ToAgent>(data, LONGEST) {
        let shown = format!("{message:?}");
        if let ToAgent::Config(config) = message {
            let shows =
                |password: &str| password.len() > 8 && shown.contains(&format!("password: {password:?}"));
            assert!(config.registries.iter().all(|access| !shows(&access.password)));
        }
    }
}

/// What a controller may hear: a greeting, and then messages; or the body of one.
///
/// # Panics
/// If what is read does not read again as it was.
pub fn controller(data: &[u8]) {
    for greeting in said::<Greeting>(data, LONGEST_GREETING) {
        let _ = super::message::VERSIONS.common(greeting.versions);
    }
    said::<FromAgent>(data, LONGEST);
}

/// The messages of a stream up to the first that is none, and the message that the whole is the body of.
fn said<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8], longest: usize) -> Vec<T> {
    let mut messages: Vec<T> = Vec::new();
    let mut rest = data;
    loop {
        let before = rest.len();
        match now(frame::read(&mut rest, longest)) {
            Ok(Frame::Message(body)) => {
                assert_eq!(before - rest.len(), body.len() + 5, "a frame is as long as it says");
                match serde_json::from_slice(&body) {
                    Ok(message) => messages.push(message),
                    Err(_) => break,
                }
            }
            Ok(Frame::Packets { blocks, .. }) => assert!(blocks.len() <= longest),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    messages.extend(serde_json::from_slice::<T>(data));
    for message in &messages {
        let written = frame::message(message).expect("what was read is not too long to be written");
        let Ok(Frame::Message(body)) = now(frame::read(&mut &written[..], LONGEST)) else {
            panic!("what we write, we read")
        };
        assert_eq!(&serde_json::from_slice::<T>(&body).expect("what we write, we read"), message);
    }
    messages
}

/// What is in memory is there at once; the clock is there for those who are waited for.
fn now<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("an event loop").block_on(work)
}

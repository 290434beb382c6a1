//! Entry points of the fuzz targets (`fuzz/`), run over the committed corpus by an ordinary test too.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{FrameError, FromGuest, MAX_MESSAGE, Report, ToGuest, Told, decode, encode, read};

/// What an agent may get from a node: a stream of messages, or the body of one.
///
/// # Panics
/// If what is read does not read again as it was, or a report that was cut is still too long.
pub fn agent(data: &[u8]) {
    for message in stream::<FromGuest>(data) {
        if let FromGuest::Report(report) = message {
            let bounded = report.bounded();
            let texts = bounded.services.iter().flat_map(|service| [&service.detail, &service.folder]);
            let programs = bounded.scheduled.iter();
            let programs = programs.flat_map(|program| [&program.name, &program.detail, &program.files]);
            for text in texts.chain(programs).chain(&bounded.failure).chain(&bounded.notice) {
                assert!(text.chars().count() <= Report::MAX_TEXT, "{text:?}");
                assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            }
            assert!(bounded.services.len() <= Report::MAX_SERVICES);
            assert!(bounded.scheduled.len() <= Report::MAX_SERVICES);
            assert_eq!(bounded.clone().bounded(), bounded, "what is cut stays as it is");
        }
    }
}

/// What a guest may get from its agent.
///
/// # Panics
/// If what is read does not read again as it was, or shows a secret.
pub fn guest(data: &[u8]) {
    for message in stream::<ToGuest>(data) {
        let shown = format!("{message:?}");
        if let ToGuest::Told(told) = &message {
            let cut = Told { id: told.id, answer: told.answer.clone().bounded() };
            assert!(encode(&ToGuest::Told(cut)).is_ok(), "a bounded answer fits a message");
        }
        if let ToGuest::Desired(desired) = message {
            for key in desired.host_keys {
                assert!(!shown.contains(&format!("Secret({:?}", key.private.0)));
            }
        }
    }
}

/// The messages of a stream up to the first that is none, and the message that the whole is the body of.
fn stream<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Vec<T> {
    let mut rest = data;
    let mut messages = Vec::new();
    let error = loop {
        let before = rest;
        // A length that is not followed by as much would cost the synchronous reader memory, and a fuzzer its time.
        let announced = before.first_chunk().map_or(0, |header| u32::from_be_bytes(*header) as usize);
        if announced <= MAX_MESSAGE && announced > before.len() {
            break FrameError::Io(std::io::ErrorKind::UnexpectedEof.into());
        }
        match read::<T>(&mut rest) {
            Ok(message) => {
                assert_eq!(before.len() - rest.len(), announced + 4, "a message is as long as it says");
                messages.push(message);
            }
            Err(error) => break error,
        }
    };
    assert!(!error.to_string().is_empty());
    #[cfg(feature = "tokio")]
    same_with_tokio(data, &messages, &error);
    messages.extend(decode::<T>(data));
    for message in &messages {
        // JSON may grow when it is written again: `\u0001` for one byte is refused by no limit of the reader.
        if let Ok(bytes) = encode(message) {
            assert_eq!(&read::<T>(&mut &bytes[..]).expect("what we write, we read"), message);
        }
    }
    messages
}

/// Both readers read the same.
#[cfg(feature = "tokio")]
fn same_with_tokio<T: DeserializeOwned + PartialEq + Debug>(data: &[u8], messages: &[T], error: &FrameError) {
    use std::task::{Context, Poll, Waker};
    let mut rest = data;
    let mut next = || {
        let mut reading = std::pin::pin!(crate::read_async::<T>(&mut rest));
        match reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("bytes in memory are there at once"),
        }
    };
    for message in messages {
        assert_eq!(&next().expect("both readers read it"), message);
    }
    let other = next().expect_err("both readers refuse it");
    assert_eq!(std::mem::discriminant(&other), std::mem::discriminant(error), "{other:?}, {error:?}");
}

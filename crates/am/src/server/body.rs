//! Reading a body: within a time, a size, and the memory that all bodies share.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A body, and its part of the shared memory.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _memory: Held,
}

/// Permits of each semaphore that a body takes memory of.
type Held = [Option<OwnedSemaphorePermit>; 2];

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    /// Other bodies take all the memory.
    NoMemory,
    /// The client went away, or does not speak HTTP.
    Broken,
}

pub(super) async fn receive(
    mut body: Incoming,
    limit: usize,
    until: Instant,
    memory: &[Arc<Semaphore>; 2],
) -> Result<Received, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut bytes = BytesMut::new();
    let mut held: Held = [None, None];
    loop {
        let frame = match tokio::time::timeout_at(until, body.frame()).await {
            Err(_) => return Err(BodyError::TooSlow),
            Ok(None) => return Ok(Received { bytes: bytes.freeze(), _memory: held }),
            Ok(Some(Err(_))) => return Err(BodyError::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(chunk) = frame.into_data() else { continue };
        if bytes.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        let amount = u32::try_from(chunk.len()).map_err(|_| BodyError::TooLarge)?;
        for (memory, held) in memory.iter().zip(&mut held) {
            let more = Arc::clone(memory).try_acquire_many_owned(amount).map_err(|_| BodyError::NoMemory)?;
            match held {
                Some(held) => held.merge(more),
                None => *held = Some(more),
            }
        }
        bytes.extend_from_slice(&chunk);
    }
}

//! Framing: a length and that many bytes of JSON.

use std::io::{Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message in bytes. A desired state with a hundred users of ten keys has about 500 KB.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Why a message was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side has closed the stream between two messages.
    #[error("the stream has ended")]
    Closed,
    /// The stream broke.
    #[error("the stream broke")]
    Io(#[from] std::io::Error),
    /// The other side announces a message longer than [`MAX_MESSAGE`].
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// The bytes are not a message of this protocol.
    #[error("not a message of this protocol")]
    Json(#[from] serde_json::Error),
}

/// The bytes of a message, length included.
///
/// # Errors
/// [`FrameError::TooLong`], [`FrameError::Json`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MAX_MESSAGE {
        return Err(FrameError::TooLong(length));
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded by MAX_MESSAGE above")]
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// The message in `body` (without its length).
///
/// # Errors
/// [`FrameError::Json`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(body)?)
}

fn checked_length(header: [u8; 4]) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(header) as usize;
    if length > MAX_MESSAGE { Err(FrameError::TooLong(length)) } else { Ok(length) }
}

/// Reads one message.
///
/// # Errors
/// [`FrameError`]; after any of them the stream is of no more use.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> Result<T, FrameError> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => FrameError::Closed,
        _ => FrameError::Io(error),
    })?;
    let mut body = vec![0; checked_length(header)?];
    stream.read_exact(&mut body)?;
    decode(&body)
}

/// Writes one message.
///
/// # Errors
/// [`FrameError`].
pub fn write<T: Serialize>(stream: &mut impl Write, message: &T) -> Result<(), FrameError> {
    stream.write_all(&encode(message)?)?;
    Ok(stream.flush()?)
}

/// [`read`] for tokio's streams. Not cancel-safe: give it a task of its own.
///
/// # Errors
/// As [`read`].
#[cfg(feature = "tokio")]
pub async fn read_async<T: DeserializeOwned>(
    stream: &mut (impl tokio::io::AsyncRead + Unpin + ?Sized),
) -> Result<T, FrameError> {
    decode(&read_body_async(stream, MAX_MESSAGE).await?)
}

/// The bytes of the next message, without their length, if they are at most `most`; see [`decode`]. Not cancel-safe.
///
/// # Errors
/// As [`read`].
#[cfg(feature = "tokio")]
pub async fn read_body_async(
    stream: &mut (impl tokio::io::AsyncRead + Unpin + ?Sized),
    most: usize,
) -> Result<Vec<u8>, FrameError> {
    use tokio::io::AsyncReadExt as _;
    let mut header = [0; 4];
    stream.read_exact(&mut header).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => FrameError::Closed,
        _ => FrameError::Io(error),
    })?;
    let length = checked_length(header)?;
    if length > most {
        return Err(FrameError::TooLong(length));
    }
    // A node that announces much and sends little must not cost memory: grow with what comes.
    let mut body = Vec::with_capacity(length.min(64 << 10));
    (&mut *stream).take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(FrameError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(body)
}

/// [`write`] for tokio's streams.
///
/// # Errors
/// As [`write`].
#[cfg(feature = "tokio")]
pub async fn write_async<T: Serialize>(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin + ?Sized),
    message: &T,
) -> Result<(), FrameError> {
    use tokio::io::AsyncWriteExt as _;
    stream.write_all(&encode(message)?).await?;
    Ok(stream.flush().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FromGuest, Hello, PROTOCOL};

    #[test]
    fn round_trip_and_limits() {
        let hello = FromGuest::Hello(Hello { protocol: PROTOCOL, version: "1".into(), boot: "b".into() });
        let bytes = encode(&hello).unwrap();
        assert_eq!(read::<FromGuest>(&mut &bytes[..]).unwrap(), hello);
        assert!(matches!(read::<FromGuest>(&mut &bytes[..0]), Err(FrameError::Closed)));
        assert!(matches!(read::<FromGuest>(&mut &bytes[..9]), Err(FrameError::Io(_))));
        assert!(matches!(read::<FromGuest>(&mut &[0xff; 8][..]), Err(FrameError::TooLong(_))));
        assert!(matches!(read::<FromGuest>(&mut &[0, 0, 0, 2, b'{', b'}'][..]), Err(FrameError::Json(_))));
    }
}

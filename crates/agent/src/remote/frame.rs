//! Frames: a kind, a length, and that many bytes. A message is JSON; packets of captures are bytes as they are.

use std::io;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// The longest frame in bytes. A slice of 100 nodes on one host, with 100 users of ten keys each, has 50 MB.
pub(super) const LONGEST: usize = 64 << 20;

/// The longest frame of somebody who has not said who he is.
pub(super) const LONGEST_GREETING: usize = 16 << 10;

/// A peer that says nothing for so long, or does not end a frame that it has begun, is not there any more.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// So many bytes must come within [`PATIENCE`], or all that are left.
const STRIDE: usize = 64 << 10;

const MESSAGE: u8 = 1;
const PACKETS: u8 = 2;
/// Kind and length.
const HEADER: usize = 5;
/// Which capture packets are of.
const CALL: usize = 8;

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message as JSON.
    Message(Vec<u8>),
    /// Packets of a capture.
    Packets {
        /// The call that asked for it.
        call: u64,
        /// Whole blocks of pcapng.
        blocks: Vec<u8>,
    },
}

/// Why a frame was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side has closed the stream between two frames.
    #[error("the connection has ended")]
    Closed,
    /// The stream broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// Nothing has come for too long.
    #[error("nothing has come for {} s", PATIENCE.as_secs())]
    Silent,
    /// A frame is longer than any may be.
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// A frame is of no kind that there is.
    #[error("a frame is of the unknown kind {0}")]
    Kind(u8),
    /// A frame ends before what it must hold.
    #[error("a frame is too short")]
    TooShort,
    /// A frame's bytes are not a message.
    #[error("not a message of this protocol: {0}")]
    Json(#[from] serde_json::Error),
}

/// The bytes of a message's frame.
///
/// # Errors
/// [`FrameError::TooLong`], [`FrameError::Json`].
pub(super) fn message(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message)?;
    finished(bytes, MESSAGE)
}

/// The bytes of a frame of packets.
///
/// # Errors
/// [`FrameError::TooLong`].
pub(super) fn packets(call: u64, blocks: &[u8]) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER];
    bytes.extend_from_slice(&call.to_be_bytes());
    bytes.extend_from_slice(blocks);
    finished(bytes, PACKETS)
}

fn finished(mut bytes: Vec<u8>, kind: u8) -> Result<Vec<u8>, FrameError> {
    let length = bytes.len() - HEADER;
    let short =
        u32::try_from(length).ok().filter(|_| length <= LONGEST).ok_or(FrameError::TooLong(length))?;
    bytes[0] = kind;
    bytes[1..HEADER].copy_from_slice(&short.to_be_bytes());
    Ok(bytes)
}

/// The next frame, of at most `longest` bytes. Not cancel-safe.
///
/// # Errors
/// [`FrameError`]; after any of them the stream is of no more use.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), longest: usize) -> Result<Frame, FrameError> {
    let mut header = [0; HEADER];
    let begun = timeout(PATIENCE, stream.read(&mut header)).await.map_err(|_| FrameError::Silent)??;
    if begun == 0 {
        return Err(FrameError::Closed);
    }
    let rest = stream.read_exact(&mut header[begun..]);
    timeout(PATIENCE, rest).await.map_err(|_| FrameError::Silent)??;
    let [kind, length @ ..] = header;
    let length = u32::from_be_bytes(length) as usize;
    if length > longest {
        return Err(FrameError::TooLong(length));
    }
    // Who announces much and sends little costs no memory: it grows with what comes.
    let mut body = Vec::with_capacity(length.min(STRIDE));
    while body.len() < length {
        let stride = (length - body.len()).min(STRIDE);
        let wanted = body.len() + stride;
        body.reserve(stride);
        let read = async {
            while body.len() < wanted {
                if (&mut *stream).take((wanted - body.len()) as u64).read_buf(&mut body).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok::<(), io::Error>(())
        };
        timeout(PATIENCE, read).await.map_err(|_| FrameError::Silent)??;
    }
    match kind {
        MESSAGE => Ok(Frame::Message(body)),
        PACKETS => {
            let Some((call, _)) = body.split_first_chunk::<CALL>() else { return Err(FrameError::TooShort) };
            let call = u64::from_be_bytes(*call);
            body.drain(..CALL);
            Ok(Frame::Packets { call, blocks: body })
        }
        kind => Err(FrameError::Kind(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(mut bytes: &[u8]) -> Result<Frame, FrameError> {
        read(&mut bytes, LONGEST).await
    }

    #[tokio::test]
    async fn there_and_back() {
        let text = "x".repeat(3 * STRIDE + 7);
        let Frame::Message(read) = of(&message(&text).unwrap()).await.unwrap() else { panic!("a message") };
        assert_eq!(serde_json::from_slice::<String>(&read).unwrap(), text);
        let blocks = vec![7; STRIDE];
        let frame = Frame::Packets { call: u64::MAX - 1, blocks: blocks.clone() };
        assert_eq!(of(&packets(u64::MAX - 1, &blocks).unwrap()).await.unwrap(), frame);
    }

    #[tokio::test]
    async fn what_is_no_frame() {
        let whole = message(&"text").unwrap();
        assert!(matches!(of(&[]).await, Err(FrameError::Closed)));
        for half in [1, 4, 5, whole.len() - 1] {
            let Err(FrameError::Io(error)) = of(&whole[..half]).await else { panic!("{half}") };
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{half}");
        }
        assert!(matches!(of(&[9, 0, 0, 0, 0]).await, Err(FrameError::Kind(9))));
        assert!(matches!(of(&[PACKETS, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]).await, Err(FrameError::TooShort)));
        assert!(matches!(of(&[MESSAGE, 0xff, 0xff, 0xff, 0xff]).await, Err(FrameError::TooLong(_))));
        let long = read(&mut &whole[..], 3).await;
        assert!(matches!(long, Err(FrameError::TooLong(6))), "{long:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_go_on_is_not_waited_for() {
        let whole = message(&"text").unwrap();
        for sent in [0, 1, 5, 8] {
            let (mut peer, mut stream) = tokio::io::duplex(64);
            tokio::io::AsyncWriteExt::write_all(&mut peer, &whole[..sent]).await.unwrap();
            let read = read(&mut stream, LONGEST).await;
            assert!(matches!(read, Err(FrameError::Silent)), "{sent}: {read:?}");
        }
    }
}

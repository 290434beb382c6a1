//! One connection: who greets whom, how both send, and how each sees that the other is still there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use uuid::Uuid;

use super::frame::{self, Frame, FrameError, LONGEST, LONGEST_GREETING, PATIENCE};
use super::message::{Greeting, Reply, VERSIONS};

/// Who has nothing to say says so as often as this.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What may wait to be sent, in KiB. Whoever has more waits.
const WAITING: usize = 2 * (LONGEST >> 10);

/// Bytes that must be taken by the peer's machine within [`PATIENCE`].
const STRIDE: usize = 64 << 10;

/// How a program introduces itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Program and version, for people: `testyard 0.1.0`.
    pub program: String,
    /// This run of it.
    pub instance: Uuid,
}

/// Why a connection has ended, or has not begun.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The stream, or what came over it.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other side refused, for its reason.
    #[error("the controller refuses: {0}")]
    Refused(String),
    /// This side refused, for a reason that the other side was told.
    #[error("refused: {0}")]
    Refusing(String),
    /// The other side said what nobody says at this point.
    #[error("the other side does not keep to the protocol: {0}")]
    Protocol(&'static str),
    /// The host cannot be run as it is to be, for a reason of its agent's.
    #[error("its agent cannot run it: {0}")]
    Unable(String),
    /// The host is to be run in another way.
    #[error("the host is to be run in another way")]
    Reconfigured,
    /// A newer connection of the same agent is there.
    #[error("the agent has connected again")]
    Replaced,
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Frame(FrameError::Io(error))
    }
}

/// Says hello as an agent and hears the controller's program.
pub(super) async fn introduce<S>(stream: &mut S, own: &Introduction) -> Result<String, ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting = Greeting { versions: VERSIONS, program: own.program.clone(), instance: own.instance };
    say(stream, &greeting).await?;
    match hear(stream).await? {
        Reply::Welcome { version, program } if (VERSIONS.least..=VERSIONS.most).contains(&version) => {
            Ok(program)
        }
        Reply::Welcome { .. } => Err(ConnectionError::Protocol("it chose a version that was not offered")),
        Reply::Refused(reason) => Err(ConnectionError::Refused(reason)),
    }
}

/// Hears an agent's greeting; one whose versions are all strange is refused.
pub(super) async fn greeted<S>(stream: &mut S, program: &str) -> Result<(Greeting, u32), ConnectionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting: Greeting = hear(stream).await?;
    let Some(version) = VERSIONS.common(greeting.versions) else {
        let reason = format!(
            "{} speaks versions {} to {} of the protocol, {program} speaks {} to {}: upgrade the older of the two",
            greeting.program, greeting.versions.least, greeting.versions.most, VERSIONS.least, VERSIONS.most,
        );
        return Err(refuse(stream, reason).await);
    };
    Ok((greeting, version))
}

/// Tells an agent that it is welcome.
pub(super) async fn welcome<S>(stream: &mut S, version: u32, program: &str) -> Result<(), ConnectionError>
where
    S: AsyncWrite + Unpin,
{
    let welcome = Reply::Welcome { version, program: program.to_owned() };
    say(stream, &welcome).await
}

/// Tells an agent why it is not.
pub(super) async fn refuse<S>(stream: &mut S, reason: String) -> ConnectionError
where
    S: AsyncWrite + Unpin,
{
    let told = say(stream, &Reply::Refused(reason.clone())).await;
    told.err().unwrap_or(ConnectionError::Refusing(reason))
}

/// One message of somebody who is not known yet: a few KiB at most, soon.
///
/// # Errors
/// [`ConnectionError::Frame`], [`ConnectionError::Protocol`].
pub async fn hear<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, ConnectionError> {
    match frame::read(stream, LONGEST_GREETING).await? {
        Frame::Message(body) => Ok(serde_json::from_slice(&body).map_err(FrameError::Json)?),
        Frame::Packets { .. } => Err(ConnectionError::Protocol("packets came before the greeting")),
    }
}

/// Says one message.
///
/// # Errors
/// [`ConnectionError::Frame`].
pub async fn say(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> Result<(), ConnectionError> {
    write(stream, &frame::message(message)?).await
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), ConnectionError> {
    for stride in bytes.chunks(STRIDE) {
        timeout(PATIENCE, stream.write_all(stride)).await.map_err(|_| FrameError::Silent)??;
    }
    timeout(PATIENCE, stream.flush()).await.map_err(|_| FrameError::Silent)??;
    Ok(())
}

/// Where to put what is to be sent. Clones send over the same connection.
#[derive(Clone, Debug)]
pub(super) struct Out {
    frames: mpsc::UnboundedSender<Outgoing>,
    room: Arc<Semaphore>,
}

/// A frame, with its room among those that wait.
#[derive(Debug)]
pub(super) struct Outgoing(
    Vec<u8>,
    #[allow(dead_code, reason = "it gives the room back")] Option<OwnedSemaphorePermit>,
);

impl Out {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Outgoing>) {
        let (frames, outgoing) = mpsc::unbounded_channel();
        (Self { frames, room: Arc::new(Semaphore::new(WAITING)) }, outgoing)
    }

    /// Sends a message as soon as there is room.
    pub(super) async fn send(&self, message: &impl Serialize) -> Result<(), FrameError> {
        self.put(frame::message(message)?).await
    }

    /// Sends packets of a capture as soon as there is room.
    pub(super) async fn packets(&self, call: u64, blocks: &[u8]) -> Result<(), FrameError> {
        self.put(frame::packets(call, blocks)?).await
    }

    /// Sends a few bytes, room or not: for what comes as seldom as its cause.
    pub(super) fn hint(&self, message: &impl Serialize) {
        if let Ok(frame) = frame::message(message) {
            // A connection that has ended needs no hints.
            let _ = self.frames.send(Outgoing(frame, None));
        }
    }

    /// Whether both send over the same connection.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.frames.same_channel(&other.frames)
    }

    async fn put(&self, frame: Vec<u8>) -> Result<(), FrameError> {
        let size = u32::try_from(frame.len().div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(size).await.map_err(|_| FrameError::Closed)?;
        self.frames.send(Outgoing(frame, Some(room))).map_err(|_| FrameError::Closed)
    }
}

/// Sends what is put in, and `alive` when there is nothing. Ends with the stream, or when nobody can put anything in any more.
pub(super) async fn send_all(
    mut stream: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    alive: &impl Serialize,
) -> ConnectionError {
    let alive = match frame::message(alive) {
        Ok(alive) => alive,
        Err(error) => return error.into(),
    };
    loop {
        let written = match timeout(HEARTBEAT, outgoing.recv()).await {
            Ok(Some(Outgoing(frame, room))) => {
                let written = write(&mut stream, &frame).await;
                drop(room);
                written
            }
            Ok(None) => return FrameError::Closed.into(),
            Err(_) => write(&mut stream, &alive).await,
        };
        if let Err(error) = written {
            return error;
        }
    }
}

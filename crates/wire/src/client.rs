//! The other end of a wire's control socket. Blocking: from async code, use it on a thread for blocking work.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::pipe::Desired;
use crate::protocol::{self, Answer, Change, MessageError, Observed, Request, VERSION};

/// Longer than any answer takes, so that a wire that hangs is an error and no hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a wire. Any number may be open; the wire lives on without one.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    process: u32,
}

/// Why a wire did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error("no wire answers at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke; connect again, and apply the state again if the wire is another.
    #[error("the wire is gone")]
    Gone(#[from] MessageError),
    /// It speaks another version.
    #[error("the wire speaks version {0}, not {VERSION}: stop it with the program that started it")]
    Version(u32),
    /// It said no, and changed nothing.
    #[error("the wire refuses: {0}")]
    Refused(String),
    /// It said something else than an answer.
    #[error("the wire gave an answer to another question")]
    Confused,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError`] if nobody answers, or speaks another version.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let no_wire = |source| ClientError::Connect { path: path.to_owned(), source };
        let mut stream = UnixStream::connect(path).map_err(no_wire)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(no_wire)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(no_wire)?;
        let process = match protocol::read(&mut stream)? {
            Answer::Hello { version: VERSION, process } => process,
            Answer::Hello { version, .. } => return Err(ClientError::Version(version)),
            _ => return Err(ClientError::Confused),
        };
        let mut client = Self { stream, process };
        client.done(&Request::Hello { version: VERSION })?;
        Ok(client)
    }

    /// Connects to a wire that is just starting: waits until its socket is there and answers.
    ///
    /// # Errors
    /// [`ClientError`] of the last try when the time is over.
    pub fn wait(path: &Path, time: Duration) -> Result<Self, ClientError> {
        let until = Instant::now() + time;
        let folder = path.parent().unwrap_or(Path::new("."));
        let no_watch =
            |error: nix::Error| ClientError::Connect { path: path.to_owned(), source: error.into() };
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(no_watch)?;
        // The mode is the last thing that is set, when it listens.
        watch.add_watch(folder, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB).map_err(no_watch)?;
        loop {
            let error = match Self::connect(path) {
                Ok(client) => return Ok(client),
                Err(error @ ClientError::Connect { .. }) => error,
                Err(error) => return Err(error),
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(error);
            }
            let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            let _ = watch.read_events();
        }
    }

    /// The process id of the wire.
    #[must_use]
    pub const fn process(&self) -> u32 {
        self.process
    }

    /// Be this; when it returns, it is so.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn apply(&mut self, desired: &Desired) -> Result<(), ClientError> {
        self.done(&Request::Apply(desired.clone()))
    }

    /// Changes pipes in place, all or none; when it returns, it is so.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn change(&mut self, changes: &[Change]) -> Result<(), ClientError> {
        self.done(&Request::Change(changes.to_vec()))
    }

    /// Interfaces have appeared: when it returns, frames pass them. A wire notices by itself, a moment later.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn look(&mut self) -> Result<(), ClientError> {
        self.done(&Request::Look)
    }

    /// What is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn observe(&mut self) -> Result<Observed, ClientError> {
        match self.ask(&Request::Observe)? {
            Answer::Observed(observed) => Ok(observed),
            Answer::Refused { reason } => Err(ClientError::Refused(reason)),
            _ => Err(ClientError::Confused),
        }
    }

    /// The connection alone: it is closed when the wire ends, and says nothing before.
    #[must_use]
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Ends the wire. Interfaces stay as they are.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn stop(mut self) -> Result<(), ClientError> {
        self.done(&Request::Stop)
    }

    fn done(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request)? {
            Answer::Done => Ok(()),
            Answer::Refused { reason } => Err(ClientError::Refused(reason)),
            _ => Err(ClientError::Confused),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        protocol::write(&mut self.stream, request)?;
        Ok(protocol::read(&mut self.stream)?)
    }
}

//! The conversations with clients: who may, and what each request does.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::EventFd;
use nix::sys::socket::{getsockopt, sockopt};

use crate::io::supervisor::Supervisor;
use crate::pipe::DesiredError;
use crate::process::closed_first;
use crate::protocol::{self, Answer, MOST_CHANGES, MessageError, Request, VERSION};

/// Clients at a time.
const CLIENTS: usize = 32;

/// What the threads of the control socket share.
pub(crate) struct Shared {
    pub(crate) supervisor: Mutex<Supervisor>,
    clients: Mutex<HashMap<u64, UnixStream>>,
    pub(crate) stop: EventFd,
}

impl Shared {
    pub(crate) fn new(supervisor: Supervisor, stop: EventFd) -> Self {
        Self { supervisor: Mutex::new(supervisor), clients: Mutex::new(HashMap::new()), stop }
    }

    /// Ends all conversations.
    pub(crate) fn disconnect(&self) {
        for stream in lock(&self.clients).values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// What is behind a lock is sound even if somebody panicked: every change of it is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins a conversation, on a thread of its own.
pub(crate) fn welcome(number: u64, stream: UnixStream, shared: &Arc<Shared>) {
    let root = getsockopt(&stream, sockopt::PeerCredentials).is_ok_and(|peer| peer.uid() == 0);
    let Ok(twin) = stream.try_clone().map(closed_first) else { return };
    {
        let mut clients = lock(&shared.clients);
        if !root || clients.len() >= CLIENTS {
            tracing::warn!(root, "a client is turned away");
            return;
        }
        clients.insert(number, twin);
    }
    let mine = Arc::clone(shared);
    let body = move || {
        if let Err(error) = serve(stream, &mine) {
            tracing::debug!(%error, "a client is gone");
        }
        lock(&mine.clients).remove(&number);
    };
    if std::thread::Builder::new().name("wire-client".to_owned()).spawn(body).is_err() {
        lock(&shared.clients).remove(&number);
    }
}

/// Serves one client to its end.
fn serve(mut stream: UnixStream, shared: &Shared) -> Result<(), MessageError> {
    stream.set_nonblocking(false)?;
    protocol::write(&mut stream, &Answer::Hello { version: VERSION, process: std::process::id() })?;
    let mut greeted = false;
    loop {
        let request = match protocol::read(&mut stream) {
            Ok(request) => request,
            Err(MessageError::Json(error)) => {
                protocol::write(&mut stream, &Answer::Refused { reason: error.to_string() })?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let refused = |reason: String| Answer::Refused { reason };
        let outcome = |done: Result<(), DesiredError>| match done {
            Ok(()) => Answer::Done,
            Err(error) => refused(error.to_string()),
        };
        let answer = match request {
            Request::Hello { version: VERSION } => {
                greeted = true;
                Answer::Done
            }
            Request::Hello { version } => refused(format!(
                "this wire speaks version {VERSION}, not {version}: stop it and start one of yours"
            )),
            _ if !greeted => refused("say hello first".to_owned()),
            Request::Apply(desired) => outcome(lock(&shared.supervisor).apply(desired)),
            Request::Change(changes) if changes.len() > MOST_CHANGES => {
                refused(format!("{} changes are too many at once: at most {MOST_CHANGES}", changes.len()))
            }
            Request::Change(changes) => outcome(lock(&shared.supervisor).change(changes)),
            Request::Look => {
                lock(&shared.supervisor).look();
                Answer::Done
            }
            Request::Observe => Answer::Observed(lock(&shared.supervisor).observe()),
            Request::Stop => {
                protocol::write(&mut stream, &Answer::Done)?;
                let _ = shared.stop.write(1);
                return Ok(());
            }
        };
        protocol::write(&mut stream, &answer)?;
    }
}

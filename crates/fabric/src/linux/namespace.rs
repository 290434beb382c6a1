//! Work in network namespaces. A thread that enters one is never used for anything else afterwards, so no runtime
//! thread can end up in a node.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::{Semaphore, oneshot};

use crate::FabricError;

/// Threads at work at a time. The kernel does most of their work under one lock.
const THREADS: usize = 8;
/// The threads' name. The kernel reports it with changes of packet rules: that is how our own are told from others'.
pub(crate) const THREAD_NAME: &str = "testyard-fabric";

/// The network namespace that a fabric works in.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    path: Option<PathBuf>,
    permits: Arc<Semaphore>,
}

impl Namespace {
    /// The calling process's, or the one that `path` opens.
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, permits: Arc::new(Semaphore::new(THREADS)) }
    }

    /// Runs `work` on a thread in the namespace. Once begun it is done to the end, also when the caller goes away.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, FabricError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, FabricError> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let (done, result) = oneshot::channel();
        self.thread(move || {
            let _ = done.send(work());
            drop(permit);
        })?;
        result.await.unwrap_or_else(|_| {
            Err(FabricError::Kernel {
                action: "working in the network namespace".into(),
                detail: "it cannot be entered, or the work panicked; see the log".into(),
            })
        })
    }

    /// Starts a thread in the namespace.
    pub(crate) fn thread(&self, work: impl FnOnce() + Send + 'static) -> Result<(), FabricError> {
        let path = self.path.clone();
        let body = move || {
            if let Some(path) = &path
                && let Err(error) = open(path).and_then(|file| enter(&file))
            {
                tracing::error!(namespace = %path.display(), %error, "the host's network namespace cannot be entered");
                return;
            }
            work();
        };
        std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(body).map(drop).map_err(|error| {
            FabricError::Kernel { action: "starting a thread".into(), detail: error.to_string() }
        })
    }
}

/// Work in a new namespace, which ends with it. The calling thread is at home before and after.
pub(crate) fn apart<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let home = current()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let done = work();
    enter(&home)?;
    Ok(done)
}

/// The calling thread's namespace, to come back to.
pub(crate) fn current() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// A namespace by its file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Moves the calling thread, which must be one of [`Namespace`]'s.
pub(crate) fn enter(namespace: &File) -> io::Result<()> {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

//! The connection to the engine, and what its errors mean.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, Docker};
use testyard_model::image::ImageName;
use testyard_runtime::{ImageError, NodeKey, RuntimeError};
use tokio::sync::Mutex;

use crate::reason;

pub(crate) const NAME: &str = "Docker Engine";

/// How long the engine may take to begin an answer.
pub(crate) const ANSWER: Duration = Duration::from_secs(60);

/// How long it may take to say who it is.
const HELLO: Duration = Duration::from_secs(10);

/// A client that is made when it is needed, and made again when the engine has been away: it may have come back as
/// another version.
pub(crate) struct Engine {
    socket: PathBuf,
    client: Mutex<Option<Docker>>,
}

/// A call of the engine failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No answer.
    Unreachable(String),
    /// The engine's answer is an error.
    Answer { status: u16, text: String },
    /// Its answer makes no sense.
    Odd(String),
}

impl Engine {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket, client: Mutex::new(None) }
    }

    pub(crate) async fn client(&self) -> Result<Docker, Fault> {
        let mut slot = self.client.lock().await;
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let path = self
            .socket
            .to_str()
            .ok_or_else(|| Fault::Unreachable(format!("the socket's path {:?} is not UTF-8", self.socket)))?;
        let client = Docker::connect_with_unix(path, ANSWER.as_secs(), API_DEFAULT_VERSION)?;
        let client = tokio::time::timeout(HELLO, client.negotiate_version())
            .await
            .map_err(|_| Fault::Unreachable(format!("no answer within {} s", HELLO.as_secs())))??;
        Ok(slot.insert(client).clone())
    }

    /// Makes a call. After one that finds nobody the next begins anew.
    pub(crate) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(Docker) -> Result<T, Error>,
    ) -> Result<T, Fault> {
        let client = self.client().await?;
        match call(client).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let fault = Fault::from(error);
                if matches!(fault, Fault::Unreachable(_)) {
                    self.forget().await;
                }
                Err(fault)
            }
        }
    }

    pub(crate) async fn forget(&self) {
        *self.client.lock().await = None;
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) const fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            Self::Unreachable(_) | Self::Odd(_) => None,
        }
    }

    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self.status(), Some(404))
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Unreachable(text) | Self::Odd(text) | Self::Answer { text, .. } => reason::clean(text),
        }
    }

    /// What it means for the call `action` on a node.
    pub(crate) fn at(self, key: &NodeKey, action: &'static str) -> RuntimeError {
        let detail = self.text();
        match self {
            Self::Unreachable(_) => RuntimeError::Unreachable { engine: NAME, detail },
            Self::Odd(_) => RuntimeError::Failed { key: *key, action, detail },
            Self::Answer { status, text } => match reason::of_node(status, &text) {
                reason::Verdict::Refused(detail) => RuntimeError::Refused { key: *key, detail },
                reason::Verdict::Failed(detail) => RuntimeError::Failed { key: *key, action, detail },
            },
        }
    }

    /// What it means where no node is concerned. The contract has no word for an engine that answers nonsense; like
    /// one that does not answer, it is tried again.
    pub(crate) fn anywhere(self) -> RuntimeError {
        RuntimeError::Unreachable { engine: NAME, detail: self.text() }
    }

    /// What it means for an image that should be on the host.
    pub(crate) fn of_image(self, name: &ImageName) -> ImageError {
        let detail = self.text();
        match self {
            Self::Unreachable(_) => ImageError::Unreachable { engine: NAME, detail },
            Self::Odd(_) => ImageError::NotFound { name: name.clone(), detail },
            Self::Answer { .. } => reason::of_pull(name, &detail),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::Answer { status: status_code, text: message }
            }
            Error::DockerStreamError { error } => Self::Answer { status: 500, text: error },
            Error::SocketNotFoundError(path) => Self::Unreachable(format!("there is no socket {path}")),
            Error::RequestTimeoutError => {
                Self::Unreachable(format!("no answer within {} s", ANSWER.as_secs()))
            }
            Error::IOError { .. } | Error::HyperResponseError { .. } | Error::HyperLegacyError { .. } => {
                Self::Unreachable(chain(&error))
            }
            other => Self::Odd(chain(&other)),
        }
    }
}

/// An error with its causes. bollard's texts end before the cause that tells something.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_socket_the_engine_is_unreachable() {
        let engine = Engine::new("/nonexistent/docker.sock".into());
        let fault = engine.call(async |docker| docker.ping().await).await.unwrap_err();
        assert_eq!(fault, Fault::Unreachable("there is no socket /nonexistent/docker.sock".to_owned()));
    }

    #[tokio::test]
    async fn a_socket_that_nobody_serves_is_unreachable_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let fault = Engine::new(path).call(async |docker| docker.ping().await).await.unwrap_err();
        assert!(matches!(&fault, Fault::Unreachable(text) if text.contains("refused")), "{fault:?}");
    }
}

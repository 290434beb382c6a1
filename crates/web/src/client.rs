//! The other end of the local socket.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, TE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::api::{self, Problem};
use crate::peer::ACT_AS;

/// The longest answer that is read: a slice of ten thousand nodes has a few tens of megabytes.
const LONGEST: usize = 256 << 20;

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens, or this user may not connect.
    #[error("{path}: {source}")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The testbed refused.
    #[error("{}", .0.error)]
    Refused(Problem),
    /// The connection broke, or its other end is no testbed.
    #[error("the testbed does not answer as it should: {0}")]
    Broken(String),
}

/// Calls a testbed over its local socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    act_as: Option<String>,
}

/// A stream of lines of JSON.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Client {
    /// For a socket. An operator acts as `act_as`, if that is given.
    #[must_use]
    pub const fn new(socket: PathBuf, act_as: Option<String>) -> Self {
        Self { socket, act_as }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The testbed, and who the caller is there.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn testbed(&self) -> Result<api::Testbed, ClientError> {
        self.get("/v1/testbed").await
    }

    /// The hosts, for operators.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn hosts(&self) -> Result<Vec<api::HostReport>, ClientError> {
        self.get("/v1/hosts").await
    }

    /// A token for a host.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn invite_host(&self, host: &str) -> Result<api::Invitation, ClientError> {
        self.send(Method::POST, &of_host(host, "/invitation"), &()).await
    }

    /// A host gets no more nodes, or may get them again.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn drain_host(&self, host: &str, drained: bool) -> Result<bool, ClientError> {
        let method = if drained { Method::POST } else { Method::DELETE };
        self.send(method, &of_host(host, "/drain"), &()).await
    }

    /// A host is no more; one that is lost takes what is on it with it.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn remove_host(&self, host: &str, lost: bool) -> Result<api::Removed, ClientError> {
        self.send(Method::DELETE, &of_host(host, &format!("?lost={lost}")), &()).await
    }

    /// Who did what, newest first, for operators.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn audit(&self, query: &api::AuditQuery) -> Result<Vec<api::Audited>, ClientError> {
        let pairs = serde_json::to_value(query).map_err(|error| ClientError::Broken(error.to_string()))?;
        let mut text = String::from("/v1/audit");
        for (number, (name, value)) in pairs.as_object().into_iter().flatten().enumerate() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text += &format!("{}{name}={}", if number == 0 { '?' } else { '&' }, encoded(&value));
        }
        self.get(&text).await
    }

    /// The testbed begins anew, with a store that was restored.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn reopen(&self) -> Result<bool, ClientError> {
        self.send(Method::POST, "/v1/reopen", &()).await
    }

    /// The caller's slices.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn slices(&self) -> Result<Vec<api::Brief>, ClientError> {
        self.get("/v1/slices").await
    }

    /// A slice.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn slice(&self, name: &str) -> Result<api::Slice, ClientError> {
        self.get(&at(name, "")).await
    }

    /// Has a slice be what a topology says.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn update(&self, name: &str, update: &api::Update) -> Result<api::Slice, ClientError> {
        self.send(Method::PUT, &at(name, ""), update).await
    }

    /// What an update would come to.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn outlook(&self, name: &str, update: &api::Update) -> Result<api::OutlookRead, ClientError> {
        self.send(Method::POST, &at(name, "/outlook"), update).await
    }

    /// What runs of a slice, as a plan.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn plan(&self, name: &str) -> Result<testyard_plan::Plan, ClientError> {
        self.get(&at(name, "/plan")).await
    }

    /// The images that a slice has had made of URLs.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn images(&self, name: &str) -> Result<Vec<api::Image>, ClientError> {
        self.get(&at(name, "/images")).await
    }

    /// Takes a slice away.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn delete(&self, name: &str) -> Result<api::Slice, ClientError> {
        self.call(Method::DELETE, &at(name, ""), Bytes::new()).await
    }

    /// Waits until hosts have removed everything of a slice that was deleted; whether they have, or the testbed has ended.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn removed(&self, name: &str) -> Result<bool, ClientError> {
        self.get(&at(name, "/removed")).await
    }

    /// Acts on nodes.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn act(&self, name: &str, act: &api::Act) -> Result<api::Slice, ClientError> {
        self.send(Method::POST, &at(name, "/actions"), act).await
    }

    /// Moves the end of a slice.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn renew(&self, name: &str, renew: &api::Renew) -> Result<api::Slice, ClientError> {
        self.send(Method::POST, &at(name, "/renew"), renew).await
    }

    /// Changes a link while it runs.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn change_link(
        &self,
        name: &str,
        link: &str,
        change: &api::ChangeLink,
    ) -> Result<api::Slice, ClientError> {
        self.send(Method::POST, &at(name, &format!("/links/{}", encoded(link))), change).await
    }

    /// Has a slice's schedule begin anew.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn replay(&self, name: &str) -> Result<api::Slice, ClientError> {
        self.call(Method::POST, &at(name, "/replay"), Bytes::new()).await
    }

    /// Stops a slice and closes it to its users; whether nothing of it runs any more.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn shut_down(&self, name: &str) -> Result<bool, ClientError> {
        self.call(Method::POST, &at(name, "/shutdown"), Bytes::new()).await
    }

    /// Lets a slice that was shut down be used again; whether it was.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn lift_shutdown(&self, name: &str) -> Result<bool, ClientError> {
        self.call(Method::DELETE, &at(name, "/shutdown"), Bytes::new()).await
    }

    /// What happens from now on: to one slice, or to all of the caller's.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn events(&self, slice: Option<&str>) -> Result<Lines, ClientError> {
        let path = slice.map_or_else(|| "/v1/events".to_owned(), |slice| at(slice, "/events"));
        let response = self.answer(Method::GET, &path, Bytes::new()).await?;
        Ok(Lines { body: response.into_body(), buffer: Vec::new() })
    }

    /// Measures what the links of a slice really do: lines of [`api::Verified`].
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn verify(&self, name: &str, verify: &api::Verify) -> Result<Lines, ClientError> {
        let body = Bytes::from(serde_json::to_vec(verify).map_err(broken)?);
        let response = self.answer(Method::POST, &at(name, "/verify"), body).await?;
        Ok(Lines { body: response.into_body(), buffer: Vec::new() })
    }

    /// The newest report of a slice.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn report(&self, name: &str) -> Result<api::KeptReport, ClientError> {
        self.get(&at(name, "/report")).await
    }

    /// Captures at a link of a slice, or at all: pcapng, until the answer is dropped.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn capture(
        &self,
        slice: &str,
        link: Option<&str>,
        bytes: Option<u32>,
        filter: Option<&str>,
    ) -> Result<Blocks, ClientError> {
        let mut query: Vec<String> = Vec::new();
        query.extend(link.map(|link| format!("link={}", encoded(link))));
        query.extend(bytes.map(|bytes| format!("bytes={bytes}")));
        query.extend(filter.map(|filter| format!("filter={}", encoded(filter))));
        let path = at(slice, &format!("/capture?{}", query.join("&")));
        Ok(Blocks { body: self.answer(Method::GET, &path, Bytes::new()).await?.into_body(), end: None })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(broken)?;
        self.call(method, path, Bytes::from(body)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let response = self.answer(method, path, body).await?;
        serde_json::from_slice(&whole(response).await?).map_err(broken)
    }

    /// The answer, if it is none of refusal.
    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Connect { path: self.socket.clone(), source })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the answer's body.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "testyard")
            .header(TE, "trailers")
            .header(CONTENT_TYPE, "application/json");
        if let Some(name) = &self.act_as {
            request = request.header(ACT_AS, name);
        }
        let request = request.body(Full::new(body)).map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = whole(response).await?;
        Err(serde_json::from_slice(&text).map_or_else(|_| unexpected(status, &text), ClientError::Refused))
    }
}

/// Bytes as they come.
#[derive(Debug)]
pub struct Blocks {
    body: Incoming,
    end: Option<api::CaptureEnd>,
}

impl Blocks {
    /// The next bytes; none when the testbed has ended it.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let trailers = match frame.map_err(broken)?.into_data() {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(frame) => frame.into_trailers().unwrap_or_default(),
            };
            if let Some(end) = trailers.get(api::CAPTURE_END) {
                self.end = Some(serde_json::from_slice(end.as_bytes()).map_err(broken)?);
            }
        }
    }

    /// How it ended, as far as the testbed has said so.
    #[must_use]
    pub const fn end(&self) -> Option<&api::CaptureEnd> {
        self.end.as_ref()
    }
}

impl Lines {
    /// The next line; none when the testbed has ended.
    ///
    /// # Errors
    /// [`ClientError::Broken`]
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).map(Some).map_err(broken);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => self.buffer.extend(frame.map_err(broken)?.data_ref().into_iter().flatten()),
            }
            if self.buffer.len() > LONGEST {
                return Err(broken("a line without an end"));
            }
        }
    }
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), LONGEST).collect().await.map_err(broken)?;
    Ok(body.to_bytes())
}

fn unexpected(status: StatusCode, text: &[u8]) -> ClientError {
    let text: String = String::from_utf8_lossy(text).chars().take(200).collect();
    broken(format!("{status} {text}"))
}

fn broken(error: impl std::fmt::Display) -> ClientError {
    ClientError::Broken(error.to_string())
}

/// The path of a slice, or of something of it.
fn at(slice: &str, rest: &str) -> String {
    format!("/v1/slices/{}{rest}", encoded(slice))
}

fn of_host(host: &str, rest: &str) -> String {
    format!("/v1/hosts/{}{rest}", encoded(host))
}

/// A text as one part of a path (RFC 3986).
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut path = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

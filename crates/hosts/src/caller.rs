//! The agent's end: comes in, and stays in.

use std::pin::Pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use openssl::error::ErrorStack;
use openssl::ssl::SslConnector;
use serde::{Deserialize, Serialize};
use testyard_agent::remote::{ConnectionError, hear, say};
use testyard_trust::issuer::{CONTROLLER, HostRequest, Identity, IssueError};
use testyard_trust::key::KeyError;
use testyard_trust::{Certificate, PrivateKey};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_openssl::SslStream;

use crate::message::{Answered, Opening};
use crate::tls;
use crate::token::Token;

/// Connecting and being answered take no longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an agent keeps: who it is, and whom it believes. It is a secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Membership {
    /// Where its controller is: `HOST:PORT`.
    pub controller: String,
    /// The testbed's authority over hosts, PEM.
    pub authority: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    pub key: String,
}

/// Why an agent is not in.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers there.
    #[error("the controller at {controller} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        controller: String,
        /// Why.
        reason: String,
    },
    /// Whoever answers is not the controller that the token was made by.
    #[error(
        "whoever answers at {controller} is not the controller that made the token: check the address, or whether somebody is in between"
    )]
    Stranger {
        /// Where.
        controller: String,
    },
    /// TLS failed: mostly the controller's certificate is not of the authority that the agent knows.
    #[error("no secure connection to {controller}: {reason}")]
    Tls {
        /// Where.
        controller: String,
        /// OpenSSL's words.
        reason: String,
    },
    /// The controller has refused, in its words.
    #[error("{0}")]
    Refused(String),
    /// The conversation broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The controller has said what makes no sense.
    #[error("the controller has given an answer that does not fit the question")]
    Strange,
    /// What the agent keeps cannot be used.
    #[error("the agent's own records cannot be used: {0}")]
    Records(String),
}

impl From<IssueError> for CallError {
    fn from(error: IssueError) -> Self {
        Self::Records(error.to_string())
    }
}

impl From<KeyError> for CallError {
    fn from(error: KeyError) -> Self {
        Self::Records(error.to_string())
    }
}

impl From<ErrorStack> for CallError {
    fn from(error: ErrorStack) -> Self {
        Self::Records(error.to_string())
    }
}

/// A first certificate, for a token. Again with the same key and token it is given again, for those who have not heard the answer.
///
/// # Errors
/// [`CallError`].
pub async fn enrol(controller: &str, token: &Token, key: &PrivateKey) -> Result<Membership, CallError> {
    // Who shows the authority that the token names may still be anybody; who then speaks for it is not.
    let looking = open(controller, &tls::looker()?, false).await?;
    let shown = tls::shown(looking.ssl(), token.authority());
    let authority = shown.ok_or_else(|| CallError::Stranger { controller: controller.to_owned() })?;
    drop(looking);
    let mut stream = open(controller, &tls::connector(&authority, None)?, true).await?;
    let opening = Opening::Enrol {
        host: token.host().clone(),
        secret: STANDARD.encode(token.secret()),
        request: STANDARD.encode(HostRequest::make(key)?),
    };
    let certificate = given(ask(&mut stream, &opening).await?)?;
    Membership::new(controller, &authority, certificate, key)
}

/// The next certificate, for another key.
///
/// # Errors
/// [`CallError`].
pub async fn renew(membership: &Membership, key: &PrivateKey) -> Result<Membership, CallError> {
    let mut stream = come_in(membership).await?;
    let request = STANDARD.encode(HostRequest::make(key)?);
    let certificate = given(ask(&mut stream, &Opening::Renew { request }).await?)?;
    Membership::new(&membership.controller, &membership.authority()?, certificate, key)
}

/// A stream over which the controller is served, by [`testyard_agent::remote::serve`].
///
/// # Errors
/// [`CallError`].
pub async fn connect(membership: &Membership) -> Result<SslStream<TcpStream>, CallError> {
    let mut stream = come_in(membership).await?;
    match ask(&mut stream, &Opening::Serve).await? {
        Answered::Go => Ok(stream),
        Answered::Refused(reason) => Err(CallError::Refused(reason)),
        Answered::Certificate(_) => Err(CallError::Strange),
    }
}

impl Membership {
    fn new(
        controller: &str,
        authority: &Certificate,
        certificate: String,
        key: &PrivateKey,
    ) -> Result<Self, CallError> {
        let key = String::from_utf8(key.to_pem()?).map_err(|_| CallError::Strange)?;
        let membership =
            Self { controller: controller.to_owned(), authority: authority.to_pem(), certificate, key };
        // A certificate of another key is good for nothing.
        membership.identity()?;
        Ok(membership)
    }

    /// When to ask for the next certificate: after two thirds of the time of this one.
    ///
    /// # Errors
    /// [`CallError::Records`] if it cannot be read.
    pub fn renew_at(&self) -> Result<Timestamp, CallError> {
        let identity = self.identity()?;
        let (from, until) = (identity.certificate().not_before(), identity.certificate().not_after());
        Ok(from + until.duration_since(from) * 2 / 3)
    }

    /// Whether it is of the testbed that made this token.
    ///
    /// # Errors
    /// [`CallError::Records`] if it cannot be read.
    pub fn is_of(&self, token: &Token) -> Result<bool, CallError> {
        Ok(self.authority()?.fingerprint() == token.authority())
    }

    fn identity(&self) -> Result<Identity, CallError> {
        Ok(Identity::from_pem(self.certificate.as_bytes(), self.key.as_bytes())?)
    }

    fn authority(&self) -> Result<Certificate, CallError> {
        let certificates = Certificate::from_pem(self.authority.as_bytes());
        let certificates = certificates.map_err(|error| CallError::Records(error.to_string()))?;
        certificates.into_iter().next().ok_or_else(|| CallError::Records("there is no authority".to_owned()))
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("controller", &self.controller).finish_non_exhaustive()
    }
}

async fn come_in(membership: &Membership) -> Result<SslStream<TcpStream>, CallError> {
    let connector = tls::connector(&membership.authority()?, Some(&membership.identity()?))?;
    open(&membership.controller, &connector, true).await
}

async fn open(
    controller: &str,
    connector: &SslConnector,
    verify: bool,
) -> Result<SslStream<TcpStream>, CallError> {
    let unreachable = |reason: String| CallError::Unreachable { controller: controller.to_owned(), reason };
    let tls = |reason: String| CallError::Tls { controller: controller.to_owned(), reason };
    let stream = timeout(PATIENCE, TcpStream::connect(controller)).await;
    let stream = stream.map_err(|_| unreachable("nobody answers".to_owned()))?;
    let stream = stream.map_err(|error| unreachable(error.to_string()))?;
    let _ = stream.set_nodelay(true);
    let ssl = connector.configure()?.verify_hostname(verify).into_ssl(CONTROLLER)?;
    let mut stream = SslStream::new(ssl, stream)?;
    let shaken = timeout(PATIENCE, Pin::new(&mut stream).connect()).await;
    shaken.map_err(|_| tls("nobody answers".to_owned()))?.map_err(|error| tls(error.to_string()))?;
    Ok(stream)
}

async fn ask(stream: &mut SslStream<TcpStream>, opening: &Opening) -> Result<Answered, CallError> {
    say(stream, opening).await?;
    Ok(hear(stream).await?)
}

fn given(answered: Answered) -> Result<String, CallError> {
    match answered {
        Answered::Certificate(pem) => Ok(pem),
        Answered::Refused(reason) => Err(CallError::Refused(reason)),
        Answered::Go => Err(CallError::Strange),
    }
}

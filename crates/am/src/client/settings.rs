//! Whom to call, as whom, and how patiently.

use std::fmt;
use std::time::Duration;

/// Whom to call, as whom, and how patiently.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// `https://host:port/path`.
    pub url: String,
    /// The client's certificate and key, if it has one.
    pub identity: Option<Identity>,
    /// How the server proves who it is.
    pub server: ServerTrust,
    /// Until a connection is there.
    pub connect_timeout: Duration,
    /// Until an answer is there.
    pub call_timeout: Duration,
    /// How often a call is made again when the aggregate says that it is busy.
    pub busy_retries: u32,
    /// How long to wait before that.
    pub busy_pause: Duration,
}

/// A client's certificate and key. Both may be one file's content.
#[derive(Clone)]
pub struct Identity {
    /// PEM: the client's own certificate first, then its issuers.
    pub certificates: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
    /// What the key is encrypted with, if it is.
    pub passphrase: Option<String>,
}

/// How a server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerTrust {
    /// By a certificate of one of the system's authorities, for the name in the URL.
    System,
    /// By a certificate of one of these authorities (PEM) for the name in the URL, or by one of these very
    /// certificates, whatever name it has.
    Certificates(Vec<u8>),
    /// By the very certificate with this SHA-256 fingerprint.
    Fingerprint([u8; 32]),
    /// Not at all. Whoever is in between can read and change everything.
    Anything,
}

impl ClientSettings {
    /// A client without a certificate, for a server that the system trusts.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            identity: None,
            server: ServerTrust::System,
            connect_timeout: Duration::from_secs(20),
            call_timeout: Duration::from_secs(300),
            busy_retries: 0,
            busy_pause: Duration::from_secs(20),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

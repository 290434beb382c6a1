//! Why a call brought nothing.

use crate::code::GeniCode;
use crate::xmlrpc::{Fault, ReadError, Value};

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used.
    #[error("{url:?} is not the URL of an aggregate: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// Why not.
        reason: &'static str,
    },
    /// The certificate or the key cannot be used.
    #[error("{0}")]
    Identity(String),
    /// The server cannot be reached.
    #[error("cannot connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// TLS was not agreed on, or the server is not whom it should be.
    #[error("no TLS connection with {address}: {reason}")]
    Tls {
        /// Host and port.
        address: String,
        /// Why.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection with {address} broke")]
    Broken {
        /// Host and port.
        address: String,
        /// Why.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{address} has not answered within {seconds} s")]
    TimedOut {
        /// Host and port.
        address: String,
        /// The time that was given.
        seconds: u64,
    },
    /// HTTP said no.
    #[error("{address} answered with HTTP status {status}: {text}")]
    Http {
        /// Host and port.
        address: String,
        /// The status.
        status: u16,
        /// The beginning of the body.
        text: String,
    },
    /// The answer is too large, or not XML-RPC.
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] ReadError),
    /// The answer is larger than any should be.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    /// The server's XML-RPC layer refused.
    #[error("{method}: {fault}")]
    Fault {
        /// The method.
        method: &'static str,
        /// What it said.
        fault: Fault,
    },
    /// The aggregate refused.
    #[error("{method}: {}: {output}", code_name(*.code))]
    Refused {
        /// The method.
        method: &'static str,
        /// `geni_code`.
        code: i64,
        /// `am_type` and `am_code`, if they were given.
        am_code: Option<(String, i64)>,
        /// What the aggregate says about it.
        output: String,
        /// The value that came with it.
        value: Box<Value>,
    },
    /// The answer is not what the API promises.
    #[error("the answer to {method} is not as the API says: {what}")]
    Shape {
        /// The method.
        method: &'static str,
        /// What is wrong.
        what: &'static str,
    },
}

impl ClientError {
    pub(super) fn shape(method: &'static str, what: &'static str) -> Self {
        Self::Shape { method, what }
    }

    /// The aggregate's code, if it was the aggregate who refused.
    #[must_use]
    pub fn code(&self) -> Option<GeniCode> {
        match self {
            Self::Refused { code, .. } => GeniCode::from_number(*code),
            _ => None,
        }
    }
}

fn code_name(code: i64) -> String {
    GeniCode::from_number(code).map_or_else(|| format!("code {code}"), |code| code.to_string())
}

//! A client for any aggregate that speaks the GENI AM API v3.
//!
//! It is strict in what it sends and lenient in what it takes: aggregates differ in whether numbers are numbers,
//! whether `value` is there on errors, and whether what was asked for in compressed form is compressed.

mod connection;
mod error;
mod options;
mod settings;
mod types;

pub use error::ClientError;
pub use options::{CallOptions, UserKeys};
pub use settings::{ClientSettings, Identity, ServerTrust};
pub use types::{RspecVersion, ServiceStatus, Sliver, Slivers, TimelineEntry, Version};

use testyard_trust::PassedCredential;

use crate::code::GeniCode;
use crate::render::decompress;
use crate::xmlrpc::{Call, Value};
use connection::Connection;
use types::{Envelope, slivers_of};

/// A client of one aggregate. Calls of one client queue up behind each other on one connection.
#[derive(Debug)]
pub struct AmClient {
    connection: Connection,
    settings: ClientSettings,
}

impl AmClient {
    /// A client; nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError`] if the URL, the certificate or the key cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        Ok(Self { connection: Connection::new(&settings)?, settings })
    }

    /// What the aggregate speaks. Needs neither certificate nor credential at most aggregates.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get_version(&self) -> Result<Version, ClientError> {
        self.call("GetVersion", Vec::new()).await.map(|value| Version::of(&value))
    }

    /// The advertisement.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list_resources(
        &self,
        credentials: &[PassedCredential],
        options: &CallOptions,
    ) -> Result<String, ClientError> {
        let arguments = vec![passed(credentials), options.with_rspec_version()];
        let value = self.call("ListResources", arguments).await?;
        plain(&value, options).ok_or_else(|| ClientError::shape("ListResources", "the value is not a string"))
    }

    /// The manifest of slivers, and how they are.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn describe(
        &self,
        urns: &[String],
        credentials: &[PassedCredential],
        options: &CallOptions,
    ) -> Result<Slivers, ClientError> {
        let arguments = vec![texts(urns), passed(credentials), options.with_rspec_version()];
        let value = self.call("Describe", arguments).await?;
        let mut slivers = slivers_of("Describe", &value)?;
        slivers.rspec = value.get("geni_rspec").and_then(|rspec| plain(rspec, options));
        Ok(slivers)
    }

    /// Reserves what a request asks for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn allocate(
        &self,
        slice: &str,
        credentials: &[PassedCredential],
        rspec: &str,
        options: &CallOptions,
    ) -> Result<Slivers, ClientError> {
        let arguments = vec![Value::from(slice), passed(credentials), Value::from(rspec), options.to_value()];
        slivers_of("Allocate", &self.call("Allocate", arguments).await?)
    }

    /// Takes what is reserved.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn provision(
        &self,
        urns: &[String],
        credentials: &[PassedCredential],
        options: &CallOptions,
    ) -> Result<Slivers, ClientError> {
        let arguments = vec![texts(urns), passed(credentials), options.with_rspec_version()];
        slivers_of("Provision", &self.call("Provision", arguments).await?)
    }

    /// How slivers are.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(
        &self,
        urns: &[String],
        credentials: &[PassedCredential],
        options: &CallOptions,
    ) -> Result<Slivers, ClientError> {
        let arguments = vec![texts(urns), passed(credentials), options.to_value()];
        slivers_of("Status", &self.call("Status", arguments).await?)
    }

    /// Acts on slivers: `geni_start`, `geni_stop`, `geni_restart`, or an action of the aggregate's own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn perform(
        &self,
        urns: &[String],
        credentials: &[PassedCredential],
        action: &str,
        options: &CallOptions,
    ) -> Result<Slivers, ClientError> {
        let method = "PerformOperationalAction";
        let arguments = vec![texts(urns), passed(credentials), Value::from(action), options.to_value()];
        slivers_of(method, &self.call(method, arguments).await?)
    }

    /// Moves the end of slivers to a time in RFC 3339.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn renew(
        &self,
        urns: &[String],
        credentials: &[PassedCredential],
        end: &str,
        options: &CallOptions,
    ) -> Result<Slivers, ClientError> {
        let arguments = vec![texts(urns), passed(credentials), Value::from(end), options.to_value()];
        slivers_of("Renew", &self.call("Renew", arguments).await?)
    }

    /// Gives slivers back.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete(
        &self,
        urns: &[String],
        credentials: &[PassedCredential],
        options: &CallOptions,
    ) -> Result<Slivers, ClientError> {
        let arguments = vec![texts(urns), passed(credentials), options.to_value()];
        slivers_of("Delete", &self.call("Delete", arguments).await?)
    }

    /// Stops a slice and closes it to its users; `false` if something of it still runs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn shutdown(
        &self,
        slice: &str,
        credentials: &[PassedCredential],
        options: &CallOptions,
    ) -> Result<bool, ClientError> {
        let arguments = vec![Value::from(slice), passed(credentials), options.to_value()];
        let value = self.call("Shutdown", arguments).await?;
        value.as_bool().ok_or_else(|| ClientError::shape("Shutdown", "the value is not a boolean"))
    }

    /// Calls any method, and gives the `value` of its success. Waits and calls again when the aggregate is busy, as
    /// often as the settings say.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call(&self, method: &'static str, arguments: Vec<Value>) -> Result<Value, ClientError> {
        let call = Call { method: method.to_owned(), arguments };
        let mut left = self.settings.busy_retries;
        loop {
            let reply =
                self.connection.call(&call).await?.map_err(|fault| ClientError::Fault { method, fault })?;
            let envelope = Envelope::of(method, reply)?;
            if envelope.code == 0 {
                return Ok(envelope.value);
            }
            if envelope.code != i64::from(GeniCode::Busy.number()) || left == 0 {
                return Err(envelope.refusal(method));
            }
            left -= 1;
            tokio::time::sleep(self.settings.busy_pause).await;
        }
    }
}

/// The text of an RSpec, unpacked if it was asked for in compressed form and came in it.
fn plain(value: &Value, options: &CallOptions) -> Option<String> {
    let text = value.as_str()?;
    Some(match options.compressed {
        true => decompress(text).unwrap_or_else(|_| text.to_owned()),
        false => text.to_owned(),
    })
}

fn texts(urns: &[String]) -> Value {
    Value::texts(urns.iter().map(String::as_str))
}

/// Credentials as version 3 passes them. A file that is not text goes as U+FFFD where it is not: it cannot be valid.
fn passed(credentials: &[PassedCredential]) -> Value {
    let one = |credential: &PassedCredential| {
        Value::members([
            ("geni_type", Value::text(credential.kind.as_str())),
            ("geni_version", Value::text(credential.version.as_str())),
            ("geni_value", Value::text(String::from_utf8_lossy(&credential.value))),
        ])
    };
    Value::Array(credentials.iter().map(one).collect())
}

//! What is said at the door, before the host contract: one message each way.

use serde::{Deserialize, Serialize};
use testyard_model::id::HostName;

/// What an agent wants.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", content = "value", rename_all = "snake_case")]
pub enum Opening {
    /// A first certificate, for a token. It shows none of its own.
    Enrol {
        /// Who it is.
        host: HostName,
        /// The token's secret, base64.
        secret: String,
        /// A certificate request, DER in base64.
        request: String,
    },
    /// Its next certificate.
    Renew {
        /// A certificate request, DER in base64.
        request: String,
    },
    /// To be told what should be on it.
    Serve,
}

/// What the controller says to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", content = "value", rename_all = "snake_case")]
pub enum Answered {
    /// The certificate, PEM.
    Certificate(String),
    /// Go on.
    Go,
    /// No, for this reason, in a sentence for people.
    Refused(String),
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Enrol { host, .. } => f.debug_struct("Enrol").field("host", host).finish_non_exhaustive(),
            Self::Renew { .. } => f.write_str("Renew { .. }"),
            Self::Serve => f.write_str("Serve"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;

    fn stays<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &T, text: &str) {
        assert_eq!(serde_json::to_string(message).unwrap(), text);
        assert_eq!(&serde_json::from_str::<T>(text).unwrap(), message);
    }

    #[test]
    fn what_was_said_once_is_read_for_ever() {
        let enrol = Opening::Enrol {
            host: "h1".parse().unwrap(),
            secret: "c2VjcmV0".into(),
            request: "cmVxdWVzdA==".into(),
        };
        stays(
            &enrol,
            r#"{"say":"enrol","value":{"host":"h1","secret":"c2VjcmV0","request":"cmVxdWVzdA=="}}"#,
        );
        assert_eq!(format!("{enrol:?}"), r#"Enrol { host: HostName("h1"), .. }"#, "no secret is shown");
        let renew = Opening::Renew { request: "cmVxdWVzdA==".into() };
        stays(&renew, r#"{"say":"renew","value":{"request":"cmVxdWVzdA=="}}"#);
        stays(&Opening::Serve, r#"{"say":"serve"}"#);
        stays(&Answered::Certificate("PEM".into()), r#"{"say":"certificate","value":"PEM"}"#);
        stays(&Answered::Go, r#"{"say":"go"}"#);
        stays(&Answered::Refused("no".into()), r#"{"say":"refused","value":"no"}"#);
    }
}

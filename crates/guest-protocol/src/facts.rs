//! What programs in a node may know about it: small facts come with the desired state, large or changing ones are asked
//! for.
//!
//! ```text
//! guest ◄── Desired { facts: { …, asks: ["manifest", "status", …] } } ── agent
//! guest ── Ask { id, what: "manifest" } ──► agent                    only what `asks` names
//! guest ◄── Told { id, answer } ─────────── agent
//! ```
//!
//! An agent that knows nothing of this sends no `facts`, and is never asked; a guest that knows nothing of it reads over
//! them. Nothing here is a secret: every user of the node may see it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The longest [`Ask::what`] that an agent reads, in bytes.
pub const MAX_WHAT: usize = 64;

/// The longest answer in bytes. As JSON it still fits a message, also if every fifth byte is a quotation mark.
pub const MAX_ANSWER: usize = 3 << 20;

/// What a node may know about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The user's name of the node.
    pub client_id: String,
    /// The URN of its slice.
    pub slice_urn: String,
    /// Its own URN.
    pub sliver_urn: String,
    /// The URN of who made the slice.
    pub user_urn: String,
    /// Whose accounts it has.
    #[serde(default)]
    pub users: Vec<FactUser>,
    /// Addresses of its control interface.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// What the agent answers when it is asked for it.
    #[serde(default)]
    pub asks: Vec<String>,
}

/// Whose an account is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactUser {
    /// The account.
    pub login: String,
    /// The URN of its user.
    pub urn: String,
}

/// A question of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The guest's number of it, which the answer brings back.
    pub id: u64,
    /// One of [`Facts::asks`].
    pub what: String,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// [`Ask::id`].
    pub id: u64,
    /// The answer.
    pub answer: Answer,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The fact, at most [`MAX_ANSWER`] bytes.
    Text(String),
    /// There is none, for this reason, in a sentence for people.
    Refused(String),
}

impl Answer {
    /// The same, or a refusal if it is longer than a message can hold.
    #[must_use]
    pub fn bounded(self) -> Self {
        match self {
            Self::Text(text) if text.len() > MAX_ANSWER || written(&text) > crate::MAX_MESSAGE - 256 => {
                Self::Refused(format!(
                    "the answer has {} bytes, and nodes are told at most {MAX_ANSWER}",
                    text.len()
                ))
            }
            Self::Refused(reason) => Self::Refused(reason.chars().take(500).collect()),
            text => text,
        }
    }
}

/// The length of a text as JSON.
fn written(text: &str) -> usize {
    let of = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
        0..=31 => 6,
        _ => 1,
    };
    2 + text.bytes().map(of).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Desired, FromGuest, ToGuest, decode, encode};

    #[test]
    fn old_and_new_understand_each_other() {
        let new = Desired {
            facts: Some(Facts { asks: vec!["status".into()], ..Facts::default() }),
            ..Desired::default()
        };
        let mut old = serde_json::to_value(&new).unwrap();
        old.as_object_mut().unwrap().remove("facts").unwrap();
        let read: Desired = serde_json::from_value(old).unwrap();
        assert_eq!(read, Desired::default(), "an old agent tells no facts, so it is never asked");
        let later = r#"{"say":"ask","value":{"id":7,"what":"status","since":3}}"#;
        let ask = FromGuest::Ask(Ask { id: 7, what: "status".into() });
        assert_eq!(decode::<FromGuest>(later.as_bytes()).unwrap(), ask);
    }

    #[test]
    fn every_answer_fits_a_message() {
        let texts = [
            "x".repeat(MAX_ANSWER),
            "\"".repeat(MAX_ANSWER),
            "\u{1}".repeat(1 << 20),
            "é\n".repeat((1 << 20) - 1000),
        ];
        let kept = texts.map(|text| {
            let answer = Answer::Text(text).bounded();
            let told = ToGuest::Told(Told { id: u64::MAX, answer: answer.clone() });
            assert!(encode(&told).is_ok());
            matches!(answer, Answer::Text(_))
        });
        assert_eq!(kept, [true, false, false, true]);
        assert!(matches!(Answer::Text("x".repeat(MAX_ANSWER + 1)).bounded(), Answer::Refused(_)));
        assert_eq!(Answer::Refused("é".repeat(9999)).bounded(), Answer::Refused("é".repeat(500)));
    }

    #[test]
    fn the_length_as_json_is_what_json_makes_of_it() {
        for text in ["", "plain", "\"\\\n\r\t\u{8}\u{c}", "\u{0}\u{1f}\u{7f}", "é€😀/"] {
            assert_eq!(written(text), serde_json::to_string(text).unwrap().len(), "{text:?}");
        }
    }
}

//! What is said over the control socket: JSON, each message behind its length (4 bytes, big-endian).
//!
//! The wire speaks first, with [`Answer::Hello`]; the client answers with [`Request::Hello`]. Then each request has one
//! answer, in order.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use testyard_model::setting::Setting;

use crate::emulator::Counts;
use crate::pipe::{Desired, Direction, PipeName};

/// The version of this protocol.
pub const VERSION: u32 = 1;
/// The longest message: some ten thousand pipes.
pub const LONGEST_MESSAGE: usize = 16 << 20;
/// The most changes of one request.
pub const MOST_CHANGES: usize = 10_000;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Which version the client speaks.
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// Be this.
    Apply(Desired),
    /// Change these, in order; all or none.
    Change(Vec<Change>),
    /// Take up what has appeared, now.
    Look,
    /// What is?
    Observe,
    /// End.
    Stop,
}

/// A change of one pipe. It lasts until the next state is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Which.
    pub pipe: PipeName,
    /// What of it.
    pub to: Alteration,
}

/// What is changed of a pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Alteration {
    /// Whether anything gets through.
    Up(bool),
    /// All that one direction does.
    Direction {
        /// 0 or 1.
        direction: usize,
        /// What it does from now on.
        does: Direction,
    },
    /// Some of what one stage does; a stage that is not there does nothing until now.
    Settings {
        /// 0 or 1.
        direction: usize,
        /// 0 or 1.
        stage: usize,
        /// What changes.
        settings: Vec<Setting>,
    },
}

/// What a wire answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Who is there.
    Hello {
        /// The version it speaks.
        version: u32,
        /// Its process id.
        process: u32,
    },
    /// It is so: frames that arrive from now on meet the new state.
    Done,
    /// This is.
    Observed(Observed),
    /// No, and nothing has changed.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

/// What is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The last state that was applied; none since the wire began.
    pub revision: Option<u64>,
    /// Every pipe, by name.
    pub pipes: Vec<ObservedPipe>,
}

/// A pipe as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedPipe {
    /// Its name.
    pub name: PipeName,
    /// Whether anything gets through.
    pub up: bool,
    /// How its interfaces are.
    pub ports: [PortState; 2],
    /// What each direction did.
    pub directions: [ObservedDirection; 2],
}

/// How an interface is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// In use.
    Open {
        /// The kernel's number.
        index: u32,
    },
    /// There is none of this name; it is taken up when it appears.
    Missing,
    /// It cannot be used.
    Failed {
        /// The kernel's reason.
        reason: String,
    },
}

/// What one direction did since the pipe was made. Packets are frames that a wire would carry: a frame that the kernel
/// has not cut yet counts as its segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedDirection {
    /// What the impairments did.
    #[serde(flatten)]
    pub counts: Counts,
    /// Dropped because the pipe was down.
    pub cut: u64,
    /// Dropped because too much waited for the memory that the wire may use.
    pub memory: u64,
    /// Delivered, but the interface did not take them: it is missing, down, or the frame is too long for it.
    pub refused: u64,
    /// Frames that cannot be carried: too long, or of a kind that the kernel does not hand out uncut.
    pub unreadable: u64,
    /// Packets that wait.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
}

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The other side is gone, or the socket failed.
    #[error("the other side cannot be reached any more")]
    Io(#[from] io::Error),
    /// Longer than anything sensible.
    #[error("a message of {0} bytes is too long: at most {LONGEST_MESSAGE}")]
    Length(usize),
    /// Not what was expected.
    #[error("the message is not understood")]
    Json(#[from] serde_json::Error),
}

/// Reads one message.
///
/// # Errors
/// [`MessageError`]; the stream is of no use any more.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read) -> Result<T, MessageError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST_MESSAGE {
        return Err(MessageError::Length(length));
    }
    // Memory only for what really comes.
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// Writes one message.
///
/// # Errors
/// If it is too long or the other side is gone.
pub fn write(stream: &mut impl Write, message: &impl Serialize) -> Result<(), MessageError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > LONGEST_MESSAGE {
        return Err(MessageError::Length(length));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(stream.write_all(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_messages() {
        let change = Request::Change(vec![Change {
            pipe: "a".parse().unwrap(),
            to: Alteration::Settings { direction: 0, stage: 0, settings: vec!["delay=5ms".parse().unwrap()] },
        }]);
        let mut bytes = Vec::new();
        write(&mut bytes, &change).unwrap();
        assert_eq!(
            std::str::from_utf8(&bytes[4..]).unwrap(),
            r#"{"change":[{"pipe":"a","to":{"settings":{"direction":0,"stage":0,"settings":["delay=5ms"]}}}]}"#
        );
        assert_eq!(read::<Request>(&mut bytes.as_slice()).unwrap(), change);
    }

    #[test]
    fn what_is_no_message() {
        let tooth = |bytes: &[u8]| read::<Request>(&mut &*bytes).unwrap_err();
        assert!(matches!(tooth(&[0xff; 8]), MessageError::Length(0xffff_ffff)));
        assert!(matches!(tooth(&[0, 0, 0, 9, b'"']), MessageError::Io(_)));
        assert!(matches!(tooth(&[0, 0, 0, 2, b'{', b'}']), MessageError::Json(_)));
    }
}

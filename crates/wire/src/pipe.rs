//! What a wire is asked to be: pipes between pairs of interfaces.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use testyard_model::impairment::{Impairment, ImpairmentError};

/// Stages of a direction, at most: a link's own, and a member's of a LAN.
pub const STAGES: usize = 2;
/// Pipes of one wire, at most: two sockets each, with some to spare below a usual limit of 20 000.
pub const PIPES: usize = 8_192;

/// A pipe's name, the caller's own choice: 1 to 128 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PipeName(String);

/// A network interface's name as the kernel takes it: 1 to 15 bytes without `/`, `:` and space.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortName(String);

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a pipe's.
    #[error("{0:?} cannot name a pipe: use 1 to 128 printable ASCII characters")]
    Pipe(String),
    /// Not an interface's.
    #[error("{0:?} cannot name an interface: use 1 to 15 characters without '/', ':' and spaces")]
    Port(String),
}

/// Frames that arrive at one interface leave at the other, and the other way round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipe {
    /// Its name.
    pub name: PipeName,
    /// The interfaces, in the wire's network namespace. They belong to this pipe alone.
    pub ports: [PortName; 2],
    /// Whether anything gets through.
    #[serde(default = "yes")]
    pub up: bool,
    /// Where its randomness comes from: the same seed, the same verdicts for the same packets.
    #[serde(default)]
    pub seed: u64,
    /// What is done on the way: first from port 0 to port 1, then back.
    #[serde(default)]
    pub directions: [Direction; 2],
}

/// What is done to frames that go one way: each stage in turn; nothing, if there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direction {
    /// At most [`STAGES`].
    #[serde(default)]
    pub stages: Vec<Impairment>,
}

/// Everything that a wire should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// The caller's number of this state; a wire does not go back behind one that it has had.
    pub revision: u64,
    /// All pipes. Others that the wire has are removed.
    pub pipes: Vec<Pipe>,
}

/// Why a wire cannot be what is desired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DesiredError {
    /// Two of a name.
    #[error("there are two pipes {0}")]
    Twice(PipeName),
    /// An interface with two uses.
    #[error(
        "interface {port} is used twice, the second time by pipe {pipe}: an interface belongs to one pipe"
    )]
    Port {
        /// The interface.
        port: PortName,
        /// The second that wants it.
        pipe: PipeName,
    },
    /// An impairment that cannot be.
    #[error("pipe {pipe}, direction {direction}: {error}")]
    Impairment {
        /// Whose.
        pipe: PipeName,
        /// 0 or 1.
        direction: usize,
        /// What is wrong.
        error: ImpairmentError,
    },
    /// Too many stages.
    #[error("pipe {pipe} has {count} stages one after the other: at most {STAGES}")]
    Stages {
        /// Whose.
        pipe: PipeName,
        /// How many.
        count: usize,
    },
    /// Too many pipes.
    #[error("{0} pipes are too many for one wire: at most {PIPES}")]
    Pipes(usize),
    /// An older state than the wire has.
    #[error("revision {offered} is older than revision {had}, which the wire already has")]
    Revision {
        /// What came.
        offered: u64,
        /// What is there.
        had: u64,
    },
    /// A change of what is not there.
    #[error("there is no pipe {0}: apply a state that has it first")]
    NoPipe(PipeName),
    /// A change of what cannot be numbered so.
    #[error("there is no direction {direction} with stage {stage}: directions are 0 and 1, stages 0 and 1")]
    NoStage {
        /// Which direction.
        direction: usize,
        /// Which stage.
        stage: usize,
    },
}

const fn yes() -> bool {
    true
}

impl Pipe {
    /// One that does nothing to frames.
    #[must_use]
    pub fn new(name: PipeName, ports: [PortName; 2]) -> Self {
        Self { name, ports, up: true, seed: 0, directions: Default::default() }
    }

    pub(crate) fn check(&self) -> Result<(), DesiredError> {
        for (direction, Direction { stages }) in self.directions.iter().enumerate() {
            if stages.len() > STAGES {
                return Err(DesiredError::Stages { pipe: self.name.clone(), count: stages.len() });
            }
            for stage in stages {
                stage.check().map_err(|error| DesiredError::Impairment {
                    pipe: self.name.clone(),
                    direction,
                    error,
                })?;
            }
        }
        Ok(())
    }
}

impl Desired {
    /// Whether it can be.
    ///
    /// # Errors
    /// [`DesiredError`] with the first pipe that cannot.
    pub fn check(&self) -> Result<(), DesiredError> {
        if self.pipes.len() > PIPES {
            return Err(DesiredError::Pipes(self.pipes.len()));
        }
        let (mut names, mut ports) = (BTreeSet::new(), BTreeSet::new());
        for pipe in &self.pipes {
            if !names.insert(&pipe.name) {
                return Err(DesiredError::Twice(pipe.name.clone()));
            }
            for port in &pipe.ports {
                if !ports.insert(port) {
                    return Err(DesiredError::Port { port: port.clone(), pipe: pipe.name.clone() });
                }
            }
            pipe.check()?;
        }
        Ok(())
    }
}

macro_rules! name {
    ($type:ident, $error:ident, $rule:expr) => {
        impl $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                let rule: fn(&str) -> bool = $rule;
                if rule(&text) {
                    Ok(Self(text))
                } else {
                    Err(NameError::$error(text.chars().take(40).collect()))
                }
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                text.to_owned().try_into()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(PipeName, Pipe, |text| (1..=128).contains(&text.len())
    && text.bytes().all(|b| (b' '..=b'~').contains(&b)));
name!(PortName, Port, |text| (1..=15).contains(&text.len())
    && !matches!(text, "." | "..")
    && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':'));

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe(name: &str, ports: [&str; 2]) -> Pipe {
        Pipe::new(name.parse().unwrap(), ports.map(|port| port.parse().unwrap()))
    }

    #[test]
    fn names() {
        for (text, good) in [("a", true), ("lan 1/2", true), ("", false), ("a\nb", false), ("é", false)] {
            assert_eq!(text.parse::<PipeName>().is_ok(), good, "{text:?}");
        }
        for (text, good) in [("eth0", true), ("a/b", false), ("..", false), ("0123456789abcdef", false)] {
            assert_eq!(text.parse::<PortName>().is_ok(), good, "{text:?}");
        }
    }

    #[test]
    fn contradictions() {
        let desired = |pipes| Desired { revision: 1, pipes }.check().map_err(|error| error.to_string());
        assert_eq!(desired(vec![pipe("a", ["p", "q"]), pipe("b", ["r", "s"])]), Ok(()));
        assert_eq!(
            desired(vec![pipe("a", ["p", "q"]), pipe("a", ["r", "s"])]).unwrap_err(),
            "there are two pipes a"
        );
        assert_eq!(
            desired(vec![pipe("a", ["p", "p"])]).unwrap_err(),
            "interface p is used twice, the second time by pipe a: an interface belongs to one pipe"
        );
        let mut slow = pipe("a", ["p", "q"]);
        slow.directions[1].stages = vec![Impairment { rate: "1bit".parse().ok(), ..Impairment::default() }];
        assert!(desired(vec![slow.clone()]).unwrap_err().starts_with("pipe a, direction 1: a rate of 1bit"));
        slow.directions[1].stages = vec![Impairment::default(); 3];
        assert!(desired(vec![slow]).unwrap_err().contains("3 stages"));
    }
}

//! How the program ends, for scripts (docs/reference/cli.md).

use std::fmt::Display;
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub kind: Kind,
    /// What a person reads; empty if the command has printed everything itself.
    pub message: String,
}

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1: the testbed refused, a credential was rejected, this host lacks something, or anything else failed.
    Failed,
    /// 2: the command line, a file named in it, or the configuration is wrong.
    Usage,
    /// 3: the testbed cannot be reached.
    Unreachable,
    /// 3 as well: nothing listens at the testbed's address, so that there may be a remedy.
    NoListener,
    /// 4: while waiting: a sliver has failed.
    SliverFailed,
    /// 5: while waiting: the time is over.
    TimedOut,
}

/// What every command returns.
pub type Outcome = Result<(), Failure>;

// === impl Failure ===

impl Failure {
    /// Anything that failed.
    pub fn failed(message: impl Display) -> Self {
        Self { kind: Kind::Failed, message: message.to_string() }
    }

    /// The command line or a file that it names is wrong.
    pub fn usage(message: impl Display) -> Self {
        Self { kind: Kind::Usage, message: message.to_string() }
    }

    /// Something failed and the command has already said all about it.
    #[must_use]
    pub const fn silent(kind: Kind) -> Self {
        Self { kind, message: String::new() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        Self::from(match kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Unreachable | Kind::NoListener => 3,
            Kind::SliverFailed => 4,
            Kind::TimedOut => 5,
        })
    }
}

//! How a fake guest behaves.

use std::time::Duration;

/// How a guest behaves, from the node's boot on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GuestScript {
    /// Whether it can be trusted.
    pub manner: Manner,
    /// From the boot until it connects.
    pub boot: Duration,
    /// Until names, accounts and keys are in place.
    pub prepare: Duration,
    /// From `go` until SSH answers.
    pub ssh: Duration,
    /// How long an install or execute takes that [`Self::outcomes`] does not name.
    pub service: Duration,
    /// How installs (by URL) and executes (by command) end; others succeed.
    pub outcomes: Vec<(String, Outcome)>,
    /// It pays no heed when asked to stop.
    pub ignores_stop: bool,
}

/// Whether a guest can be trusted. Root inside a node is the user, so a real one may do any of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It does what it is asked for and tells the truth.
    #[default]
    Honest,
    /// It never connects.
    Absent,
    /// It connects and says nothing.
    Silent,
    /// It says hello, and then nothing any more.
    Mute,
    /// It connects and hangs up, again and again.
    HangsUp,
    /// What it sends is no message.
    Garbage,
    /// It announces a message of 4 GB.
    TooLong,
    /// It speaks another version of the protocol.
    OtherProtocol,
    /// It says that it is ready with a revision that nobody has asked for.
    ClaimsReady,
    /// It does its work, with texts and lists beyond all bounds.
    Verbose,
    /// It repeats itself as fast as the stream takes it.
    Floods,
}

/// How an install or execute ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With this exit status.
    Exits {
        /// The status; 0 is success.
        status: i32,
        /// After this time.
        after: Duration,
    },
    /// A signal ends it.
    Signalled {
        /// The signal.
        signal: i32,
        /// After this time.
        after: Duration,
    },
    /// It cannot be done.
    Fails {
        /// Why, for people.
        detail: String,
        /// After this time.
        after: Duration,
    },
    /// It never ends.
    Hangs,
}

impl GuestScript {
    /// How the install or execute of this URL or command ends.
    pub(super) fn outcome(&self, what: &str) -> Outcome {
        let named = self.outcomes.iter().find(|(name, _)| name == what).map(|(_, outcome)| outcome.clone());
        named.unwrap_or(Outcome::Exits { status: 0, after: self.service })
    }
}

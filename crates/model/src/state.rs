//! Allocation and operational states of a sliver, and the actions on it (AM API v3; am-api.md §1.6).
//!
//! ```text
//! allocation:   unallocated ─Allocate→ allocated ─Provision→ provisioned ─Delete, expiry→ unallocated
//!
//! operation:    pending_allocation → configuring → ready ⇄ ready_busy        (ready ⇄ updating_users)
//!                                        ↑            │ stop
//!                                     notready ← stopping
//!               anything → failed, with a reason that tells what to do
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $type {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(UnknownWord {
                        text: text.chars().take(60).collect(),
                        known: Self::ALL.iter().map(|word| word.as_str()).collect(),
                    }),
                }
            }
        }
    };
}

/// A word that is none of the words it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is none of {}", known.join(", "))]
pub struct UnknownWord {
    /// The word (shortened).
    pub text: String,
    /// What it may be.
    pub known: Vec<&'static str>,
}

words! {
    /// What a slice holds of a resource.
    Allocation {
        /// Nothing.
        Unallocated = "geni_unallocated",
        /// Reserved for a short time.
        Allocated = "geni_allocated",
        /// Given, until it expires.
        Provisioned = "geni_provisioned",
    }
}

words! {
    /// What a sliver is doing.
    Operational {
        /// Not provisioned yet.
        PendingAllocation = "geni_pending_allocation",
        /// Stopped; its disk is kept.
        NotReady = "geni_notready",
        /// On its way to ready.
        Configuring = "geni_configuring",
        /// On its way to notready.
        Stopping = "geni_stopping",
        /// SSH answers with the user's keys, installs are done, executes are started.
        Ready = "geni_ready",
        /// SSH answers, installs are still running.
        ReadyBusy = "geni_ready_busy",
        /// Ready, with new accounts and keys on their way.
        UpdatingUsers = "geni_updating_users",
        /// It will not get ready by itself; `geni_error` says why and what to do.
        Failed = "geni_failed",
    }
}

words! {
    /// What a caller can have done to a provisioned sliver.
    Action {
        /// Boot it if it is stopped.
        Start = "geni_start",
        /// Stop it and keep its disk.
        Stop = "geni_stop",
        /// Stop and boot it.
        Restart = "geni_restart",
        /// Boot it with a fresh disk; accounts, host keys and ports stay.
        Reload = "geni_reload",
        /// Give the listed users exactly the listed keys; users not listed stay as they are.
        UpdateUsers = "geni_update_users",
        /// End a running update of users.
        CancelUpdateUsers = "geni_updating_users_cancel",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse::<Action>().unwrap(), *action);
        }
        let error = "random_action".parse::<Action>().unwrap_err();
        assert!(error.to_string().starts_with("\"random_action\" is none of geni_start, geni_stop"));
    }
}

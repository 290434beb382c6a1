//! What waiters hear of.

use jiff::Timestamp;
use testyard_agent::observed::ProgramReport;
use testyard_model::name::ClientId;
use testyard_model::quantity::Span;
use testyard_model::schedule::Action;
use testyard_model::state::{Allocation, Operational};
use testyard_model::urn::{SliceUrn, SliverUrn, UserUrn};

use crate::api::LinkAction;

/// Something has happened to a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub slice: SliceUrn,
    /// Who made it, for front doors that tell each user only of the own slices.
    pub creator: UserUrn,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Happening,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A sliver is another than before.
    Sliver {
        /// Which.
        sliver: SliverUrn,
        /// The user's name of it.
        client_id: ClientId,
        /// What the slice holds of it now.
        allocation: Allocation,
        /// What it is doing now.
        operational: Operational,
        /// What is wrong with it; empty if nothing.
        error: String,
    },
    /// A program of a node has begun or ended.
    Program {
        /// The node.
        node: ClientId,
        /// How the program stands now.
        report: ProgramReport,
    },
    /// A link is to be another from now on.
    Link {
        /// Which.
        link: ClientId,
        /// The member whose direction changes; every direction if none.
        from: Option<ClientId>,
        /// What was done.
        what: LinkAction,
        /// When it is taken back.
        until: Option<Timestamp>,
    },
    /// What was done to a link for a while was taken back.
    Reverted {
        /// Which.
        link: ClientId,
    },
    /// The links of the slice on a host are as they are to be, or it is told why they are not.
    Links {
        /// Why not.
        problem: Option<String>,
    },
    /// A run of the slice's schedule has begun.
    Begun {
        /// Which.
        run: u32,
    },
    /// An event of the schedule was carried out.
    Scheduled {
        /// In which run.
        run: u32,
        /// When it was due, after the run's beginning.
        due: Span,
        /// What it does.
        action: Action,
        /// How many milliseconds it came too late.
        late_ms: u64,
    },
    /// All that is asked of the slice is so, or is not any more.
    Converged {
        /// Whether it is.
        converged: bool,
        /// What keeps it from being so.
        problem: Option<String>,
    },
}

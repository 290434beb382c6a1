//! The life of slices: allocate, provision, act, renew, delete, expire; keeps hosts in step.
//!
//! A front door has authenticated its caller and calls one method of [`Controller`]. A method that changes a slice
//! waits for its turn among the changes of that slice, works out what the slice becomes (a plain function, one
//! file each in `verb`), marks what it takes of hosts, and gives the difference to the store's writer. When that is durable
//! the state in memory is changed, in the order of the commits, the hosts concerned are woken, and the caller hears of
//! it. Reads are answered from memory.
//!
//! ```text
//! call ─► turn of the slice ─► verb(old slice, request, now) ─► new slice ─► writer: revision, keys, capacity ─► commit
//!                                                                                                                │
//! caller ◄── view ◄──────────────── state in memory ◄── replaced, hosts woken, expiry timed, events sent ◄───────┘
//!                                        ▲
//! hosts ── observed ─────────────────────┘  (kept in the store when there is time: hosts tell again after a crash)
//! ```
//!
//! Hosts are level-triggered: they are given what should be and report what is, and what a sliver is doing is derived
//! from the two ([`lifecycle`]). Slivers that are deleted or expired keep what they hold of their host until the host
//! has reported them gone.

#![forbid(unsafe_code)]

pub mod ahead;
pub mod api;
mod audit;
mod clock;
mod commit;
mod controller;
mod convergence;
mod core;
mod counts;
mod entropy;
mod event;
mod expiry;
mod host_keys;
mod hosts;
mod keeper;
pub mod lease;
pub mod lifecycle;
mod merged;
mod network;
mod observe;
mod open;
mod places;
mod reservation;
mod restored;
mod run;
mod select;
pub mod settings;
mod slice;
mod state;
mod turn;
mod verb;
mod view;
mod weight;
pub mod words;

pub use clock::{Clock, ManualClock, SystemClock};
pub use controller::Controller;
pub use counts::{Counts, HostCounts};
pub use entropy::{OsRandomness, Randomness, SeededRandomness};
pub use event::{Event, Happening};
pub use open::{OpenError, ReconfigureError};
pub use restored::{RestoreError, make_ready};
pub use settings::{HostSettings, Quotas, Settings, SettingsError};
pub use testyard_plan::{Host as HostResources, HostError as HostResourcesError, LinkPolicy, PortRange};
pub use testyard_store::{
    AuditObject, AuditQuery, AuditRow, OpenError as StoreOpenError, Store, Summary as StoreSummary, Writes,
    copy as copy_store, inspect as inspect_store,
};

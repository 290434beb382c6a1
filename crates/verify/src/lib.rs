//! What links really do against what was asked.
//!
//! ```text
//!  NetworkPlan, Options ──schedule──► Schedule: steps of trains ──(a host sends them)──► samples ──report──► Report
//! ```
//!
//! [`schedule()`] says what to send over which links and when; hosts send it and tell what arrived
//! ([`testyard_model::probe`]); [`report()`] says what that means. Everything here is a plain function over plain values.
//!
//! | module | noun |
//! | --- | --- |
//! | [`asked`] | what is asked of one way over a link |
//! | [`delays`] | how long frames may take |
//! | [`experiment`] | what is sent to see it |
//! | [`schedule`](mod@schedule) | what is measured when |
//! | [`finding`], [`reason`] | what was seen of one property, and why not |
//! | [`report`](mod@report) | the whole |
//! | [`stats`] | intervals and tests |
//! | [`units`] | numbers as people read them |

#![forbid(unsafe_code)]

pub mod asked;
pub mod delays;
pub mod experiment;
pub mod finding;
mod judge;
pub mod reason;
pub mod report;
pub mod schedule;
pub mod stats;
pub mod units;

pub use asked::Asked;
pub use experiment::Experiment;
pub use finding::{Finding, Quantity, Verdict};
pub use reason::Reason;
pub use report::{Outcome, Report, report};
pub use schedule::{Options, Purpose, Schedule, Step, Subject, Trial, schedule};

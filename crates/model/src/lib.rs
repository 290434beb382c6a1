//! The words of Testyard as types.
//!
//! Everything here is plain data with the rules that make it valid: a value of one of these types has been checked
//! when it was made, so no other room checks it again. There is no IO, no clock and no randomness in this crate; time
//! is an argument wherever it matters.
//!
//! | module | noun |
//! | --- | --- |
//! | [`urn`] | GENI URNs, the authority in them, and typed URNs of slices, slivers and users |
//! | [`id`] | Testyard's own identifiers: slices, slivers, hosts, revisions |
//! | [`name`] | names that people give: client ids, host names, login names |
//! | [`time`] | the time format of the AM API |
//! | [`topology`] | nodes and links as the user asked for them |
//! | [`link`] | layer-2 segments between interfaces |
//! | [`impairment`] | what one direction of a link does to packets |
//! | [`netem`] | which of that the kernel's netem can do |
//! | [`setting`] | changes of impairments as people write them |
//! | [`quantity`] | rates, spans of time, probabilities and sizes as people write them |
//! | [`mac`] | Ethernet addresses |
//! | [`host_table`] | names of interfaces, and each node's `/etc/hosts` |
//! | [`probe`] | frames that are sent over a link to see what it does to them |
//! | [`tunnel`] | what carries links from host to host |
//! | [`route`] | who reaches whom over links |
//! | [`service`] | what is installed and run on a node |
//! | [`schedule`] | what happens when |
//! | [`image`] | what a node boots |
//! | [`sliver_type`] | a kind of node with its limits and capabilities |
//! | [`account`] | users of a node and their SSH keys |
//! | [`state`] | allocation and operational states, and actions |
//! | [`checksum`] | what a download must have |
//! | [`diagnostic`] | what a parser or planner has to say about an input |
//! | [`fuzzing`] | what the fuzz targets call |
//! | [`suggest`] | "did you mean" |

#![forbid(unsafe_code)]

pub mod account;
pub mod checksum;
pub mod diagnostic;
pub mod fuzzing;
pub mod host;
pub mod host_table;
pub mod id;
pub mod image;
pub mod impairment;
pub mod link;
pub mod mac;
pub mod name;
pub mod netem;
pub mod probe;
pub mod quantity;
pub mod route;
pub mod schedule;
pub mod service;
pub mod setting;
pub mod sliver_type;
pub mod state;
pub mod suggest;
pub mod time;
pub mod topology;
pub mod tunnel;
pub mod urn;

//! What tests of several rooms share.
//!
//! | module | for |
//! | --- | --- |
//! | [`needs`] | asking for root, an engine, a program; a test that lacks one fails and says so |
//! | [`corpus`] | committed fuzz corpora, run as ordinary tests |
//! | [`engine`] | a Docker Engine of one's own, to end and to start again |
//! | [`images`] | images as odd as they come, made on the spot |
//! | [`kinds`] | kinds of nodes for tests that do not care |
//! | [`leaks`] | what Testyard has left on this machine; also as the program `leaks`, run after the whole suite |
//! | [`netns`] | network namespaces of one's own: several machines on one |
//! | [`testbed`] | a testbed of one's own in temporary folders: started, killed, started again, removed |
//! | [`shared`] | test data beside the project, named when it is missing |
//! | [`topologies`] | topologies of any size: rings, stars, grids, random ones, fat trees |

#![forbid(unsafe_code)]

pub mod corpus;
pub mod engine;
pub mod images;
pub mod kinds;
pub mod leaks;
pub mod needs;
pub mod netns;
pub mod shared;
pub mod testbed;
pub mod topologies;
pub mod web;

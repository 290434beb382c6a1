//! The library behind the `testyard` program: everything that its commands do, so that tests can do it too.

#![forbid(unsafe_code)]
// They panic when nobody reads any more: `say!` and `remark!` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod print;

pub mod agent;
pub mod am;
pub mod backup;
pub mod cli;
pub mod config;
pub mod credential;
mod daemon;
pub mod doctor;
mod end;
pub mod exit;
pub mod folder;
pub mod guest;
pub mod image;
pub mod init;
pub mod local;
mod machine;
mod passage;
mod progress;
pub mod reset;
pub mod serve;
mod ssh;
mod staging;
pub mod topology;
mod wire;

//! The helper that is process 1 in every node.
//!
//! It trusts its agent, and nothing in the image or in the node: neither that the image holds a shell, `useradd` or a
//! C library, nor that what users can write is what it was a moment ago. It is level-triggered: the agent says what
//! the inside of the node should be ([`testyard_guest_protocol::Desired`]), the guest makes it so from whatever it
//! finds, and reports. Plain threads, so that a thousand of it cost a host little.
//!
//! ```text
//!  main      signals: reaps children, begins the shutdown                      init, children, shutdown
//!  link      the stream with the agent: Desired in, reports out                link, board
//!  steward   names, keys, accounts; after `go` starts what follows             steward, names, accounts, host_keys
//!  ssh       keeps the image's sshd running and looks whether it answers       ssh
//!  facts     answers programs of the node that ask about it                facts
//!  services  installs, then executes, each once in the life of a disk          services, unpacked
//!  programs  what a schedule starts and stops; a thread for each that runs     programs
//! ```

#![cfg_attr(not(test), warn(clippy::print_stdout))]

mod accounts;
mod applet;
mod board;
mod children;
mod facts;
mod files;
mod folders;
#[doc(hidden)]
pub mod fuzzing;
mod host_keys;
mod init;
mod link;
mod names;
mod node;
mod output;
mod program;
mod programs;
mod sealed;
mod services;
mod shutdown;
mod skeleton;
mod ssh;
mod state;
mod steward;
mod sudo;
mod sys;
mod table;
mod text;
mod unpacked;
mod walk;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program that `arguments` ask for; the first is the name that the guest was called by.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    applet::run(arguments)
}

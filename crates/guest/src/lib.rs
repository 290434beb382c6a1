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
//!  services  installs, then executes, each once in the life of a disk          services, fetch, archive
//! ```

#![cfg_attr(not(test), warn(clippy::print_stdout))]

mod accounts;
mod archive;
mod backoff;
mod board;
mod children;
mod fetch;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod host_keys;
mod init;
mod link;
mod names;
mod node;
mod output;
mod program;
mod services;
mod shutdown;
mod ssh;
mod steward;
mod sys;
mod table;
mod text;
mod walk;

use std::process::ExitCode;

const USAGE: &str = "testyard-guest is started by Testyard as process 1 of a node.

  testyard-guest init      be process 1
  testyard-guest version   print the version
";

/// Runs the command that `arguments` (without the program's own name) ask for.
pub fn main(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("init"), None) => init::run(),
        (Some("version"), None) => {
            #[allow(clippy::print_stdout, reason = "this is what was asked for")]
            {
                println!("testyard-guest {}", env!("CARGO_PKG_VERSION"));
            }
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

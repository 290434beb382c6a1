//! `testyard credential`: what the built-in authority issues, and what a testbed would say to a credential.

pub mod check;
pub mod issue;
pub(crate) mod ssh_key;

use clap::Subcommand;

use crate::exit::Outcome;

/// `testyard credential …`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Issue a user's certificate and credential, or a slice's credential, as the built-in authority
    #[command(subcommand)]
    Issue(issue::Command),
    /// Say whether a credential would be accepted, the step that decides, and why
    Check(check::Arguments),
}

/// Runs the command.
///
/// # Errors
/// What the commands say.
pub fn run(command: &Command) -> Outcome {
    match command {
        Command::Issue(command) => issue::run(command),
        Command::Check(arguments) => check::run(arguments),
    }
}

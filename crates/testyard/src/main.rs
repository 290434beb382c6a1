//! The program: reads the command line, runs the command, and turns its outcome into an exit code.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use testyard::cli::Cli;

fn main() -> ExitCode {
    match testyard::cli::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                let _ = writeln!(std::io::stderr(), "testyard: {}", failure.message);
            }
            failure.kind.into()
        }
    }
}

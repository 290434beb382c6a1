//! The wire as a program of its own, for this crate's tests. What is installed is a subcommand of `testyard`.

use std::process::ExitCode;

use testyard_wire::Options;

fn main() -> ExitCode {
    match Options::parse(std::env::args_os().skip(1)).and_then(|options| testyard_wire::run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wire: {error}");
            ExitCode::FAILURE
        }
    }
}

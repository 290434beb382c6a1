//! The wire as a program, for its own tests and benchmarks. What is installed is a subcommand of `testyard`.

use std::process::ExitCode;

use testyard_wire::Options;

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let done = Options::parse(std::env::args_os().skip(1)).and_then(|options| testyard_wire::run(&options));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let source = std::error::Error::source(&error).map_or_else(String::new, |s| format!(": {s}"));
            eprintln!("testyard-wire: {error}{source}");
            ExitCode::FAILURE
        }
    }
}

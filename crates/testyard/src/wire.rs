//! `testyard wire`: the process that impairs a slice's links. It is started by the fabric, and lives on without it.

use std::ffi::OsString;
use std::io;

use testyard_wire::Options;

use crate::exit::{Failure, Outcome};

pub(crate) fn run(arguments: Vec<OsString>) -> Outcome {
    // To a file in the slice's folder, which `doctor` and people read.
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    let done = Options::parse(arguments).and_then(|options| testyard_wire::run(&options));
    done.map_err(|error| Failure::from(anyhow::Error::from(error)))
}

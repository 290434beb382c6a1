//! `testyard-guest`: the program that every node boots. What it does is in the library of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    testyard_guest::main(std::env::args_os())
}

//! Prints what Testyard has left on this machine; exit status 1 if anything. With an argument: of that instance only.

use std::process::ExitCode;

fn main() -> ExitCode {
    let instance = std::env::args().nth(1);
    let found = testyard_testkit::leaks::find(instance.as_deref());
    for line in &found {
        println!("{line}");
    }
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

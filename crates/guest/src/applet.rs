//! Which of its programs the guest is this time: one file, found under several names.
//!
//! The last part of `argv[0]` says it (a link named `geni-get` is geni-get), else the first argument does
//! (`testyard-guest version`). To add one: a line in [`APPLETS`], and a link in the host's folder of the guest
//! (`testyard::guest`) where people are to find it by its name.
//!
//! In a setuid context none of this is asked: the program is [`sudo`].

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};

use crate::{facts, init, ssh, sudo, sys};

/// One of the guest's programs.
struct Applet {
    name: &'static str,
    /// What it does, in a line of the usage text.
    what: &'static str,
    /// Gets the arguments after the name.
    run: fn(Vec<OsString>) -> ExitCode,
    /// Whether a file or link of that name means it; otherwise it is a command of `testyard-guest`.
    linked: bool,
}

const APPLETS: &[Applet] = &[
    Applet {
        name: "facts",
        what: "print what the node knows about itself",
        run: |rest| facts::facts(&rest),
        linked: false,
    },
    Applet {
        name: "geni-get",
        what: "the same, as scripts of other testbeds ask",
        run: |rest| facts::geni_get(&rest),
        linked: true,
    },
    Applet {
        name: "hold",
        what: "do nothing, as process 1 of what holds a namespace",
        run: |rest| alone(&rest, hold),
        linked: false,
    },
    Applet { name: "init", what: "be process 1", run: |rest| alone(&rest, init::run), linked: false },
    Applet { name: "scp", what: "the far side of scp", run: ssh::scp, linked: true },
    Applet { name: "sftp-server", what: "serve SFTP", run: ssh::sftp_server, linked: true },
    Applet {
        name: "ssh-session",
        what: "serve a connection of the SSH server",
        run: ssh::session,
        linked: false,
    },
    Applet { name: "sudo", what: "run a command as another user", run: sudo::main, linked: true },
    Applet { name: "version", what: "print the version", run: |rest| alone(&rest, version), linked: false },
];

/// Runs the program that `arguments` (the program's own name first) mean.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let own = arguments.next().unwrap_or_default();
    // Whatever the caller has called it: the file with more rights than its caller does one thing.
    if sys::is_setuid() {
        return sudo::main(arguments.collect());
    }
    let own = Path::new(&own).file_name().unwrap_or_default();
    if let Some(applet) = find(own, true) {
        return (applet.run)(arguments.collect());
    }
    match arguments.next().and_then(|name| find(&name, false)) {
        Some(applet) => (applet.run)(arguments.collect()),
        None => usage(),
    }
}

fn find(name: &OsStr, link: bool) -> Option<&'static Applet> {
    APPLETS.iter().find(|applet| name == applet.name && (applet.linked || !link))
}

/// For programs that take no arguments.
fn alone(rest: &[OsString], run: fn() -> ExitCode) -> ExitCode {
    if rest.is_empty() { run() } else { usage() }
}

fn version() -> ExitCode {
    #[allow(clippy::print_stdout, reason = "this is what was asked for")]
    {
        println!("testyard-guest {}", env!("CARGO_PKG_VERSION"));
    }
    ExitCode::SUCCESS
}

/// Waits to be ended.
fn hold() -> ExitCode {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    // Process 1 gets only signals that it waits for or handles.
    let ended = signals.thread_block().and_then(|()| signals.wait());
    ExitCode::from(u8::from(ended.is_err()))
}

fn usage() -> ExitCode {
    let mut text = String::from("testyard-guest is started by Testyard as process 1 of a node.\n\n");
    for applet in APPLETS {
        let _ = writeln!(text, "  testyard-guest {:<12} {}", applet.name, applet.what);
    }
    // Nobody is there to hear that standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_first_arguments() {
        assert!(find(OsStr::new("version"), false).is_some());
        // A link named as a command of ours is no such command: images have an `init` of their own.
        assert!(find(OsStr::new("init"), true).is_none());
        assert!(find(OsStr::new("testyard-guest"), true).is_none());
    }
}

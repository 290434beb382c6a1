//! Process 1: takes every signal, reaps every child, and ends only when the node is stopped.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};

use crate::node::{Node, thread};
use crate::{facts, link, sealed, shutdown, steward, sys, text};

/// How long the node has to end when the engine stops it with a signal; engines kill after ten seconds.
const SIGNAL_GRACE: Duration = Duration::from_secs(8);

/// Signals that mean "stop" whatever the image says, as engines and machines send them.
const STOP: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR, Signal::SIGQUIT];

/// Signals that the image's program gets, as it would if it were process 1; or "stop", if the image says so.
const FORWARD: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGCONT, Signal::SIGALRM];

/// Is process 1 until the node is stopped.
pub(crate) fn run() -> ExitCode {
    if std::process::id() != 1 {
        text::log("init works only as process 1 of a node; Testyard starts it there");
        return ExitCode::from(2);
    }
    sys::default_signals();
    sys::spare_memory();
    sealed::reserve();
    umask(Mode::from_bits_truncate(0o022));
    let mut signals = SigSet::empty();
    STOP.into_iter().chain(FORWARD).chain([Signal::SIGCHLD]).for_each(|signal| signals.add(signal));
    // Before any thread: all inherit the mask.
    let prepared = signals
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK));
    let signals = match prepared {
        Ok(signals) => signals,
        Err(error) => {
            text::log(&format!("cannot take signals: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let node: &'static Node = Box::leak(Box::new(Node::new(PathBuf::from("/"))));
    let boot = boot_id();
    thread(node, "link", move || link::run(node, &boot));
    thread(node, "steward", move || steward::run(node));
    thread(node, "facts", move || facts::run(node));
    loop {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::NONE);
        // A defect in what waits for a child must not end the node.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| take_signals(node, &signals)));
    }
}

fn take_signals(node: &'static Node, signals: &SignalFd) {
    while let Ok(Some(info)) = signals.read_signal() {
        let Ok(number) = i32::try_from(info.ssi_signo) else { continue };
        if number == Signal::SIGCHLD as i32 {
            continue;
        }
        let stops = STOP.iter().any(|signal| *signal as i32 == number)
            || number == node.stop_signal.load(std::sync::atomic::Ordering::SeqCst);
        if stops {
            shutdown::begin(node, SIGNAL_GRACE);
        } else if let Some(program) = node.program() {
            node.children.signal(&program, number);
        }
    }
    node.children.reap();
}

/// A number that no other boot has.
fn boot_id() -> String {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    match random.trim() {
        // No /proc: std seeds its hashers from the kernel's random numbers.
        "" => {
            use std::hash::{BuildHasher as _, Hasher as _};
            format!("{:016x}", std::hash::RandomState::new().build_hasher().finish())
        }
        id => id.to_owned(),
    }
}

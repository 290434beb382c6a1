//! The end of the node: first the image's program, as its image wants it, then everybody else, then the disk.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::node::{Node, thread};
use crate::{sys, text};
use testyard_fetch::backoff::pause;

/// The longest time that users' processes get when the image's program has ended; an interactive shell ignores SIGTERM.
const OTHERS: Duration = Duration::from_millis(500);

/// Begins the end, unless it has begun. Process 1 exits when it is over.
pub(crate) fn begin(node: &'static Node, grace: Duration) {
    if node.begin_stopping() {
        thread(node, "shutdown", move || {
            end(node, grace);
        });
    }
}

fn end(node: &Node, grace: Duration) -> ! {
    let deadline = Instant::now() + grace;
    if let Some(program) = node.program() {
        node.children.signal(&program, node.stop_signal.load(Ordering::SeqCst));
        let _ = program.wait_for(grace);
    }
    let rest = deadline.saturating_duration_since(Instant::now()).min(OTHERS);
    if !rest.is_zero() {
        // A shell ends by SIGHUP, a service by SIGTERM, something stopped only after SIGCONT.
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGCONT] {
            let _ = sys::kill(-1, signal);
        }
        wait_alone(Instant::now() + rest);
    }
    let _ = sys::kill(-1, libc::SIGKILL);
    wait_alone(Instant::now() + Duration::from_secs(1));
    if let Ok(folder) = std::fs::File::open(&node.root)
        && let Err(error) = nix::unistd::syncfs(&folder)
    {
        text::log(&format!("cannot sync the disk: {error}"));
    }
    std::process::exit(0)
}

/// Waits until process 1 is the only one.
fn wait_alone(deadline: Instant) {
    let mut time = Duration::from_millis(1);
    while Instant::now() < deadline
        && nix::sys::signal::kill(nix::unistd::Pid::from_raw(-1), None) != Err(Errno::ESRCH)
    {
        pause(time);
        time = (time * 2).min(Duration::from_millis(10));
    }
}

//! The stream with the agent: made again whenever it breaks, at once when the agent's socket appears.
//!
//! ```text
//! connect ──► Hello, Report ──► reader: Desired, Stop ──► broken ──► wait for the folder to change, 20 ms … 1 s
//!    ▲                          writer: each new report, questions     │
//!    └─────────────────────────────────────────────────────────────────┘
//! ```

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use testyard_guest_protocol::{FromGuest, GUEST_SOCKET, Hello, PROTOCOL, ToGuest, read, write};

use crate::node::Node;
use crate::shutdown;
use testyard_fetch::backoff::{Backoff, pause};

/// How long the agent may leave a report unread before the stream is made again.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps the stream; never returns.
pub(crate) fn run(node: &'static Node, boot: &str) {
    let path = Path::new(GUEST_SOCKET);
    let watch = Watch::new(path);
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
    loop {
        if let Ok(stream) = UnixStream::connect(path) {
            // Whatever is wrong with one stream, the next one must come.
            let talk = std::panic::AssertUnwindSafe(|| talk(node, boot, &stream));
            if std::panic::catch_unwind(talk).unwrap_or(false) {
                backoff.reset();
            }
        }
        watch.wait(backoff.step());
    }
}

/// Talks until the stream breaks. Says whether the agent said anything.
fn talk(node: &'static Node, boot: &str, stream: &UnixStream) -> bool {
    let open = AtomicBool::new(true);
    let hello = Hello { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").into(), boot: boot.into() };
    let mut heard = false;
    node.facts.reconnected();
    std::thread::scope(|scope| {
        let writer = || {
            let _ = send(node, stream, hello, || open.load(Ordering::SeqCst));
            // Wakes the reader.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        };
        let spawned = std::thread::Builder::new()
            .name("reports".into())
            .stack_size(128 << 10)
            .spawn_scoped(scope, writer);
        if spawned.is_err() {
            return;
        }
        let mut reader = stream;
        while let Ok(message) = read::<ToGuest>(&mut reader) {
            heard = true;
            match message {
                ToGuest::Desired(desired) => {
                    node.facts.learn(&desired);
                    node.desired.put(desired);
                    // Questions may have waited for it.
                    node.board.wake();
                }
                ToGuest::Stop { grace_ms } => shutdown::begin(node, Duration::from_millis(grace_ms)),
                ToGuest::Told(told) => node.facts.tell(told),
            }
        }
        open.store(false, Ordering::SeqCst);
        let _ = stream.shutdown(std::net::Shutdown::Both);
        node.board.wake();
    });
    heard
}

fn send(
    node: &Node,
    mut stream: &UnixStream,
    hello: Hello,
    open: impl Fn() -> bool,
) -> Result<(), testyard_guest_protocol::FrameError> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    write(&mut stream, &FromGuest::Hello(hello))?;
    let mut seen = None;
    while open() {
        while let Some(ask) = node.facts.unsent() {
            write(&mut stream, &FromGuest::Ask(ask))?;
        }
        if let Some((number, report)) = node.board.wait(seen, || open() && !node.facts.has_unsent()) {
            write(&mut stream, &FromGuest::Report(Box::new(report)))?;
            seen = Some(number);
        }
    }
    Ok(())
}

/// Wakes when something in the socket's folder changes.
struct Watch(Option<Inotify>);

impl Watch {
    fn new(socket: &Path) -> Self {
        let watch = || -> nix::Result<Inotify> {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            let folder = socket.parent().unwrap_or(Path::new("/"));
            let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ATTRIB;
            inotify.add_watch(folder, events)?;
            Ok(inotify)
        };
        // Without it (the user's inotify limit is spent) the pauses alone do.
        Self(watch().ok())
    }

    fn wait(&self, time: Duration) {
        let Some(inotify) = &self.0 else { return pause(time) };
        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        if poll(&mut fds, timeout).is_ok_and(|ready| ready > 0) {
            while inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
        }
    }
}

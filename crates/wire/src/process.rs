//! The wire as a process: its socket, its signals, its end.

use std::ffi::OsString;
use std::fs::{self, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};

use crate::io::supervisor::Supervisor;
use crate::server::{Shared, lock, welcome};
use crate::thread;

/// `RTMGRP_LINK`.
const LINK_GROUP: u32 = 1;
/// A number of a file that is above those of 4,000 pipes; the table up to it takes the kernel 64 KiB.
const ABOVE_PIPES: i32 = 8192;
/// How long the end of another wire of the same socket is awaited, and how often it is looked.
const CLAIM: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);
/// Interfaces come in crowds: so many milliseconds are waited for more.
const CROWD_MS: u16 = 5;

/// How a wire runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its control socket. The wire ends when this, or the folder around it, is removed.
    pub socket: PathBuf,
    /// The network namespace whose interfaces it joins, as a file; the caller's if none.
    pub namespace: Option<PathBuf>,
    /// Threads that move frames; as many as there are processors, but at most four, if none.
    pub workers: Option<usize>,
    /// Bytes of frames that wait, at most.
    pub memory: u64,
    /// Whether those threads run before all ordinary ones, where that is permitted.
    pub real_time: bool,
}

impl Options {
    /// The usual: half a gigabyte, real time.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, namespace: None, workers: None, memory: 512 << 20, real_time: true }
    }

    /// From a command line: `--socket PATH [--netns PATH] [--workers N] [--memory BYTES] [--no-real-time]`.
    ///
    /// # Errors
    /// [`RunError::Usage`] with what is wrong.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, RunError> {
        let usage = |text: &str| RunError::Usage(text.to_owned());
        let mut options = Self::new(PathBuf::new());
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().ok_or_else(|| usage(&format!("{} needs a value", argument.display())));
            let number = |text: OsString| {
                text.to_str().and_then(|text| text.parse::<u64>().ok()).filter(|number| *number > 0)
            };
            match argument.to_str() {
                Some("--socket") => options.socket = value()?.into(),
                Some("--netns") => options.namespace = Some(value()?.into()),
                Some("--workers") => {
                    let count = number(value()?).filter(|count| *count <= 256);
                    options.workers =
                        Some(count.ok_or_else(|| usage("--workers is from 1 to 256"))? as usize);
                }
                Some("--memory") => {
                    options.memory =
                        number(value()?).ok_or_else(|| usage("--memory is a number of bytes"))?;
                }
                Some("--no-real-time") => options.real_time = false,
                _ => return Err(usage(&format!("there is no option {}", argument.display()))),
            }
        }
        if options.socket.as_os_str().is_empty() {
            return Err(usage("--socket PATH is needed"));
        }
        Ok(options)
    }
}

/// Why a wire cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line.
    #[error("{0}; usage: --socket PATH [--netns PATH] [--workers N] [--memory BYTES] [--no-real-time]")]
    Usage(String),
    /// There is one already.
    #[error("a wire answers at {} already: use it, or stop it first", .0.display())]
    Running(PathBuf),
    /// A file.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What every process may have.
    #[error(
        "{what} cannot be had: the wire needs root, or the capabilities NET_ADMIN, NET_RAW and SYS_ADMIN"
    )]
    Kernel {
        /// What is missing.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn kernel<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> RunError {
    move |error| RunError::Kernel { what, source: error.into() }
}

fn file<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> RunError + '_ {
    move |error| RunError::File { path: path.to_owned(), source: error.into() }
}

/// Is a wire until told to stop, by a client, by SIGTERM or SIGINT, or by the removal of its socket.
///
/// The calling thread enters the namespace, gives up capabilities and blocks signals for good: let it be the main thread
/// of a process of its own.
///
/// # Errors
/// [`RunError`] if it cannot begin.
pub fn run(options: &Options) -> Result<(), RunError> {
    if let Some(path) = &options.namespace {
        let namespace = fs::File::open(path).map_err(file(path))?;
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).map_err(file(path))?;
    }
    // Two sockets a pipe. Where the limit cannot be raised, the first interface above it says so.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block().map_err(kernel("a signal mask"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(kernel("a signal file"))?;
    let _claim = closed_first(claim(&options.socket)?);
    let listener = closed_first(listen(&options.socket)?);
    let folder = watch(&options.socket)?;
    let links = link_events()?;
    thread::keep_capabilities(&[thread::NET_ADMIN, thread::NET_RAW, thread::SYS_NICE])
        .map_err(kernel("fewer capabilities"))?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let workers = options.workers.unwrap_or(processors);
    let supervisor = Supervisor::start(workers, options.memory, options.real_time).map_err(|error| {
        RunError::Kernel { what: "threads that move frames", source: io::Error::other(error) }
    })?;
    thread::keep_capabilities(&[thread::NET_ADMIN, thread::NET_RAW]).map_err(kernel("fewer capabilities"))?;
    let stop =
        EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).map_err(kernel("an event"))?;
    let shared = Arc::new(Shared::new(supervisor, stop));
    tracing::info!(socket = %options.socket.display(), workers, "the wire runs");
    attend(&options.socket, &listener, &folder, &signals, &links, &shared)?;
    shared.disconnect();
    // Left to the end of the process, sockets would be closed one by one.
    lock(&shared.supervisor).stop();
    // Somebody else's by now, if ours was removed.
    if folder_events(&folder, &options.socket) == Events::None {
        let _ = fs::remove_file(&options.socket);
    }
    Ok(())
}

/// Has the kernel close a file before the sockets of pipes when we are killed: it begins with the highest number, and takes
/// milliseconds for each packet socket. So whoever is to take our place need not wait for all of them, and our clients notice at
/// once. Where so high a number is not allowed the file stays where it is.
pub(crate) fn closed_first<F: AsFd + From<OwnedFd>>(file: F) -> F {
    rustix::io::fcntl_dupfd_cloexec(&file, ABOVE_PIPES).map_or(file, F::from)
}

/// One wire a socket: two that start at the same time would take each other's for a dead one's. The kernel gives the lock back
/// when its holder has ended, which may take one that was killed a moment.
fn claim(path: &Path) -> Result<fs::File, RunError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = Path::new(&lock_path);
    let lock = fs::File::options().create(true).append(true).open(lock_path).map_err(file(lock_path))?;
    let until = Instant::now() + CLAIM;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(file(lock_path)(error)),
            Err(TryLockError::WouldBlock) if UnixStream::connect(path).is_ok() || Instant::now() >= until => {
                return Err(RunError::Running(path.to_owned()));
            }
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOOK),
        }
    }
}

fn listen(path: &Path) -> Result<UnixListener, RunError> {
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(RunError::Running(path.to_owned()));
        }
        fs::remove_file(path).map_err(file(path))?;
    }
    let listener = UnixListener::bind(path).map_err(file(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(file(path))?;
    listener.set_nonblocking(true).map_err(file(path))?;
    Ok(listener)
}

fn watch(path: &Path) -> Result<Inotify, RunError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(kernel("inotify"))?;
    let events = AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF;
    inotify.add_watch(folder, events).map_err(file(folder))?;
    Ok(inotify)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Events {
    None,
    Gone,
}

fn folder_events(inotify: &Inotify, path: &Path) -> Events {
    let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
    let gone = inotify.read_events().unwrap_or_default().iter().any(|event| {
        event.mask.intersects(itself)
            || event.name.as_deref().is_some_and(|name| path.file_name() == Some(name))
    });
    if gone { Events::Gone } else { Events::None }
}

fn link_events() -> Result<OwnedFd, RunError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
        .map_err(kernel("a netlink socket"))?;
    socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, LINK_GROUP)).map_err(kernel("events of interfaces"))?;
    Ok(fd)
}

/// Waits for signals, clients and interfaces until it is time to end.
fn attend(
    path: &Path,
    listener: &UnixListener,
    folder: &Inotify,
    signals: &SignalFd,
    links: &OwnedFd,
    shared: &Arc<Shared>,
) -> Result<(), RunError> {
    let mut number = 0;
    loop {
        let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [
            on(shared.stop.as_fd()),
            on(signals.as_fd()),
            on(folder.as_fd()),
            on(links.as_fd()),
            on(listener.as_fd()),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(kernel("poll")(error)),
        }
        let [stop, signal, changed, link, client] = fds.map(|fd| fd.any().unwrap_or(false));
        if stop || signal {
            return Ok(());
        }
        if changed && folder_events(folder, path) == Events::Gone {
            tracing::info!("the control socket was removed: the wire ends");
            return Ok(());
        }
        if link {
            drain(links);
            lock(&shared.supervisor).look_for_interfaces();
        }
        if client && let Ok((stream, _)) = listener.accept() {
            number += 1;
            welcome(number, closed_first(stream), shared);
        }
    }
}

/// Reads all events, and those that come right behind. What they say does not matter: the list is read anew.
fn drain(links: &OwnedFd) {
    let mut buffer = [0; 1 << 14];
    // A lost event is an error here, and as good as any other.
    let mut read = || match socket::recv(links.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
        Err(Errno::EAGAIN) => false,
        Ok(_) | Err(_) => true,
    };
    for _ in 0..20 {
        while read() {}
        let mut more = [PollFd::new(links.as_fd(), PollFlags::POLLIN)];
        if poll(&mut more, PollTimeout::from(CROWD_MS)).unwrap_or(0) == 0 {
            return;
        }
    }
}

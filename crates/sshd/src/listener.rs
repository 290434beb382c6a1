//! Accepts connections and hands each to a process of its own; no byte of SSH is read here.
//!
//! Each process holds one end of a pipe (`life`): it writes a byte when its user is authenticated, and the pipe ends
//! with the process. So this thread knows who is still unauthenticated without waiting for anybody's children.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt};

/// How many connections at the same time.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that are not authenticated yet; further ones are closed at once.
    pub unauthenticated: usize,
    /// The same for one address (for IPv6 one /64), so that nobody alone can use up the others' share.
    pub unauthenticated_per_source: usize,
    /// All connections.
    pub sessions: usize,
    /// Refused connections of the last minute after which further ones are no longer logged one by one.
    pub logged_refusals: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unauthenticated: 64, unauthenticated_per_source: 32, sessions: 1024, logged_refusals: 20 }
    }
}

/// Listening sockets.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    limits: Limits,
}

/// An accepted connection, to be handed to a process.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    life: OwnedFd,
    quiet: bool,
}

/// The connections that live.
#[derive(Default)]
struct Sessions {
    live: Vec<Live>,
    /// When connections ended without a login, of the last minute.
    refused: Vec<Instant>,
}

struct Live {
    life: std::fs::File,
    source: IpAddr,
    authenticated: bool,
}

// === impl Connection ===

impl Connection {
    /// Where it comes from.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The process that serves it: `program ssh-session serve SETTINGS`, the socket as standard input, the pipe of its
    /// life as standard output. Standard error is its log, for the caller to set.
    #[must_use]
    pub fn command(self, program: &OsStr, settings: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(crate::COMMAND).arg("serve").arg(settings);
        if self.quiet {
            command.arg("--quiet");
        }
        command.stdin(OwnedFd::from(self.stream)).stdout(Stdio::from(self.life));
        command
    }
}

// === impl Listener ===

impl Listener {
    /// `port` of every address, IPv6 and IPv4 by sockets of their own, so that one works without the other.
    #[must_use]
    pub fn everywhere(port: u16) -> [SocketAddr; 2] {
        [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]
    }

    /// Listens on `addresses`, and says which of them it could not get.
    ///
    /// # Errors
    /// The last refusal, if there is no address left to listen on.
    pub fn bind(
        addresses: &[SocketAddr],
        limits: Limits,
    ) -> io::Result<(Self, Vec<(SocketAddr, io::Error)>)> {
        let mut sockets = Vec::new();
        let mut refused = Vec::new();
        for address in addresses {
            match listen(*address) {
                Ok(socket) => sockets.push(socket),
                Err(error) => refused.push((*address, error)),
            }
        }
        if sockets.is_empty() {
            let none = || io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
            return Err(refused.pop().map_or_else(none, |(_, error)| error));
        }
        Ok((Self { sockets, limits }, refused))
    }

    /// Where it listens; says which port, where 0 was asked for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Accepts until `stop` is readable or closed, and calls `spawn` for each connection; blocks. A connection that
    /// `spawn` fails for is closed. Processes that were started live on.
    pub fn run(self, stop: &impl AsFd, mut spawn: impl FnMut(Connection) -> io::Result<()>) {
        let mut sessions = Sessions::default();
        let mut pause = None;
        loop {
            // While accepting fails (no free descriptor, say) the sockets are left alone for a moment: they would stay
            // readable, and this loop would take a whole processor.
            let listening = if pause.is_some() { 0 } else { self.sockets.len() };
            let ready = {
                let mut polled = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
                polled.extend(
                    self.sockets[..listening]
                        .iter()
                        .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)),
                );
                polled.extend(
                    sessions.live.iter().map(|live| PollFd::new(live.life.as_fd(), PollFlags::POLLIN)),
                );
                let timeout = pause.map_or(PollTimeout::NONE, |pause: Duration| {
                    PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)
                });
                match poll(&mut polled, timeout) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    // Nothing that is polled here can be invalid; memory may be short for a moment.
                    Err(_) => pause = Some(BACK_OFF),
                }
                polled.iter().map(|fd| fd.any().unwrap_or(false)).collect::<Vec<_>>()
            };
            if ready[0] {
                return;
            }
            sessions.look(&ready[1 + listening..]);
            if pause.take().is_some() {
                continue;
            }
            for (socket, _) in self.sockets.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
                if accept(socket, &self.limits, &mut sessions, &mut spawn).is_err() {
                    pause = Some(BACK_OFF);
                }
            }
        }
    }
}

/// How long accepting rests after an error that will not go by itself.
const BACK_OFF: Duration = Duration::from_millis(200);

/// One connection of `socket`. An error is one after which accepting should rest.
fn accept(
    socket: &TcpListener,
    limits: &Limits,
    sessions: &mut Sessions,
    spawn: &mut impl FnMut(Connection) -> io::Result<()>,
) -> io::Result<()> {
    let (stream, peer) = match socket.accept() {
        Ok(accepted) => accepted,
        // The client has gone already, or another event came first.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::WouldBlock) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let source = source(peer.ip());
    if !sessions.admits(source, limits) {
        return Ok(());
    }
    let (life, held) = io::pipe()?;
    stream.set_nonblocking(false)?;
    spawn(Connection { stream, peer, life: held.into(), quiet: sessions.floods(limits) })?;
    sessions.live.push(Live { life: OwnedFd::from(life).into(), source, authenticated: false });
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let fd =
        socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        socket::setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    socket::listen(&fd, Backlog::new(128)?)?;
    Ok(fd.into())
}

/// Who counts as one: an IPv4 address, or the /64 that an IPv6 host can choose its addresses in.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

// === impl Sessions ===

impl Sessions {
    /// Takes note of what the processes said by their pipes; `ready` is in the order of `live`.
    fn look(&mut self, ready: &[bool]) {
        let mut ready = ready.iter();
        let refused = &mut self.refused;
        self.live.retain_mut(|live| {
            if !ready.next().is_some_and(|ready| *ready) {
                return true;
            }
            match live.life.read(&mut [0; 16]) {
                Ok(0) => {
                    if !live.authenticated {
                        refused.push(Instant::now());
                    }
                    false
                }
                Ok(_) => {
                    live.authenticated = true;
                    true
                }
                Err(error) => error.kind() == io::ErrorKind::Interrupted,
            }
        });
        let floor = Instant::now().checked_sub(Duration::from_secs(60));
        self.refused.retain(|at| floor.is_none_or(|floor| *at > floor));
    }

    /// Whether one more from `source` is allowed now.
    fn admits(&self, source: IpAddr, limits: &Limits) -> bool {
        let mut waiting = HashMap::<IpAddr, usize>::new();
        for live in self.live.iter().filter(|live| !live.authenticated) {
            *waiting.entry(live.source).or_default() += 1;
        }
        self.live.len() < limits.sessions
            && waiting.values().sum::<usize>() < limits.unauthenticated
            && waiting.get(&source).is_none_or(|count| *count < limits.unauthenticated_per_source)
    }

    /// Whether so many are being refused that the log should not tell of each.
    fn floods(&self, limits: &Limits) -> bool {
        self.refused.len() >= limits.logged_refusals
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc;

    use super::*;

    /// A listener in a thread, with the connections that it hands out.
    fn start(limits: Limits) -> (SocketAddr, mpsc::Receiver<Connection>, io::PipeWriter) {
        let (listener, refused) = Listener::bind(&[(Ipv4Addr::LOCALHOST, 0).into()], limits).unwrap();
        assert!(refused.is_empty());
        let address = listener.addresses()[0];
        let (stop, end) = io::pipe().unwrap();
        let (sender, connections) = mpsc::channel();
        std::thread::spawn(move || {
            listener.run(&stop, |connection| sender.send(connection).map_err(io::Error::other))
        });
        (address, connections, end)
    }

    fn closed(mut stream: TcpStream) -> bool {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
    }

    #[test]
    fn the_unauthenticated_are_bounded_and_the_authenticated_make_room() {
        let limits = Limits { unauthenticated: 2, unauthenticated_per_source: 2, ..Limits::default() };
        let (address, connections, _end) = start(limits);
        let connect = || TcpStream::connect(address).unwrap();
        let (_one, _two) = (connect(), connect());
        let (first, second) = (connections.recv().unwrap(), connections.recv().unwrap());
        assert!(closed(connect()));
        // One logs in, one ends: room for two. The listener hears of it before it accepts what comes later.
        std::fs::File::from(first.life.try_clone().unwrap()).write_all(b"a").unwrap();
        drop(second);
        let _again = (0..100).find_map(|_| {
            let stream = connect();
            connections.recv_timeout(Duration::from_millis(200)).ok().map(|connection| (stream, connection))
        });
        assert!(_again.is_some());
    }

    #[test]
    fn all_sessions_are_bounded() {
        let (address, connections, _end) = start(Limits { sessions: 1, ..Limits::default() });
        let _one = TcpStream::connect(address).unwrap();
        let _first = connections.recv().unwrap();
        assert!(closed(TcpStream::connect(address).unwrap()));
    }

    #[test]
    fn it_ends_when_it_is_told_to_and_connections_live_on() {
        let (address, connections, end) = start(Limits::default());
        let mut client = TcpStream::connect(address).unwrap();
        let mut held = connections.recv().unwrap();
        drop(end);
        // The channel ends with the listener's thread.
        assert!(connections.recv().is_err());
        client.write_all(b"x").unwrap();
        held.stream.read_exact(&mut [0; 1]).unwrap();
    }

    #[test]
    fn one_address_that_is_taken_does_not_stop_the_other() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addresses = [taken.local_addr().unwrap(), (Ipv4Addr::LOCALHOST, 0).into()];
        let (listener, refused) = Listener::bind(&addresses, Limits::default()).unwrap();
        assert_eq!((listener.addresses().len(), refused.len(), refused[0].0), (1, 1, addresses[0]));
        assert!(Listener::bind(&addresses[..1], Limits::default()).is_err());
        assert!(Listener::bind(&[], Limits::default()).is_err());
    }

    #[test]
    fn a_host_counts_once_whatever_addresses_it_takes() {
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
    }
}

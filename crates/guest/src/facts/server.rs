//! Answers the node's programs, every user's, in one thread of process 1.
//!
//! ```text
//! client ── "client_id\n" ──► Asking ──► Telling ──► closed            what came with the desired state
//!                               │           ▲
//!                               └► Waiting ─┘                          what the agent is asked for
//! ```
//!
//! An answer is `ok` or `no`, a line's end, and the fact or the reason. A flood harms nobody but itself: connections are
//! bounded, altogether and for each user, and every state of one in time; questions are short, answers are shared.

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use testyard_guest_protocol::Answer;

use super::desk::{Desk, Known, NotAsked, PATIENCE};
use super::door;
use super::names::{self, Source};

/// The most connections; further ones wait in the socket's queue.
const MOST: usize = 32;

/// The most connections of one user; further ones are closed, and their clients try again.
const MOST_OF_USER: usize = 8;

/// The longest question in bytes.
const QUESTION: usize = 100;

/// The time to ask, and the time to take an answer.
const TURN: Duration = Duration::from_secs(3);

/// The server.
pub(super) struct Server<'a> {
    desk: &'a Desk,
    /// Called when there is a question for the agent.
    wake: &'a dyn Fn(),
    bell: UnixStream,
    listeners: Vec<UnixListener>,
    connections: Vec<Connection>,
}

struct Connection {
    stream: UnixStream,
    uid: u32,
    deadline: Instant,
    state: State,
}

enum State {
    Asking(Vec<u8>),
    /// For the answer to the question of this number.
    Waiting(u64),
    Telling {
        answer: Arc<Answer>,
        written: usize,
    },
}

impl<'a> Server<'a> {
    pub(super) fn new(desk: &'a Desk, wake: &'a dyn Fn(), listeners: Vec<UnixListener>) -> io::Result<Self> {
        Ok(Self { desk, wake, bell: desk.bell()?, listeners, connections: Vec::new() })
    }

    /// Ends all connections.
    pub(super) fn hang_up(&mut self) {
        self.connections.clear();
    }

    /// Waits for something to do, and does it.
    pub(super) fn turn(&mut self) {
        let (bell, listeners, connections) = self.wait();
        if bell {
            let mut rings = [0; 64];
            while self.bell.read(&mut rings).is_ok_and(|count| count > 0) {}
            for (id, answer) in self.desk.take_told() {
                for connection in &mut self.connections {
                    if matches!(connection.state, State::Waiting(waits) if waits == id) {
                        connection.tell(Arc::clone(&answer));
                    }
                }
            }
        }
        let now = Instant::now();
        let mut index = 0;
        let mut events = connections.into_iter();
        self.connections.retain_mut(|connection| {
            index += 1;
            let events = events.next().unwrap_or(PollFlags::empty());
            connection.go_on(events, now, self.desk, self.wake).is_ok()
        });
        for listener in listeners {
            self.accept(listener);
        }
    }

    /// Whether there are answers, which listeners have somebody, and what each connection can do.
    fn wait(&self) -> (bool, Vec<usize>, Vec<PollFlags>) {
        let room = if self.connections.len() < MOST { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.listeners.iter().map(|listener| PollFd::new(listener.as_fd(), room)));
        fds.extend(self.connections.iter().map(|connection| {
            PollFd::new(
                connection.stream.as_fd(),
                match connection.state {
                    State::Asking(_) => PollFlags::POLLIN,
                    State::Waiting(_) => PollFlags::empty(),
                    State::Telling { .. } => PollFlags::POLLOUT,
                },
            )
        }));
        let next = self.connections.iter().map(|connection| connection.deadline).min();
        // A millisecond more, so that it is past the deadline and not just before.
        let left = next.map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout =
            left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let _ = poll(&mut fds, timeout);
        let events: Vec<PollFlags> =
            fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        let (own, connections) = events.split_at(1 + self.listeners.len());
        let listeners =
            own.iter().skip(1).enumerate().filter(|(_, events)| !events.is_empty()).map(|(index, _)| index);
        (own.first().is_some_and(|events| !events.is_empty()), listeners.collect(), connections.to_vec())
    }

    fn accept(&mut self, listener: usize) {
        while self.connections.len() < MOST {
            let Some(Ok((stream, _))) = self.listeners.get(listener).map(UnixListener::accept) else {
                return;
            };
            let Ok(uid) = door::peer(&stream) else { continue };
            if self.connections.iter().filter(|connection| connection.uid == uid).count() >= MOST_OF_USER
                || stream.set_nonblocking(true).is_err()
            {
                continue;
            }
            let deadline = Instant::now() + TURN;
            self.connections.push(Connection { stream, uid, deadline, state: State::Asking(Vec::new()) });
        }
    }
}

/// The connection has had its answer, or is of no use.
struct Closed;

impl Connection {
    fn go_on(&mut self, events: PollFlags, now: Instant, desk: &Desk, wake: &dyn Fn()) -> Result<(), Closed> {
        let late = self.deadline <= now;
        match &mut self.state {
            State::Asking(question) if events.contains(PollFlags::POLLIN) => {
                match read_question(&mut self.stream, question)?.map(|name| look_up(&name, desk, now)) {
                    Some(Found::Answer(answer)) => self.tell(answer),
                    Some(Found::Asked(id)) => {
                        (self.state, self.deadline) = (State::Waiting(id), now + PATIENCE);
                        wake();
                    }
                    None if late => return Err(Closed),
                    None => {}
                }
            }
            State::Waiting(_) if late => {
                self.tell(refused("the testbed does not answer now; try again"));
            }
            State::Asking(_) | State::Waiting(_) if late || !events.is_empty() => return Err(Closed),
            State::Telling { .. } if late => return Err(Closed),
            _ => {}
        }
        match &mut self.state {
            State::Telling { answer, written } => write_answer(&mut self.stream, answer, written),
            _ => Ok(()),
        }
    }

    fn tell(&mut self, answer: Arc<Answer>) {
        self.state = State::Telling { answer, written: 0 };
        self.deadline = Instant::now() + TURN;
    }
}

/// The question, once its line is there.
fn read_question(stream: &mut UnixStream, question: &mut Vec<u8>) -> Result<Option<String>, Closed> {
    let mut bytes = [0; QUESTION];
    match stream.read(&mut bytes) {
        Ok(0) => return Err(Closed),
        Ok(count) => question.extend_from_slice(&bytes[..count]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(_) => return Err(Closed),
    }
    match question.iter().position(|byte| *byte == b'\n') {
        Some(end) if end <= QUESTION => Ok(Some(String::from_utf8_lossy(&question[..end]).into_owned())),
        None if question.len() <= QUESTION => Ok(None),
        _ => Err(Closed),
    }
}

/// Writes what the stream takes; [`Closed`] when everything is written too.
fn write_answer(stream: &mut UnixStream, answer: &Answer, written: &mut usize) -> Result<(), Closed> {
    let (head, body) = match answer {
        Answer::Text(text) => (b"ok\n", text.as_bytes()),
        Answer::Refused(reason) => (b"no\n", reason.as_bytes()),
    };
    loop {
        let rest = match head.get(*written..).filter(|rest| !rest.is_empty()) {
            Some(rest) => rest,
            None => body.get(*written - head.len()..).unwrap_or_default(),
        };
        if rest.is_empty() {
            return Err(Closed);
        }
        match stream.write(rest) {
            Ok(count) => *written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Closed),
        }
    }
}

/// What a question leads to.
enum Found {
    Answer(Arc<Answer>),
    /// The agent is asked, with this number.
    Asked(u64),
}

fn refused(reason: &str) -> Arc<Answer> {
    Arc::new(Answer::Refused(reason.to_owned()))
}

fn look_up(name: &str, desk: &Desk, now: Instant) -> Found {
    let Some(known) = names::find(name) else {
        return Found::Answer(refused("there is no such fact; geni-get commands lists them"));
    };
    let text = |text: String| Found::Answer(Arc::new(Answer::Text(text)));
    match known.source {
        Source::Nowhere(why) => Found::Answer(refused(why)),
        Source::List => text(names::commands()),
        Source::Desired => match desk.known() {
            Some(desired) => text(of_desired(name, &desired)),
            None => Found::Answer(refused(NOTHING_KNOWN)),
        },
        Source::Agent => match desk.ask(known.question().unwrap_or_default(), now) {
            Ok(id) => Found::Asked(id),
            Err(NotAsked::NothingKnown) => Found::Answer(refused(NOTHING_KNOWN)),
            Err(NotAsked::NotAnswered) => {
                Found::Answer(refused("this testbed does not tell it to its nodes"))
            }
        },
    }
}

const NOTHING_KNOWN: &str = "the testbed has told this node nothing about itself yet";

/// The fact of this name; the empty text if there is none.
fn of_desired(name: &str, known: &Known) -> String {
    let facts = &known.facts;
    match name {
        "client_id" => facts.client_id.clone(),
        "control_ipv4" => known.address(IpAddr::is_ipv4),
        "control_ipv6" => known.address(IpAddr::is_ipv6),
        "control_mac" => control_mac(&facts.addresses),
        "geni_user" => known.users(),
        "slice_urn" => facts.slice_urn.clone(),
        "sliver_urn" => facts.sliver_urn.clone(),
        "user_urn" => facts.user_urn.clone(),
        "version" => names::VERSION.to_owned(),
        // The testbed keeps no addresses of people.
        _ => String::new(),
    }
}

/// The MAC address of the interface that has one of these addresses, as other testbeds write it: digits only.
fn control_mac(addresses: &[IpAddr]) -> String {
    let interfaces = || nix::ifaddrs::getifaddrs().into_iter().flatten();
    let ip = |interface: &nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let control = interfaces().find(|interface| ip(interface).is_some_and(|ip| addresses.contains(&ip)));
    let mac = |name: &str| {
        interfaces()
            .filter(|interface| interface.interface_name == name)
            .find_map(|interface| interface.address?.as_link_addr()?.addr())
    };
    let mac = control.and_then(|control| mac(&control.interface_name));
    mac.map(|mac| mac.iter().map(|byte| format!("{byte:02x}")).collect()).unwrap_or_default()
}

#[cfg(test)]
#[path = "server/tests.rs"]
mod tests;

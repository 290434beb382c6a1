//! Connections that are carried: -L, -R, -D, -A, of ports and of sockets.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::programs::wait_for;
use crate::support::{Client, Server, UID, text};

fn client(server: &Server, options: &[&str]) -> Client {
    let mut words = vec!["-N", "-o", "ExitOnForwardFailure=yes"];
    words.extend(options);
    words.push("ann@127.0.0.1");
    Client(server.command("ssh", &words).spawn().unwrap())
}

/// Says back what it is told, reversed, one connection after the other.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream.try_clone().unwrap(), stream));
        }
    });
    port
}

fn answer(mut read: impl std::io::Read, mut write: impl std::io::Write) {
    let mut said = Vec::new();
    let _ = read.read_to_end(&mut said);
    said.reverse();
    let _ = write.write_all(&said);
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Says something to a port, ends, and reads the answer.
fn ask(port: u16, what: &[u8]) -> Vec<u8> {
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let what = what.to_vec();
    let writing = std::thread::spawn(move || {
        writer.write_all(&what).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    writing.join().unwrap();
    said
}

#[test]
fn ports_of_the_node_are_reached_from_outside() {
    let server = Server::start();
    let (there, here) = (echo(), free_port());
    let _client = client(&server, &["-L", &format!("{here}:localhost:{there}")]);
    assert_eq!(ask(here, b"abc"), b"cba");
    let mut large: Vec<u8> = (0..20_000_000u32).map(|at| (at >> 7) as u8).collect();
    let said = ask(here, &large);
    large.reverse();
    assert!(said == large);
}

#[test]
fn ports_outside_are_reached_from_the_node() {
    let server = Server::start();
    let (there, here) = (free_port(), echo());
    let _client = client(&server, &["-R", &format!("{there}:127.0.0.1:{here}")]);
    assert_eq!(ask(there, b"12345"), b"54321");
    // Nothing of a client's is opened to the network, and port 0 is one that is told.
    let listeners = Command::new("ss").args(["-ltnH", &format!("sport = :{there}")]).output();
    if let Ok(listeners) = listeners {
        let own = text(&listeners.stdout);
        let own = own.lines().filter_map(|line| line.split_ascii_whitespace().nth(3));
        assert!(
            own.into_iter().all(|address| address.starts_with("127.0.0.1:") || address.starts_with("[::1]:"))
        );
    }
    let output = server.ssh(&["-o", "LogLevel=INFO", "-R", &format!("0:127.0.0.1:{here}")], "true");
    assert!(text(&output.stderr).contains("Allocated port"), "{output:?}");
    drop(_client);
    wait_for(|| TcpStream::connect(("127.0.0.1", there)).is_err());
}

#[test]
fn sockets_are_carried_both_ways() {
    let server = Server::start();
    // The node's socket from outside.
    let inside = server.home().join("inside");
    let listener = UnixListener::bind(&inside).unwrap();
    std::os::unix::fs::chown(&inside, Some(UID), None).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream.try_clone().unwrap(), stream);
        }
    });
    let port = free_port();
    let _first = client(&server, &["-L", &format!("{port}:{}", inside.display())]);
    assert_eq!(ask(port, b"xyz"), b"zyx");
    // A port outside by a socket in the node, which is the user's alone and goes with the client.
    let made = server.home().join("made");
    let second = client(&server, &["-R", &format!("{}:127.0.0.1:{}", made.display(), echo())]);
    wait_for(|| made.exists());
    use std::os::unix::fs::MetadataExt as _;
    let found = made.metadata().unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (UID, 0o600));
    let mut stream = UnixStream::connect(&made).unwrap();
    stream.write_all(b"pq").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"qp");
    drop(second);
    wait_for(|| !made.exists());
}

#[test]
fn any_place_is_reached_by_a_proxy() {
    let server = Server::start();
    let (there, proxy) = (echo(), free_port());
    let _client = client(&server, &["-D", &proxy.to_string()]);
    wait_for(|| TcpStream::connect(("127.0.0.1", proxy)).is_ok());
    let mut stream = TcpStream::connect(("127.0.0.1", proxy)).unwrap();
    // SOCKS 5 without a login, to a name.
    stream.write_all(&[5, 1, 0]).unwrap();
    let mut said = [0; 2];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(said, [5, 0]);
    let [high, low] = there.to_be_bytes();
    stream.write_all(&[&[5, 1, 0, 3, 9], b"localhost".as_slice(), &[high, low]].concat()).unwrap();
    let mut said = [0; 10];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(said[1], 0);
    stream.write_all(b"hello").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"olleh");
}

#[test]
fn a_port_that_nobody_listens_on_is_told_of_at_once() {
    let server = Server::start();
    let output = server.ssh(&["-W", &format!("127.0.0.1:{}", free_port())], "");
    assert!(text(&output.stderr).contains("forwarding failed"), "{output:?}");
}

#[test]
fn the_clients_agent_is_reached_from_the_node() {
    let server = Server::start();
    let socket = server.path("agent").display().to_string();
    let agent = Command::new("ssh-agent").args(["-D", "-a", &socket]).stdout(Stdio::null()).spawn().unwrap();
    let _agent = Client(agent);
    wait_for(|| server.path("agent").exists());
    let added = Command::new("ssh-add")
        .arg("-q")
        .arg(server.path("user"))
        .env("SSH_AUTH_SOCK", &socket)
        .status()
        .unwrap();
    assert!(added.success());
    let mut command = server.command("ssh", &["-A", "-o", &format!("IdentityAgent={socket}"), "ann@127.0.0.1", "stat -c %a:%u $SSH_AUTH_SOCK $(dirname $SSH_AUTH_SOCK); echo $SSH_AUTH_SOCK; ssh-add -l; ssh-add -l"]);
    // The common options say that there is no agent; the first one counts, so it is said anew before them.
    let words: Vec<_> = command.get_args().map(|word| word.to_owned()).collect();
    command = Command::new("ssh");
    command
        .args(["-o", &format!("IdentityAgent={socket}")])
        .args(words)
        .env("SSH_AUTH_SOCK", &socket)
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = text(&output.stdout);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{output:?}\n{}", server.log());
    assert_eq!(lines[..2], [format!("600:{UID}"), format!("700:{UID}")]);
    assert!(lines[3].contains("ED25519") && lines[3] == lines[4], "{said}");
    wait_for(|| !std::path::Path::new(lines[2]).exists());
    // Not asked for, not there.
    assert_eq!(server.says("echo [$SSH_AUTH_SOCK]"), "[]\n");
}

//! Names to addresses without the C library, whose resolver loads parts of the image: /etc/hosts, then name servers.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::dns::{self, Answer, Kind};
use super::reach::Reach;

/// How long one server may take for one question.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the second kind of address is waited for once the first is there.
const SECOND: Duration = Duration::from_millis(200);

/// How often all servers are asked.
const ROUNDS: u32 = 2;

/// Why a name was not looked up. That it does not exist is an answer, not an error.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is nobody to ask.
    #[error("there is no name server")]
    NoServers,
    /// A name server could not be asked, or said nothing that makes sense.
    #[error("the name server {0} does not answer")]
    Server(IpAddr, #[source] io::Error),
    /// A name server has refused.
    #[error("the name server {0} answers with code {1}")]
    Code(IpAddr, u8),
}

/// What is known about names, whom to trust, and what may be reached.
#[derive(Debug)]
pub struct Network {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    hosts: String,
    /// Files with certificates of authorities that are trusted; the first that is there counts.
    pub(super) bundles: Vec<PathBuf>,
    pub(super) reach: Reach,
}

/// Where distributions keep the authorities that their programs trust.
const BUNDLES: [&str; 4] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
    "etc/ssl/cert.pem",
];

impl Network {
    /// `servers` and `search` as in /etc/resolv.conf, `hosts` a text like /etc/hosts, `root` where trusted authorities are looked
    /// for beside those that came with us. Everything may be reached.
    #[must_use]
    pub fn new(servers: &[IpAddr], search: Vec<String>, hosts: String, root: &Path) -> Self {
        let servers = servers.iter().map(|server| SocketAddr::new(*server, 53)).collect();
        let bundles = BUNDLES.iter().map(|bundle| root.join(bundle)).collect();
        Self { servers, search, hosts, bundles, reach: Reach::Everything }
    }

    /// The same, and only this may be reached, redirects included. Names are looked up once, and what is connected to is
    /// what has been judged.
    #[must_use]
    pub fn reaching(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// The addresses of a name, IPv4 first (a node without IPv6 learns at once that it has none); empty if there is no
    /// such name.
    ///
    /// # Errors
    /// [`ResolveError`]; that there is no such name is none.
    pub fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        let known = addresses_of(&self.hosts, name);
        if !known.is_empty() {
            return Ok(known);
        }
        if self.servers.is_empty() {
            return Err(ResolveError::NoServers);
        }
        // A name with a dot is whole; one without is one of the search domains' first.
        let relative = !name.contains('.');
        let searched = self.search.iter().map(|domain| format!("{name}.{}", domain.trim_matches('.')));
        let names = searched.filter(|_| relative).chain([name.to_owned()]);
        for name in names {
            let found = self.ask_all(&name)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    fn ask_all(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let mut last = ResolveError::NoServers;
        for _ in 0..ROUNDS {
            for server in &self.servers {
                match ask(*server, name) {
                    Ok(found) => return Ok(found),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }
}

/// The addresses of a name in a text like /etc/hosts.
fn addresses_of(hosts: &str, name: &str) -> Vec<IpAddr> {
    hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

/// Asks one server for both kinds of address at once.
fn ask(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let broken = |error: io::Error| ResolveError::Server(server.ip(), error);
    let any = match server {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    // A port and ids that nobody can guess are all that protects the answer.
    let socket = UdpSocket::bind((any, 0))
        .and_then(|socket| socket.connect(server).map(|()| socket))
        .map_err(broken)?;
    let mut open = Vec::new();
    for kind in [Kind::V4, Kind::V6] {
        let id = random();
        let Some(question) = dns::question(id, name, kind) else { return Ok(Vec::new()) };
        socket.send(&question).map_err(broken)?;
        open.push((id, kind, question));
    }
    let mut deadline = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    let mut answered = false;
    let mut buffer = [0; 4096];
    while !open.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left)).map_err(broken)?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        let read = open.iter().enumerate().find_map(|(index, (id, kind, _))| {
            dns::answer(&buffer[..length], *id, name, *kind).ok().map(|answer| (index, answer))
        });
        let Some((index, mut answer)) = read else { continue };
        let (id, kind, question) = open.swap_remove(index);
        if answer == Answer::Truncated {
            let message = ask_tcp(server, &question).map_err(broken)?;
            answer = dns::answer(&message, id, name, kind)
                .map_err(|error| broken(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        }
        match answer {
            Answer::Addresses(addresses) => found.extend(addresses),
            Answer::NoSuchName | Answer::Truncated => {}
            // Some servers refuse one kind and know the other.
            Answer::Refused(_) if answered || !open.is_empty() => continue,
            Answer::Refused(code) => return Err(ResolveError::Code(server.ip(), code)),
        }
        answered = true;
        if !found.is_empty() {
            deadline = deadline.min(Instant::now() + SECOND);
        }
    }
    if !answered {
        return Err(broken(io::ErrorKind::TimedOut.into()));
    }
    found.sort_by_key(IpAddr::is_ipv6);
    Ok(found)
}

fn ask_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// Std seeds its hashers from the kernel's random numbers.
fn random() -> u16 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let bytes = std::hash::RandomState::new().build_hasher().finish().to_ne_bytes();
    u16::from_ne_bytes([bytes[0], bytes[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_hosts_file() {
        let text = "127.0.0.1\tlocalhost\n10.0.0.2 b a # c\n";
        assert_eq!(addresses_of(text, "B"), ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses_of("#1.2.3.4 b\nx b", "b"), Vec::<IpAddr>::new());
        assert_eq!(addresses_of(text, "c"), Vec::<IpAddr>::new());
    }

    /// A name server that knows one name; the first answers are lost, cut or refused as `faults` says.
    fn server(faults: &'static [&'static str]) -> (SocketAddr, std::thread::JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let tcp = std::net::TcpListener::bind(address).unwrap();
        let reply = |asked: &[u8], fault: &str| {
            let mut message = asked.to_vec();
            let v4 = asked[asked.len() - 3] == 1;
            let known = asked.windows(5).any(|bytes| bytes == b"files");
            message[2] = 0x81 | if fault == "cut" { 2 } else { 0 };
            message[3] = if fault == "refuse" {
                5
            } else if known {
                0
            } else {
                3
            };
            if known && v4 {
                message[7] = 1;
                message.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 9]);
            }
            message
        };
        let thread = std::thread::spawn(move || {
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut buffer = [0; 512];
            for fault in faults {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                if *fault != "lose" {
                    socket.send_to(&reply(&buffer[..length], fault), from).unwrap();
                }
                if *fault == "cut" {
                    let (mut stream, _) = tcp.accept().unwrap();
                    let mut length = [0; 2];
                    stream.read_exact(&mut length).unwrap();
                    let mut asked = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut asked).unwrap();
                    let message = reply(&asked, "");
                    stream.write_all(&u16::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
                    stream.write_all(&message).unwrap();
                }
            }
        });
        (address, thread)
    }

    fn network(servers: &[SocketAddr], search: &[&str]) -> Network {
        Network {
            servers: servers.to_vec(),
            search: search.iter().map(|domain| (*domain).to_owned()).collect(),
            hosts: "192.0.2.1 near\n".into(),
            bundles: Vec::new(),
            reach: Reach::Everything,
        }
    }

    #[test]
    fn names_are_found() {
        let expected: Vec<IpAddr> = vec!["192.0.2.9".parse().unwrap()];
        for faults in [&["", ""][..], &["cut", ""], &["", "lose"], &["refuse", "refuse", "", ""]] {
            let (address, thread) = server(faults);
            assert_eq!(network(&[address], &[]).lookup("files.example").unwrap(), expected, "{faults:?}");
            thread.join().unwrap();
        }
        // A dead server first, then search domains.
        let dead = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, thread) = server(&["", "", "", ""]);
        assert_eq!(network(&[dead, address], &["other", "example."]).lookup("files").unwrap(), expected);
        drop(thread);
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let (address, thread) = server(&["", ""]);
        assert!(network(&[address], &[]).lookup("none.example").unwrap().is_empty());
        thread.join().unwrap();
        assert!(matches!(network(&[], &[]).lookup("none.example"), Err(ResolveError::NoServers)));
        assert_eq!(network(&[], &[]).lookup("near").unwrap().len(), 1);
        assert_eq!(network(&[], &[]).lookup("::1").unwrap().len(), 1);
    }
}

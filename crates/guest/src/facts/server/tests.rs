//! The server over a socket of its own, with the test as the agent.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use testyard_guest_protocol::{Account, Ask, Desired, FactUser, Facts, Told};

/// A server in a thread; it ends with the test's process.
struct House {
    folder: tempfile::TempDir,
    desk: &'static Desk,
    woken: &'static AtomicUsize,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = door::listen_at(&folder.path().join("facts/facts.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let desk: &'static Desk = Box::leak(Box::default());
        let woken: &'static AtomicUsize = Box::leak(Box::default());
        std::thread::spawn(move || {
            let wake = || {
                woken.fetch_add(1, Ordering::SeqCst);
            };
            let mut server = Server::new(desk, &wake, vec![listener]).unwrap();
            loop {
                server.turn();
            }
        });
        Self { folder, desk, woken }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("facts/facts.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    fn send(&self, bytes: &[u8]) -> UnixStream {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        stream
    }

    fn ask(&self, name: &str) -> String {
        read(self.send(format!("{name}\n").as_bytes()))
    }

    /// The agent's next question.
    fn question(&self) -> Ask {
        loop {
            if let Some(ask) = self.desk.unsent() {
                return ask;
            }
            testyard_fetch::backoff::pause(Duration::from_millis(1));
        }
    }
}

/// All that comes; nothing if the server hung up.
fn read(mut stream: UnixStream) -> String {
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => text,
    }
}

fn desired() -> Desired {
    let facts = Facts {
        client_id: "web".into(),
        slice_urn: "urn:publicid:IDN+a:p+slice+demo".into(),
        sliver_urn: "urn:publicid:IDN+tb+sliver+1".into(),
        user_urn: "urn:publicid:IDN+a+user+ann".into(),
        users: vec![FactUser { login: "ann".into(), urn: "urn:publicid:IDN+a+user+ann".into() }],
        addresses: vec!["127.0.0.1".parse().unwrap()],
        asks: vec!["manifest".into(), "status".into()],
    };
    let ann = Account { login: "ann".into(), keys: vec!["ssh-ed25519 AA".into()], sudo: true };
    Desired { facts: Some(facts), accounts: vec![ann], ..Desired::default() }
}

#[test]
fn what_came_with_the_desired_state() {
    let house = House::new();
    assert!(house.ask("client_id").starts_with("no\nthe testbed has told"));
    house.desk.learn(&desired());
    assert_eq!(house.ask("client_id"), "ok\nweb");
    assert_eq!(house.ask("slice_urn"), "ok\nurn:publicid:IDN+a:p+slice+demo");
    assert_eq!(house.ask("sliver_urn"), "ok\nurn:publicid:IDN+tb+sliver+1");
    assert_eq!(house.ask("user_urn"), "ok\nurn:publicid:IDN+a+user+ann");
    assert_eq!((house.ask("user_email"), house.ask("slice_email")), ("ok\n".into(), "ok\n".into()));
    assert_eq!(
        (house.ask("control_ipv4"), house.ask("control_ipv6")),
        ("ok\n127.0.0.1".into(), "ok\n".into())
    );
    // The loopback interface has one, of noughts.
    assert_eq!(house.ask("control_mac"), "ok\n000000000000");
    assert!(house.ask("geni_user").contains("ssh-ed25519 AA"));
    assert_eq!(house.woken.load(Ordering::SeqCst), 0, "nobody else was asked");
    for name in ["key", "certificate", "rpccert", "nonsense", "", "client_id\0", "../../etc/shadow"] {
        assert!(house.ask(name).starts_with("no\n"), "{name:?}");
    }
    assert!(house.ask("getversion").starts_with("no\nthis testbed does not tell"));
}

#[test]
fn what_the_agent_is_asked_is_asked_once_for_all() {
    let house = House::new();
    house.desk.learn(&desired());
    let waiting: Vec<UnixStream> = (0..MOST_OF_USER).map(|_| house.send(b"manifest\n")).collect();
    let ask = house.question();
    assert_eq!(ask.what, "manifest");
    // All of them are there before the answer comes.
    while house.woken.load(Ordering::SeqCst) < MOST_OF_USER {
        testyard_fetch::backoff::pause(Duration::from_millis(1));
    }
    assert!(house.desk.unsent().is_none());
    let manifest = "<rspec/>".repeat(100_000);
    house.desk.tell(Told { id: ask.id, answer: Answer::Text(manifest.clone()) });
    for stream in waiting {
        assert!(read(stream) == format!("ok\n{manifest}"));
    }
    let stream = house.send(b"status\n");
    let ask = house.question();
    house.desk.tell(Told { id: ask.id, answer: Answer::Refused("not now".into()) });
    assert_eq!(read(stream), "no\nnot now");
}

#[test]
fn floods_and_nonsense_end_and_others_are_answered() {
    let house = House::new();
    house.desk.learn(&desired());
    assert_eq!(read(house.send(&[b'x'; 10_000])), "");
    drop(house.send(b"client_id"));
    drop(house.send(b"manifest\n"));
    // More than one user may have: the further ones are closed at once.
    let idle: Vec<UnixStream> = (0..MOST_OF_USER).map(|_| house.connect()).collect();
    assert_eq!(read(house.connect()), "");
    // Those that say nothing are closed in time, and there is room again.
    for stream in idle {
        assert_eq!(read(stream), "");
    }
    for _ in 0..500 {
        assert_eq!(house.ask("client_id"), "ok\nweb");
    }
}

#[test]
fn who_does_not_read_is_hung_up_on() {
    let house = House::new();
    house.desk.learn(&desired());
    let mut deaf = house.send(b"manifest\n");
    let ask = house.question();
    house.desk.tell(Told { id: ask.id, answer: Answer::Text("x".repeat(3 << 20)) });
    testyard_fetch::backoff::pause(TURN + Duration::from_millis(500));
    let mut bytes = Vec::new();
    let _ = deaf.read_to_end(&mut bytes);
    assert!(bytes.len() < 3 << 20, "{} bytes came", bytes.len());
    assert_eq!(house.ask("client_id"), "ok\nweb");
}

#[test]
fn a_folder_that_others_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(door::listen_at(&shared.join("facts.sock")).is_err());
    std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
    assert!(door::listen_at(&folder.path().join("link/facts.sock")).is_err());
    let path = folder.path().join("own/facts.sock");
    drop(door::listen_at(&path).unwrap());
    let listener = door::listen_at(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    drop(listener);
}

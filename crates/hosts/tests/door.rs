//! Hosts come in over real TCP and TLS, and those who should not do not.

#![expect(clippy::unwrap_used, reason = "what helps a test fails as the test does")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use testyard_agent::remote::{ConnectionError, Introduction, RemoteFacts, RemoteHost, join, serve};
use testyard_agent::{Host as _, HostConfig, LocalHost, LocalHostConfig, Standing};
use testyard_fabric::fake::FakeFabric;
use testyard_hosts::door::Hosts;
use testyard_hosts::token::SecretHash;
use testyard_hosts::{
    CallError, Door, Membership, MemoryRoster, Roster as _, RosterError, StoreRoster, Token, connect, enrol,
    renew,
};
use testyard_model::id::HostName;
use testyard_runtime::fake::FakeRuntime;
use testyard_store::Store;
use testyard_trust::issuer::{HostAuthority, HostRequest, Validity};
use testyard_trust::{Fingerprint, NewKey, PrivateKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

struct One(Arc<RemoteHost>);

impl Hosts for One {
    fn host(&self, name: &HostName) -> Option<Arc<RemoteHost>> {
        (name.as_str() == "h1").then(|| Arc::clone(&self.0))
    }
}

/// A controller's door with one host behind it.
struct Yard {
    authority: HostAuthority,
    roster: Arc<MemoryRoster>,
    host: Arc<RemoteHost>,
    at: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

fn name() -> HostName {
    "h1".parse().unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::make(NewKey::P256).unwrap()
}

impl Yard {
    async fn new() -> Self {
        Self::of(HostAuthority::make(&"a.example.net".parse().unwrap(), Timestamp::now()).unwrap()).await
    }

    async fn of(authority: HostAuthority) -> Self {
        let (roster, host) =
            (Arc::new(MemoryRoster::default()), RemoteHost::new(name(), HostConfig::pretending()));
        let hosts = Arc::new(One(Arc::clone(&host)));
        let program = "testyard 1".to_owned();
        let (own, look) = (authority.clone(), Duration::from_millis(50));
        let door = Door::new(own, Arc::clone(&roster) as _, hosts, program, Timestamp::now, look).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(door.serve(listener, shutdown.clone()));
        Self { authority, roster, host, at, shutdown, serving }
    }

    /// A token that is good for so many seconds.
    fn token(&self, seconds: i64) -> Token {
        let token = Token::make(name(), self.authority.fingerprint()).unwrap();
        let until = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        self.roster.add(name(), token.hash(), until);
        token
    }

    async fn enrol(&self) -> Membership {
        enrol(&self.at.to_string(), &self.token(60), &key()).await.unwrap()
    }

    async fn until_here(&self) {
        self.host.standing().wait_for(|standing| *standing == Standing::Here).await.unwrap();
    }

    async fn until_away(&self) {
        self.host.standing().wait_for(|standing| matches!(standing, Standing::Away(_))).await.unwrap();
    }
}

/// An agent that serves a controller.
async fn agent(membership: &Membership) -> Result<JoinHandle<ConnectionError>, CallError> {
    let stream = connect(membership).await?;
    let folder = tempfile::tempdir().unwrap();
    let config = LocalHostConfig {
        runtimes: vec![Arc::new(FakeRuntime::new())],
        fabric: Arc::new(FakeFabric::new()),
        state: folder.path().join("nodes"),
        domain: "a.example.net".into(),
        name_servers: Vec::new(),
        stop_grace: Duration::from_secs(1),
        install_limits: (1, 1),
        images: testyard_agent::ImageSettings::default(),
        only_netem: false,
        facts: None,
        pool: None,
        now: Timestamp::now,
    };
    let host = LocalHost::start(config).await.unwrap();
    Ok(tokio::spawn(async move {
        let _folder = folder;
        let own = Introduction { program: "testyard 1".into(), instance: Uuid::from_u128(1) };
        match join(stream, &own).await {
            Ok(joined) => serve(host, &RemoteFacts::default(), joined).await,
            Err(error) => error,
        }
    }))
}

fn refusal<T>(result: Result<T, CallError>) -> String {
    match result {
        Err(CallError::Refused(reason)) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was let in"),
    }
}

#[tokio::test]
async fn a_host_enrols_comes_in_and_renews() {
    let yard = Yard::new().await;
    let membership = yard.enrol().await;
    let serving = agent(&membership).await.unwrap();
    yard.until_here().await;
    assert!(yard.host.facts().await.unwrap().healthy);

    // The next certificate; the old one is good until the new one is used.
    let next = renew(&membership, &key()).await.unwrap();
    assert_ne!(next.certificate, membership.certificate);
    serving.abort();
    yard.until_away().await;
    let serving = agent(&membership).await.unwrap();
    yard.until_here().await;
    serving.abort();
    yard.until_away().await;
    let _serving = agent(&next).await.unwrap();
    yard.until_here().await;
    let old = refusal(connect(&membership).await);
    assert_eq!(
        old,
        "this certificate of host h1 is good no more: `testyard host add h1` prints a token for a new one"
    );
    let days = next.renew_at().unwrap().duration_since(Timestamp::now()).as_hours() / 24;
    assert!((18..=20).contains(&days), "{days}");

    // The controller ends.
    yard.shutdown.cancel();
    yard.serving.await.unwrap();
    assert!(matches!(connect(&next).await, Err(CallError::Unreachable { .. })));
}

#[tokio::test]
async fn tokens_let_in_once_and_for_a_while() {
    let yard = Yard::new().await;
    let at = yard.at.to_string();
    let bad = "the token of host h1 is wrong, was used already, or has ended: `testyard host add h1` prints a new one";
    let late = yard.token(-1);
    assert_eq!(refusal(enrol(&at, &late, &key()).await), bad);
    let (token, own) = (yard.token(60), key());
    enrol(&at, &token, &own).await.unwrap();
    assert_eq!(refusal(enrol(&at, &token, &key()).await), bad, "somebody else");
    // Whoever has not heard the answer asks again.
    let membership = enrol(&at, &token, &own).await.unwrap();
    connect(&membership).await.unwrap();
    let newer = yard.token(60);
    assert_eq!(refusal(enrol(&at, &token, &own).await), bad, "there is a newer token");
    let other = Token::make("h2".parse().unwrap(), yard.authority.fingerprint()).unwrap();
    let no_host = refusal(enrol(&at, &other, &key()).await);
    assert_eq!(no_host, "there is no host h2: `testyard host add h2` makes one");
    // A machine that is set up anew takes the place of the old one.
    let fresh = enrol(&at, &newer, &key()).await.unwrap();
    assert!(connect(&membership).await.is_err());
    connect(&fresh).await.unwrap();
    yard.roster.remove(&name());
    assert_eq!(refusal(connect(&fresh).await), "there is no host h1: `testyard host add h1` makes one");
}

#[tokio::test]
async fn certificates_that_are_not_good() {
    let yard = Yard::new().await;
    let good = yard.enrol().await;
    let with = |authority: &HostAuthority, validity| {
        let key = key();
        let request = HostRequest::read(&HostRequest::make(&key).unwrap()).unwrap();
        let certificate = authority.issue(&name(), &request, validity).unwrap();
        let key = String::from_utf8(key.to_pem().unwrap()).unwrap();
        Membership { certificate: certificate.to_pem(), key, ..good.clone() }
    };
    let now = Timestamp::now();
    let hours = jiff::SignedDuration::from_hours;
    let ended = Validity { from: now - hours(48), until: now - hours(24) };
    let ended = refusal(connect(&with(&yard.authority, ended)).await);
    assert_eq!(ended, "the certificate is not good: certificate has expired");
    let early = Validity { from: now + hours(24), until: now + hours(48) };
    let early = refusal(connect(&with(&yard.authority, early)).await);
    assert_eq!(early, "the certificate is not good: certificate is not yet valid");
    // Of another authority that calls itself the same.
    let other = HostAuthority::make(&"a.example.net".parse().unwrap(), now).unwrap();
    let other = refusal(connect(&with(&other, Validity::days(now, 30))).await);
    assert!(other.starts_with("the certificate is not good: "), "{other}");
    // One that was never recorded.
    let unknown = refusal(connect(&with(&yard.authority, Validity::days(now, 30))).await);
    assert!(unknown.contains("good no more"), "{unknown}");
    // The controller's own is no host's.
    let controller = yard.authority.controller(now).unwrap();
    let key = String::from_utf8(controller.key().to_pem().unwrap()).unwrap();
    let controller = Membership { certificate: controller.chain_pem(), key, ..good.clone() };
    let controller = refusal(connect(&controller).await);
    assert!(controller.starts_with("the certificate is not good: "), "{controller}");
    connect(&good).await.unwrap();
}

/// What the store keeps is what a roster in memory does, and is there after a restart.
#[tokio::test]
async fn a_roster_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("testyard.sqlite");
    let (now, hour) = (Timestamp::now(), jiff::SignedDuration::from_hours(1));
    let print = |number| Fingerprint::from_bytes([number; 32]);
    let (secret, none) = (SecretHash([7; 32]), RosterError::NoHost(name()));
    let roster = StoreRoster::new(Store::open(&path).unwrap());
    assert_eq!(roster.knows(&name(), print(1)).await, Err(none.clone()));
    assert_eq!(roster.remove(name()).await, Err(none));
    roster.add(name(), secret, now + hour).await.unwrap();
    assert_eq!(roster.all().await.unwrap()[&name()].invited_until(), Some(now + hour));
    let wrong = roster.enrol(&name(), SecretHash([8; 32]), print(9), print(1), now).await;
    assert_eq!(wrong, Err(RosterError::Token(name())));
    roster.enrol(&name(), secret, print(9), print(1), now).await.unwrap();
    roster.renew(&name(), print(1), print(2)).await.unwrap();
    drop(roster);

    let roster = StoreRoster::new(Store::open(&path).unwrap());
    assert!(roster.all().await.unwrap()[&name()].is_enrolled());
    roster.knows(&name(), print(1)).await.unwrap();
    roster.used(&name(), print(2)).await.unwrap();
    assert_eq!(roster.knows(&name(), print(1)).await, Err(RosterError::Revoked(name())));
    let late = roster.enrol(&name(), secret, print(9), print(3), now + hour).await;
    assert_eq!(late, Err(RosterError::Token(name())));
    roster.remove(name()).await.unwrap();
    assert!(roster.all().await.unwrap().is_empty());
}

/// Two controllers for one host: a host believes only its own.
#[tokio::test]
async fn a_host_believes_only_its_own_controller() {
    let (yard, other) = (Yard::new().await, Yard::new().await);
    let token = yard.token(60);
    let stranger = enrol(&other.at.to_string(), &token, &key()).await;
    assert!(matches!(stranger, Err(CallError::Stranger { .. })), "{stranger:?}");
    let lost = Membership { controller: other.at.to_string(), ..yard.enrol().await };
    let lost = connect(&lost).await.map(drop);
    assert!(matches!(lost, Err(CallError::Tls { .. })), "{lost:?}");
    let moved = Yard::of(yard.authority.clone()).await;
    let membership = Membership { controller: moved.at.to_string(), ..yard.enrol().await };
    // It is the same testbed elsewhere, which knows nothing of it.
    assert!(refusal(connect(&membership).await).contains("no host h1"));
}

#[tokio::test]
async fn who_only_takes_room_is_sent_away() {
    let yard = Yard::new().await;
    let membership = yard.enrol().await;
    let mut idlers = Vec::new();
    // More than there is room for, all of one address.
    for number in 0..80 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut idler = socket.connect(yard.at).await.unwrap();
        match number % 4 {
            0 => {}
            // Those beyond the crowd are sent away at once.
            1 => drop(idler.write_all(b"GET / HTTP/1.1\r\n\r\n").await),
            2 => drop(idler.write_all(&[0x16, 3, 1, 0xff, 0xff]).await),
            _ => drop(idler.write_all(&[0; 4096]).await),
        }
        idlers.push(idler);
    }
    // Others come in meanwhile.
    connect(&membership).await.unwrap();
    let gone = async {
        for idler in &mut idlers {
            let mut rest = Vec::new();
            let _ = idler.read_to_end(&mut rest).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("idlers are sent away");
}

/// Whoever is in with a certificate that is good no more is sent away, also if that came about while he was coming in.
#[tokio::test]
async fn who_is_in_is_in_only_as_long_as_the_certificate_is_good() {
    let yard = Yard::new().await;
    let _in = agent(&yard.enrol().await).await.unwrap();
    yard.until_here().await;
    // Revoked, and nobody has told the connection.
    yard.roster.remove(&name());
    yard.until_away().await;

    // One that ends while it is in.
    let good = yard.enrol().await;
    let key = key();
    let request = HostRequest::read(&HostRequest::make(&key).unwrap()).unwrap();
    let now = Timestamp::now();
    let soon = Validity {
        from: now - jiff::SignedDuration::from_hours(1),
        until: now + jiff::SignedDuration::from_secs(3),
    };
    let certificate = yard.authority.issue(&name(), &request, soon).unwrap();
    let first = testyard_trust::Certificate::from_pem(good.certificate.as_bytes()).unwrap().remove(0);
    yard.roster.renew(&name(), first.fingerprint(), certificate.fingerprint()).await.unwrap();
    let key = String::from_utf8(key.to_pem().unwrap()).unwrap();
    let ending = Membership { certificate: certificate.to_pem(), key, ..good };
    let _in = agent(&ending).await.unwrap();
    yard.until_here().await;
    yard.until_away().await;
    assert!(Timestamp::now() >= now + jiff::SignedDuration::from_secs(2), "not before it ended");
}

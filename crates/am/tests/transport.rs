//! TLS, HTTP and limits, against clients that do not behave.

mod support;

use std::time::{Duration, Instant};

use openssl::ssl::{Ssl, SslVersion};
use support::federation::{passed, server_pair, slice_urn};
use support::raw::{GET_VERSION, How, LONG, Raw, context};
use support::testbed::Script;
use support::{Server, code_of, options, output_of};
use testyard_am::ServerLimits;
use testyard_am::client::{AmClient, CallOptions, ClientError, ClientSettings, ServerTrust};
use testyard_am::xmlrpc::{Call, parse_reply, write_call};
use testyard_trust::PassedCredential;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

async fn server() -> Server {
    Server::start(ServerLimits::default()).await
}

fn list_resources() -> String {
    write_call(&Call { method: "ListResources".to_owned(), arguments: vec![passed(&["<x/>"]), options([])] })
}

#[tokio::test]
async fn without_a_certificate_only_the_version() {
    let server = server().await;
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let mut raw =
            Raw::connect(server.address, How { version: Some(version), ..How::default() }).await.unwrap();
        let (head, body) = raw.post(GET_VERSION).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-type: text/xml"), "{head}");
        assert!(body.contains("geni_api_versions"), "{body}");
        let (_, body) = raw.post(&list_resources()).await;
        let reply = parse_reply(body.as_bytes()).unwrap().unwrap();
        assert_eq!(code_of(&reply), 3);
        assert!(output_of(&reply).contains("no client certificate"), "{reply:?}");
    }
    let old = Raw::connect(server.address, How { version: Some(SslVersion::TLS1_1), ..How::default() }).await;
    assert!(old.is_err(), "TLS 1.1 is over");
}

/// Certificates of the field: whatever they are, the handshake works, and the answer says in words what is wrong.
#[tokio::test]
async fn any_certificate_finishes_the_handshake() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/credentials/pki");
    if !folder.exists() {
        eprintln!("NOT RUN: client certificates of the field: testdata/credentials/pki is missing");
        return;
    }
    let server = server().await;
    let mut tried = 0;
    for kind in ["users", "untrusted", "authorities"] {
        for entry in std::fs::read_dir(folder.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let key = folder.join("keys").join(format!("{name}.key"));
            if !key.exists() {
                continue;
            }
            let (certificates, key) = (std::fs::read(&path).unwrap(), std::fs::read(key).unwrap());
            let readable = openssl::x509::X509::stack_from_pem(&certificates).is_ok_and(|chain| {
                openssl::pkey::PKey::private_key_from_pem(&key)
                    // A smaller key cannot sign a handshake.
                    .is_ok_and(|key| {
                        (key.id() != openssl::pkey::Id::RSA || key.bits() >= 1024)
                            && chain[0].public_key().is_ok_and(|public| key.public_eq(&public))
                    })
            });
            if !readable {
                continue;
            }
            for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
                let how = How { version: Some(version), identity: Some((&certificates, &key)) };
                let Ok(mut raw) = Raw::connect(server.address, how).await else {
                    panic!("{name} {version:?}")
                };
                let (_, body) = raw.post(GET_VERSION).await;
                assert!(body.contains("geni_api_versions"), "{name}: {body}");
                let (_, body) = raw.post(&list_resources()).await;
                let reply = parse_reply(body.as_bytes()).unwrap().unwrap();
                assert_eq!(code_of(&reply), 3, "{name} is of another federation");
                assert!(!output_of(&reply).contains("no client certificate"), "{name}: {reply:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 20, "{tried} handshakes");
}

#[tokio::test]
async fn sessions_are_never_resumed() {
    let server = server().await;
    let ann = server.door.federation.user("ann");
    let (certificates, key) = (ann.identity.chain_pem().into_bytes(), ann.identity.key().to_pem().unwrap());
    let credential = server.door.federation.user_credential(&ann);
    let list = write_call(&Call {
        method: "ListResources".to_owned(),
        arguments: vec![passed(&[&credential]), options([])],
    });
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let context = context(How { version: Some(version), identity: Some((&certificates, &key)) });
        for turn in 0..2 {
            let ssl = Ssl::new(&context).unwrap();
            let mut raw = Raw::connect_with(server.address, ssl).await.unwrap();
            assert!(!raw.stream.ssl().session_reused(), "{version:?} {turn}");
            let (_, body) = raw.post(&list).await;
            let reply = parse_reply(body.as_bytes()).unwrap().unwrap();
            assert_eq!(code_of(&reply), 0, "the intermediate certificate is there each time: {reply:?}");
            // Nothing to resume by has been given out: no id under TLS 1.2, no ticket under either.
            if version == SslVersion::TLS1_2 {
                assert!(raw.stream.ssl().session().is_none_or(|session| session.id().is_empty()));
            }
        }
    }
}

#[tokio::test]
async fn tickets_are_not_given_out() {
    // openssl's own client, asked to reconnect with what it was given.
    let server = server().await;
    let certificate = server.folder.path().join("cert.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        let output = tokio::process::Command::new("openssl")
            .args(["s_client", version, "-CAfile"])
            .arg(&certificate)
            .args(["-connect", &server.address.to_string(), "-reconnect"])
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("New, TLSv1"), "{text}");
        assert!(!text.contains("Reused, ") && !text.contains("TLS session ticket:"), "{version}: {text}");
    }
}

#[tokio::test]
async fn a_renewed_certificate_needs_no_restart() {
    let server = server().await;
    let (certificate, key) = (server.folder.path().join("cert.pem"), server.folder.path().join("key.pem"));
    let presented = async || {
        let raw = Raw::connect(server.address, How::default()).await.unwrap();
        let der = raw.stream.ssl().peer_certificate().unwrap().to_der().unwrap();
        testyard_trust::Certificate::from_der(&der).unwrap().to_pem()
    };
    let mut before = Raw::connect(server.address, How::default()).await.unwrap();
    let first = presented().await;
    assert!(!server.tls.reload().unwrap(), "nothing new");

    // The certificate is there and its key is not yet: the old pair stays.
    let renewed = server_pair("localhost");
    let old_key = std::fs::read(&key).unwrap();
    renewed.write(&certificate, &key);
    let new_key = std::fs::read(&key).unwrap();
    std::fs::write(&key, old_key).unwrap();
    assert!(server.tls.reload().is_err());
    assert_eq!(presented().await, first);
    std::fs::write(&key, "").unwrap();
    assert!(server.tls.reload().unwrap_err().to_string().contains("key.pem holds no usable private key"));
    std::fs::write(&key, new_key).unwrap();
    assert!(server.tls.reload().unwrap());
    let second = presented().await;
    assert_eq!(second, renewed.chain_pem());
    assert!(before.post(GET_VERSION).await.1.contains("geni_api"), "connections that are open stay open");

    // As Let's Encrypt does it: names are links, and links are swapped.
    let live = server.folder.path().join("live");
    for generation in ["1", "2"] {
        let folder = server.folder.path().join(generation);
        std::fs::create_dir(&folder).unwrap();
        server_pair("localhost").write(&folder.join("cert.pem"), &folder.join("key.pem"));
    }
    std::os::unix::fs::symlink("1", &live).unwrap();
    let linked = testyard_am::TlsFiles::load(live.join("cert.pem"), live.join("key.pem")).unwrap();
    let watcher = tokio::spawn(linked.clone().watch(Duration::from_millis(5)));
    let swapped = server.folder.path().join("swapped");
    std::os::unix::fs::symlink("2", &swapped).unwrap();
    std::fs::rename(&swapped, &live).unwrap();
    let seen = async {
        let now = std::fs::read_to_string(server.folder.path().join("2/cert.pem")).unwrap();
        while linked.certificate_pem() != now {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, seen).await.expect("the watcher sees it");
    watcher.abort();
}

#[tokio::test]
async fn http() {
    let server = server().await;
    let mut raw = Raw::connect(server.address, How::default()).await.unwrap();
    raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (head, body) = raw.answer().await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("GENI Aggregate Manager API"), "{head}{body}");
    raw.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let (head, _) = raw.answer().await;
    assert!(head.starts_with("HTTP/1.1 405") && head.contains("allow: POST"), "{head}");
    // No content type, odd content types, chunks, expectations: all the same.
    for head in ["", "Content-Type: text/xml\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        let (left, right) = GET_VERSION.split_at(10);
        let request = format!(
            "POST //x/?y HTTP/1.1\r\nHost: x\r\n{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{left}\r\n{:x}\r\n{right}\r\n0\r\n\r\n",
            left.len(),
            right.len()
        );
        raw.send(request.as_bytes()).await.unwrap();
        assert!(raw.answer().await.1.contains("geni_api_versions"), "{head}");
    }
    let (head, body) = raw.post("<methodCall>").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(parse_reply(body.as_bytes()).unwrap().unwrap_err().code, -32700);
    let (_, body) = raw.post("<methodCall><x/></methodCall>").await;
    assert_eq!(parse_reply(body.as_bytes()).unwrap().unwrap_err().code, -32600);
    let (_, body) = raw.post("<methodCall><methodName>x</methodName></methodCall>").await;
    assert_eq!(parse_reply(body.as_bytes()).unwrap().unwrap_err().code, -32601);
    raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx")
        .await
        .unwrap();
    assert!(raw.answer().await.0.starts_with("HTTP/1.1 415"));
    raw.closed().await;
}

#[tokio::test]
async fn bodies_have_limits() {
    let limits = ServerLimits { body_bytes: 100_000, anonymous_body_bytes: 2000, ..ServerLimits::default() };
    let server = Server::start(limits).await;
    for length in ["2001", "99999999999"] {
        let mut raw = Raw::connect(server.address, How::default()).await.unwrap();
        raw.send(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let (head, body) = raw.answer().await;
        assert!(
            head.starts_with("HTTP/1.1 413") && body.contains("2000 bytes without a client certificate"),
            "{head}{body}"
        );
    }
    // With a certificate there is more room; chunks are counted as they come.
    let ann = server.door.federation.user("ann");
    let (certificates, key) = (ann.identity.chain_pem().into_bytes(), ann.identity.key().to_pem().unwrap());
    let mut raw = Raw::connect(server.address, How { identity: Some((&certificates, &key)), version: None })
        .await
        .unwrap();
    let padded = format!("{GET_VERSION}{}", " ".repeat(50_000));
    assert!(raw.post(&padded).await.1.contains("geni_api"));
    raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 40_000, " ".repeat(40_000));
    for _ in 0..3 {
        let _ = raw.send(chunk.as_bytes()).await;
    }
    assert!(raw.answer().await.0.starts_with("HTTP/1.1 413"));
    raw.closed().await;
}

#[tokio::test]
async fn slow_clients_are_let_go() {
    let soon = Duration::from_millis(300);
    let limits = ServerLimits { handshake: soon, head: soon, body: soon, ..ServerLimits::default() };
    let server = Server::start(limits).await;
    let begun = Instant::now();

    // Says nothing; says half a greeting.
    for greeting in [&b""[..], b"\x16\x03\x01\x02\x00"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(greeting).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest);
        let _ = tokio::time::timeout(LONG, read).await.expect("closed");
    }
    // Never ends its head; rests for ever between two requests.
    let mut raw = Raw::connect(server.address, How::default()).await.unwrap();
    raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nX-").await.unwrap();
    raw.closed().await;
    let mut raw = Raw::connect(server.address, How::default()).await.unwrap();
    raw.post(GET_VERSION).await;
    raw.closed().await;
    // Never ends its body.
    let mut raw = Raw::connect(server.address, How::default()).await.unwrap();
    raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n<meth").await.unwrap();
    assert!(raw.answer().await.0.starts_with("HTTP/1.1 408"));
    raw.closed().await;
    assert!(begun.elapsed() < LONG);
}

#[tokio::test]
async fn connections_have_limits() {
    let limits = ServerLimits { connections_per_address: 3, ..ServerLimits::default() };
    let server = Server::start(limits).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(Raw::connect(server.address, How::default()).await.unwrap());
    }
    assert!(Raw::connect(server.address, How::default()).await.is_err());
    assert!(held[0].post(GET_VERSION).await.1.contains("geni_api"), "who is in stays in");
    held.remove(0);
    let again = async {
        while Raw::connect(server.address, How::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, again).await.expect("a place is free again");
}

#[tokio::test]
async fn many_connections_at_once() {
    let server = server().await;
    let calls = (0..100).map(|_| {
        let address = server.address;
        tokio::spawn(async move {
            let mut raw = Raw::connect(address, How::default()).await.unwrap();
            raw.post(GET_VERSION).await.1
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap().contains("geni_api_versions"));
    }
}

#[tokio::test]
async fn who_calls_too_often_is_told_to_wait() {
    let server = Server::start(ServerLimits { rate: 0.001, burst: 2.0, ..ServerLimits::default() }).await;
    let mut raw = Raw::connect(server.address, How::default()).await.unwrap();
    for _ in 0..2 {
        assert!(raw.post(GET_VERSION).await.1.contains("geni_api_versions"));
    }
    let (head, body) = raw.post(GET_VERSION).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let reply = parse_reply(body.as_bytes()).unwrap().unwrap();
    assert_eq!(code_of(&reply), 14, "omni and jFed wait and try again");
    assert!(output_of(&reply).contains("try again later"));
    // Another certificate is another client.
    let ann = server.door.federation.user("ann");
    assert!(server.client(Some(&ann)).get_version().await.is_ok());
}

#[tokio::test]
async fn a_panic_is_a_fault_and_not_the_end() {
    let server = server().await;
    let ann = server.door.federation.user("ann");
    let credential = [PassedCredential::sfa(server.door.federation.slice_credential(&ann, "demo", 5))];
    let client = server.client(Some(&ann));
    let urns = [slice_urn("demo")];
    server.door.testbed.script(Script::Panic);
    let error = client.status(&urns, &credential, &CallOptions::default()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Fault { fault, .. } if fault.code == -32603), "{error}");
    let error = client.status(&urns, &credential, &CallOptions::default()).await.unwrap_err();
    assert_eq!(
        error.code().map(testyard_am::code::GeniCode::number),
        Some(12),
        "the same connection goes on"
    );
}

#[tokio::test]
async fn a_shutdown_finishes_what_has_begun() {
    let mut server = server().await;
    let ann = server.door.federation.user("ann");
    let credential = [PassedCredential::sfa(server.door.federation.slice_credential(&ann, "demo", 5))];
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (go, may_go) = tokio::sync::oneshot::channel();
    server.door.testbed.script(Script::Wait(begun, may_go));
    let client = server.client(Some(&ann));
    let idle = server.client(None);
    idle.get_version().await.unwrap();
    let request = support::request(&["a"]);
    let call = tokio::spawn(async move {
        client.allocate(&slice_urn("demo"), &credential, &request, &CallOptions::default()).await
    });
    has_begun.await.unwrap();
    server.shut_down();
    let refused = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, refused).await.expect("no new connections");
    go.send(()).unwrap();
    assert_eq!(call.await.unwrap().unwrap().slivers.len(), 1);
    tokio::time::timeout(LONG, server.ended()).await.expect("it ends, idle connections or not");
}

#[tokio::test]
async fn a_call_goes_on_without_its_client() {
    let server = server().await;
    let ann = server.door.federation.user("ann");
    let credential = server.door.federation.slice_credential(&ann, "demo", 5);
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (go, may_go) = tokio::sync::oneshot::channel();
    server.door.testbed.script(Script::Wait(begun, may_go));
    let client = server.client(Some(&ann));
    let (own, request) = ([PassedCredential::sfa(credential)], support::request(&["a"]));
    let (slice, none) = (slice_urn("demo"), CallOptions::default());
    let call = client.allocate(&slice, &own, &request, &none);
    tokio::select! {
        _ = call => panic!("it cannot be finished"),
        begun = has_begun => begun.unwrap(),
    }
    drop(client);
    go.send(()).unwrap();
    let client = server.client(Some(&ann));
    let there = async {
        while client.status(&[slice_urn("demo")], &own, &CallOptions::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, there).await.expect("it was allocated all the same");
}

#[tokio::test]
async fn how_a_server_proves_itself() {
    let server = server().await;
    let pem = std::fs::read(server.folder.path().join("cert.pem")).unwrap();
    let certificate = &testyard_trust::Certificate::from_pem(&pem).unwrap()[0];
    let fingerprint = openssl::sha::sha256(certificate.der());
    let get_version = async |url: String, trust: ServerTrust| {
        let client = AmClient::new(ClientSettings { server: trust, ..ClientSettings::new(url) }).unwrap();
        client.get_version().await
    };
    let other = server_pair("localhost").chain_pem().into_bytes();
    for (trust, good) in [
        (ServerTrust::Certificates(pem.clone()), true),
        (ServerTrust::Fingerprint(fingerprint), true),
        (ServerTrust::Anything, true),
        (ServerTrust::System, false),
        (ServerTrust::Certificates(other), false),
        (ServerTrust::Fingerprint([0; 32]), false),
    ] {
        let result = get_version(server.url(), trust.clone()).await;
        assert_eq!(result.is_ok(), good, "{trust:?}: {result:?}");
        assert!(good || matches!(result, Err(ClientError::Tls { .. })));
    }
    for url in ["http://localhost/", "localhost:1", "https://", "https:///x", "nonsense"] {
        assert!(matches!(AmClient::new(ClientSettings::new(url)), Err(ClientError::Url { .. })), "{url}");
    }
    let nowhere = get_version("https://127.0.0.1:1/".to_owned(), ServerTrust::Anything).await;
    assert!(matches!(nowhere, Err(ClientError::Connect { .. })), "{nowhere:?}");
}

//! What the log gets: who called what, and how it went. Never what was passed.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use support::federation::{passed, slice_urn};
use support::{Server, options, request};
use testyard_am::ServerLimits;
use testyard_am::client::{CallOptions, UserKeys};
use testyard_am::xmlrpc::Value;
use testyard_trust::PassedCredential;

const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn says_who_and_what_and_keeps_secrets() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let server = Server::start(ServerLimits::default()).await;
    let (ann, mallory) = (server.door.federation.user("ann"), server.door.federation.user("mallory"));
    let credential = server.door.federation.slice_credential(&ann, "demo", 48);
    let credentials = [PassedCredential::sfa(credential.clone())];
    let (client, none) = (server.client(Some(&ann)), CallOptions::default());
    let urns = [slice_urn("demo")];
    client.allocate(&urns[0], &credentials, &request(&["a"]), &none).await.expect("allocated");
    let users = |key: String| CallOptions {
        users: Some(vec![UserKeys { urn: ann.urn(), keys: vec![key] }]),
        ..CallOptions::default()
    };
    client
        .provision(&urns, &credentials, &users(format!("ssh-ed25519 {KEY} secret-comment")))
        .await
        .expect("provisioned");
    // Mistakes with keys are told to the caller only.
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nprivate-bytes";
    client.provision(&urns, &credentials, &users(private.to_owned())).await.expect_err("a private key");
    client.provision(&urns, &credentials, &users("private-bytes".to_owned())).await.expect_err("no key");
    server.client(Some(&mallory)).status(&urns, &credentials, &none).await.expect_err("stolen");
    client
        .call("Status", vec![Value::from("junk"), passed(&["<junk/>"]), options([])])
        .await
        .expect_err("junk");
    client.call("Dance\u{1b}[31m", vec![]).await.expect_err("no such method");

    let text = String::from_utf8(log.0.lock().expect("nobody panics with it").clone()).expect("text");
    for told in [
        "method=\"Allocate\"",
        "method=\"Provision\"",
        "+user+ann",
        "+user+mallory",
        "slice=\"urn:publicid:IDN+fed.example.net+slice+demo\"",
        "BADARGS (1)",
        "forbidden",
    ] {
        assert!(text.contains(told), "{told} is not in: {text}");
    }
    // Each call has a number of its own, and a slice stands only where the caller may touch it.
    let numbers: std::collections::BTreeSet<&str> =
        text.split("request=").skip(1).filter_map(|rest| rest.split([' ', '}']).next()).collect();
    assert!(numbers.len() >= 6 && numbers.iter().all(|number| number.len() == 16), "{numbers:?}");
    let stolen = text.lines().find(|line| line.contains("forbidden")).expect("mallory's call");
    assert!(!stolen.contains("slice="), "{stolen}");
    let signature = credential.split("<SignatureValue>").nth(1).map_or("", |rest| rest.trim()).get(..40);
    for secret in [
        KEY,
        "secret-comment",
        "private-bytes",
        "PRIVATE KEY",
        "signed-credential",
        "\u{1b}",
        "<junk",
        signature.expect("signed"),
    ] {
        assert!(!text.contains(secret), "{secret} is in: {text}");
    }
}

//! What the tests of the front door share: a federation, a testbed that pretends, a server on a free port.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses its part, and fails where it is"
)]

pub mod federation;
pub mod raw;
pub mod testbed;

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use federation::{Federation, User};
use testbed::FakeTestbed;
use testyard_am::client::{AmClient, ClientSettings, ServerTrust};
use testyard_am::xmlrpc::{Call, Value};
use testyard_am::{AmService, AmSettings, Peer, ServerLimits, TlsFiles, serve};
use testyard_model::id::RequestId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The testbed's URN in the tests.
pub const AM: &str = "urn:publicid:IDN+am.example.net+authority+am";

/// The front door without a socket: calls go straight to the service.
pub struct Door {
    pub federation: Federation,
    pub testbed: Arc<FakeTestbed>,
    pub service: AmService,
}

impl Door {
    pub fn new() -> Self {
        let federation = Federation::new();
        let testbed = Arc::new(FakeTestbed::default());
        let mut settings = AmSettings::new(AM.parse().unwrap(), "https://am.example.net:12369/");
        settings.version = "1.2.3".to_owned();
        settings.extras.insert("f4f_testbed_homepage".to_owned(), "https://example.net/".to_owned());
        settings.extras.insert("geni_api".to_owned(), "cannot be overridden".to_owned());
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let service = AmService::new(testbed.clone(), federation.trust(), settings);
        Self { federation, testbed, service }
    }

    /// Calls as a user.
    pub async fn call(&self, user: &User, method: &str, arguments: Vec<Value>) -> Value {
        self.call_as(&user.peer(), method, arguments).await
    }

    pub async fn call_as(&self, peer: &Peer, method: &str, arguments: Vec<Value>) -> Value {
        let call = Call { method: method.to_owned(), arguments };
        let reply = self.service.call(peer, RequestId::new(1), call).await.unwrap();
        assert_envelope(&reply);
        reply
    }
}

/// What jFed checks of every answer (am-api.md §1.1).
pub fn assert_envelope(reply: &Value) {
    let code = reply.get("code").expect("code");
    assert!(matches!(code.get("geni_code"), Some(Value::Int(_))), "{reply:?}");
    assert!(matches!(code.get("am_code"), Some(Value::Int(_))), "{reply:?}");
    assert_eq!(code.get("am_type"), Some(&Value::from("testyard")));
    assert!(reply.get("value").is_some(), "{reply:?}");
    let output = reply.get("output").and_then(Value::as_str).expect("output");
    assert_eq!(
        output.is_empty(),
        code_of(reply) == 0,
        "an error says something, a success nothing: {reply:?}"
    );
}

pub fn code_of(reply: &Value) -> i64 {
    reply.get("code").and_then(|code| code.get("geni_code")).and_then(Value::as_int).expect("a code")
}

pub fn am_code_of(reply: &Value) -> i64 {
    reply.get("code").and_then(|code| code.get("am_code")).and_then(Value::as_int).expect("a code")
}

pub fn output_of(reply: &Value) -> &str {
    reply.get("output").and_then(Value::as_str).expect("output")
}

pub fn value_of(reply: &Value) -> &Value {
    assert_eq!(code_of(reply), 0, "{reply:?}");
    reply.get("value").expect("a value")
}

/// Options of these members, with the RSpec version.
pub fn options<const N: usize>(members: [(&str, Value); N]) -> Value {
    let version = Value::members([("type", Value::from("geni")), ("version", Value::from("3"))]);
    Value::members(members.into_iter().chain([("geni_rspec_version", version)]))
}

/// A request for nodes with these client ids.
pub fn request(nodes: &[&str]) -> String {
    let nodes: String = nodes
        .iter()
        .map(|id| {
            format!(
                "<node client_id=\"{id}\" component_manager_id=\"{AM}\" exclusive=\"false\">\
                 <sliver_type name=\"docker-container\"/><!-- {id} --></node>"
            )
        })
        .collect();
    format!("<rspec xmlns=\"http://www.geni.net/resources/rspec/3\" type=\"request\">{nodes}</rspec>")
}

/// A server on a free port.
pub struct Server {
    pub door: Door,
    pub address: SocketAddr,
    pub tls: TlsFiles,
    pub folder: tempfile::TempDir,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start(limits: ServerLimits) -> Self {
        let door = Door::new();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        federation::server_pair("localhost").write(&certificate, &key);
        let tls = TlsFiles::load(&certificate, &key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, tls.clone(), door.service.clone(), limits, shutdown.clone()));
        Self { door, address, tls, folder, shutdown, task }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/am/3.0", self.address.port())
    }

    /// A client for it, as a user.
    pub fn client(&self, user: Option<&User>) -> AmClient {
        let mut settings = ClientSettings::new(self.url());
        settings.identity = user.map(User::client_identity);
        settings.server =
            ServerTrust::Certificates(std::fs::read(self.folder.path().join("cert.pem")).unwrap());
        AmClient::new(settings).unwrap()
    }

    /// Tells it to end; [`Self::ended`] waits for that.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    pub async fn ended(&mut self) {
        self.shutdown.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

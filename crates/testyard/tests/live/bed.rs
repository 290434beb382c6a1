//! The testbed: a controller with a host that pretends, its local socket, and one more socket before that where a test can step
//! in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use jiff::Timestamp;
use testyard_agent::probe::Probe;
use testyard_agent::{Host, HostError, HostFacts, LocalHost, LocalHostConfig, desired, observed};
use testyard_controller::{Controller, HostResources, HostSettings, PortRange, Settings, Store, SystemClock};
use testyard_fabric::capture::{CaptureError, CaptureRequest, CaptureStream};
use testyard_fabric::fake::FakeFabric;
use testyard_model::id::SliceId;
use testyard_model::probe::Probed;
use testyard_model::urn::Authority;
use testyard_runtime::fake::FakeRuntime;
use testyard_testkit::kinds::plain;
use testyard_web::api::{Slice, Update};
use testyard_web::{Client, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What happens to the testbed before a change of a slice comes to it.
type StepIn = Box<dyn FnOnce(Client) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

pub(super) struct Bed {
    runtime: Runtime,
    pub(super) fabric: FakeFabric,
    host: Arc<Hesitant>,
    controller: Arc<Controller>,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
    step_in: Arc<Mutex<Option<StepIn>>>,
    folder: tempfile::TempDir,
}

impl Bed {
    pub(super) fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let fabric = FakeFabric::new();
        let config = LocalHostConfig {
            runtimes: vec![Arc::new(FakeRuntime::new())],
            fabric: Arc::new(fabric.clone()),
            state: folder.path().join("nodes"),
            domain: "am.example.net".to_owned(),
            name_servers: vec![],
            stop_grace: Duration::from_secs(1),
            install_limits: (1 << 20, 1 << 22),
            images: testyard_agent::ImageSettings::default(),
            only_netem: false,
            pool: None,
            facts: None,
            now: Timestamp::now,
        };
        let (host, controller) = runtime.block_on(async {
            let host = Arc::new(Hesitant(LocalHost::start(config).await.unwrap(), AtomicBool::new(false)));
            let store = Store::open(&folder.path().join("state.db")).unwrap();
            let hosts = vec![("local".parse().unwrap(), Arc::clone(&host) as Arc<dyn Host>)];
            let controller = Controller::open(store, settings(), hosts, Arc::new(SystemClock)).await.unwrap();
            (host, controller)
        });
        let step_in = Arc::default();
        let mut bed = Self { runtime, fabric, host, controller, serving: None, step_in, folder };
        bed.serve();
        let proxy = bed.runtime.block_on(async { UnixListener::bind(bed.path("before.sock")).unwrap() });
        bed.runtime.spawn(pass_on(proxy, bed.path("testyard.sock"), Arc::clone(&bed.step_in)));
        bed
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Opens the local socket.
    pub(super) fn serve(&mut self) {
        let ended = CancellationToken::new();
        let authority: Authority = "am.example.net".parse().unwrap();
        let urn = "urn:publicid:IDN+am.example.net+authority+am".parse().unwrap();
        let images = Arc::new(ArcSwap::from_pointee(BTreeMap::new()));
        let server = Server::new(
            Arc::clone(&self.controller),
            authority,
            urn,
            images,
            Arc::new(testyard_web::NoAgents),
            ended.clone(),
        );
        let listener =
            self.runtime.block_on(async { testyard_web::server::listen(self.folder.path()).unwrap() });
        self.serving = Some((ended, self.runtime.spawn(server.serve(listener))));
    }

    /// Closes it, as the end of the program does.
    pub(super) fn end(&mut self) {
        let (ended, serving) = self.serving.take().unwrap();
        ended.cancel();
        self.runtime.block_on(serving).unwrap();
        std::fs::remove_file(self.path("testyard.sock")).unwrap();
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.path("testyard.sock"), None)
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// What is done to the testbed once, right before the next change of a slice comes to it.
    pub(super) fn step_in(&self, nodes: &'static [&'static str]) {
        let step: StepIn = Box::new(move |client| {
            Box::pin(async move {
                client.update("s", &update(nodes)).await.unwrap();
            })
        });
        *self.step_in.lock().unwrap() = Some(step);
    }

    /// Probes do not come to an end as long as this holds.
    pub(super) fn hesitate(&self, hesitates: bool) {
        self.host.1.store(hesitates, Ordering::SeqCst);
    }

    pub(super) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testyard"));
        command.args(line.split_whitespace()).current_dir(self.folder.path());
        command.env("HOME", self.folder.path()).env_remove("XDG_CONFIG_HOME").env_remove("SUDO_USER");
        command.env("TESTYARD_SOCKET", self.path("before.sock")).env("TESTYARD_DIR", self.path("etc"));
        command.stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }

    pub(super) fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    pub(super) fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that ends with this code.
    pub(super) fn fails(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        said
    }

    /// A file with these nodes, a cable between each and the next.
    pub(super) fn file(&self, nodes: &[&str]) -> String {
        self.write("s.json", &topology(nodes).to_string())
    }

    pub(super) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        name.to_owned()
    }

    pub(super) fn slice(&self) -> Slice {
        self.block_on(self.client().slice("s")).unwrap()
    }

    pub(super) fn nodes(&self) -> Vec<String> {
        self.slice().nodes.into_iter().map(|node| node.name).collect()
    }
}

pub(super) fn topology(nodes: &[&str]) -> serde_json::Value {
    let links: Vec<_> = nodes
        .windows(2)
        .map(|two| serde_json::json!({"name": format!("{}-{}", two[0], two[1]), "between": two}))
        .collect();
    let nodes: serde_json::Map<_, _> =
        nodes.iter().map(|name| ((*name).to_owned(), serde_json::json!({}))).collect();
    serde_json::json!({"nodes": nodes, "links": links})
}

fn update(nodes: &[&str]) -> Update {
    Update { topology: topology(nodes), only: None, keys: vec![], end: None, revision: None }
}

/// Waits for something that happens elsewhere.
pub(super) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "not {what}");
        std::thread::yield_now();
    }
}

fn settings() -> Settings {
    let host = HostSettings {
        resources: HostResources::new(
            "local".parse().unwrap(),
            20,
            PortRange::new(10_000, 10_100).unwrap(),
            "10.0.0.0/16".parse().unwrap(),
            None,
            None,
        )
        .unwrap(),
        public_name: "localhost".to_owned(),
        location: None,
        tunnel: None,
    };
    let kind = plain("pretended");
    Settings::new("am.example.net".parse().unwrap(), vec![host], vec![kind]).unwrap()
}

/// Passes connections on, and steps in where one brings a change of a slice.
async fn pass_on(listener: UnixListener, to: PathBuf, step_in: Arc<Mutex<Option<StepIn>>>) {
    while let Ok((caller, _)) = listener.accept().await {
        tokio::spawn(pass_one_on(caller, to.clone(), Arc::clone(&step_in)));
    }
}

async fn pass_one_on(mut caller: UnixStream, to: PathBuf, step_in: Arc<Mutex<Option<StepIn>>>) {
    // A testbed that has ended closes its connections without a word.
    let Ok(mut testbed) = UnixStream::connect(&to).await else { return };
    let mut head = [0; 3];
    if caller.read_exact(&mut head).await.is_err() {
        return;
    }
    let step = if &head == b"PUT" { step_in.lock().unwrap().take() } else { None };
    if let Some(step) = step {
        step(Client::new(to, None)).await;
    }
    if testbed.write_all(&head).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut caller, &mut testbed).await;
    }
}

/// A host whose probes may take for ever.
struct Hesitant(Arc<LocalHost>, AtomicBool);

#[async_trait]
impl Host for Hesitant {
    async fn sync(&self, slices: Vec<desired::Slice>) -> Result<(), HostError> {
        self.0.sync(slices).await
    }

    async fn apply(&self, slice: desired::Slice) -> Result<(), HostError> {
        self.0.apply(slice).await
    }

    fn watch(&self) -> mpsc::UnboundedReceiver<observed::Slice> {
        self.0.watch()
    }

    async fn observe(&self, slice: SliceId) -> Result<Option<observed::Slice>, HostError> {
        self.0.observe(slice).await
    }

    async fn capture(&self, slice: SliceId, request: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        self.0.capture(slice, request).await
    }

    async fn try_filter(&self, expression: &str) -> Result<(), CaptureError> {
        self.0.try_filter(expression).await
    }

    async fn probe(&self, slice: SliceId, probes: Vec<Probe>) -> Result<Vec<Probed>, HostError> {
        if self.1.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.0.probe(slice, probes).await
    }

    async fn facts(&self) -> Result<HostFacts, HostError> {
        self.0.facts().await
    }

    async fn shut_down(&self) {
        self.0.shut_down().await;
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.runtime.block_on(self.controller.shut_down());
    }
}

#[test]
fn folders_are_the_tests_own() {
    let bed = Bed::new();
    assert!(Path::new(&bed.path("testyard.sock")).exists());
    assert!(bed.ok("ls").contains("no slices"));
}

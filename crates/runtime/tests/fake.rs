//! The fake passes the suite that real runtimes pass; and what it offers beyond the contract works.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use testyard_guest_protocol::{
    Desired, Execute, FrameError, FromGuest, Install, Report, ServiceState, Stage, ToGuest, read_async,
    write_async,
};
use testyard_model::image::ImageName;
use testyard_model::sliver_type::{Limits, Privileges};
use testyard_runtime::conformance::{self, Built, Harness, TestImage};
use testyard_runtime::fake::{
    FakeImage, FakeRuntime, Fault, FaultKind, GuestScript, Latency, Manner, Op, Outcome,
};
use testyard_runtime::{
    GuestListener, GuestStream, ImageConfig, ImageError, NodeKey, NodeSpec, PowerSeen, Pull, PullProgress,
    Runtime, RuntimeError, RuntimeEvent,
};
use tokio::sync::watch;

// === the suite ===

struct FakeHarness {
    ours: FakeRuntime,
    theirs: FakeRuntime,
}

impl FakeHarness {
    fn new() -> Self {
        let ours = FakeRuntime::new();
        ours.only_added_images();
        for (which, config) in [
            (TestImage::Plain, ImageConfig::default()),
            (TestImage::Full, conformance::full_config()),
            (TestImage::Init, ImageConfig { cmd: vec!["/sbin/init".to_owned()], ..ImageConfig::default() }),
        ] {
            ours.add_image(FakeImage { config, here: true, ..FakeImage::new(name_of(which)) });
        }
        Self { theirs: ours.neighbour(), ours }
    }

    fn whose(&self, key: &NodeKey) -> &FakeRuntime {
        if self.theirs.node(key).is_some() { &self.theirs } else { &self.ours }
    }
}

fn name_of(which: TestImage) -> ImageName {
    format!("testyard/{}", format!("{which:?}").to_lowercase()).parse().unwrap()
}

#[async_trait]
impl Harness for FakeHarness {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.ours.clone())
    }

    fn neighbour(&self) -> Arc<dyn Runtime> {
        Arc::new(self.theirs.clone())
    }

    fn image(&self, which: TestImage) -> ImageName {
        name_of(which)
    }

    fn limits(&self) -> Limits {
        Limits { memory: Some(1 << 30), millicores: Some(500), pids: Some(100), ..Limits::default() }
    }

    fn privileges(&self) -> Privileges {
        Privileges {
            capabilities: vec!["NET_ADMIN".parse().unwrap()],
            devices: vec!["/dev/null".parse().unwrap()],
        }
    }

    async fn built(&self, key: &NodeKey) -> Built {
        let spec = self.whose(key).node(key).unwrap().spec;
        Built {
            hostname: spec.hostname.to_string(),
            image: spec.image.id,
            limits: spec.limits,
            privileges: spec.privileges,
        }
    }

    async fn write_file(&self, key: &NodeKey, text: &str) {
        assert!(self.whose(key).write_file(key, "/file", text));
    }

    async fn read_file(&self, key: &NodeKey) -> Option<String> {
        self.whose(key).node(key)?.files.get("/file").cloned()
    }

    async fn kill(&self, key: &NodeKey) {
        assert!(self.whose(key).kill(key, 1, false));
    }

    async fn vanish(&self, key: &NodeKey) {
        assert!(self.whose(key).vanish(key));
    }

    async fn engine_away(&self) {
        self.ours.engine_away();
    }

    async fn engine_back(&self) {
        self.ours.engine_back();
    }

    async fn lose_volatile_files(&self) {
        self.ours.reboot_host();
    }

    async fn leftovers(&self) -> Vec<String> {
        self.ours.nodes().into_iter().chain(self.theirs.nodes()).map(|key| key.to_string()).collect()
    }

    async fn clean_up(&self) {
        for runtime in [&self.ours, &self.theirs] {
            runtime.nodes().iter().for_each(|key| assert!(runtime.vanish(key)));
        }
    }
}

#[tokio::test]
async fn conformance() {
    conformance::run(Arc::new(FakeHarness::new())).await;
}

// === beyond the contract ===

async fn node(runtime: &FakeRuntime, number: u128) -> NodeSpec {
    let id = |kind: u128| uuid::Uuid::from_u128((kind << 64) + number).to_string();
    let progress = watch::Sender::new(PullProgress::default());
    let image = runtime.image(&"debian:12".parse().unwrap(), Pull::Missing, &progress).await.unwrap();
    NodeSpec {
        key: NodeKey { slice: id(1).parse().unwrap(), sliver: id(2).parse().unwrap(), disk: 0 },
        hostname: "node".parse().unwrap(),
        image,
        limits: Limits::default(),
        privileges: Privileges::default(),
    }
}

type Talk = (NodeKey, Box<dyn GuestListener>, Box<dyn GuestStream>);

/// A node whose guest has been accepted.
async fn talk(runtime: &FakeRuntime) -> Talk {
    let spec = node(runtime, 1).await;
    runtime.create(&spec).await.unwrap();
    let mut listener = runtime.listen(&spec.key).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    let stream = listener.accept().await.unwrap();
    (spec.key, listener, stream)
}

async fn report(stream: &mut Box<dyn GuestStream>, so: impl Fn(&Report) -> bool) -> Report {
    loop {
        if let FromGuest::Report(report) = read_async(stream).await.unwrap()
            && so(&report)
        {
            return *report;
        }
    }
}

fn install(url: &str) -> Install {
    Install { url: url.to_owned(), path: "/opt".to_owned(), max_download: 1, max_unpacked: 1, checksum: None }
}

fn execute(command: &str) -> Execute {
    Execute { shell: "sh".to_owned(), command: command.to_owned(), max_seconds: None }
}

async fn ask(stream: &mut Box<dyn GuestStream>, desired: Desired) {
    write_async(stream, &ToGuest::Desired(Box::new(desired))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guest_goes_through_its_stages_and_services_run_once_per_disk() {
    let runtime = FakeRuntime::new();
    let second = Duration::from_secs(1);
    runtime.set_guest(GuestScript {
        prepare: second,
        ssh: second,
        service: second,
        outcomes: vec![("false".to_owned(), Outcome::Exits { status: 1, after: second })],
        ..GuestScript::default()
    });
    let (key, mut listener, mut stream) = talk(&runtime).await;
    let mut desired = Desired { revision: 1, ..Desired::default() };
    desired.installs = vec![install("http://example.net/a.tgz")];
    desired.executes = vec![execute("false"), execute("true")];
    ask(&mut stream, desired.clone()).await;
    let prepared = report(&mut stream, |report| report.stage == Stage::Prepared).await;
    assert!(!prepared.ssh, "nothing is started before go");
    desired = Desired { revision: 2, go: true, ..desired };
    ask(&mut stream, desired.clone()).await;
    let installing = report(&mut stream, |report| report.stage == Stage::Installing).await;
    assert!(installing.ssh && installing.revision == 2);
    let ready = report(&mut stream, |report| report.stage == Stage::Ready).await;
    assert_eq!(ready.services[0].state, ServiceState::Exited(0));
    let done = report(&mut stream, |report| report.services[2].state == ServiceState::Exited(0)).await;
    assert_eq!(done.services[1].state, ServiceState::Exited(1), "a command that fails changes no state");
    assert_eq!(done.stage, Stage::Ready);

    // The agent dies and comes back: the guest tells the next one at once.
    drop((stream, listener));
    listener = runtime.clone().listen(&key).await.unwrap();
    stream = listener.accept().await.unwrap();
    assert_eq!(report(&mut stream, |_| true).await, done);

    // It boots again: what has run does not run again.
    runtime.stop(&key, Duration::ZERO).await.unwrap();
    runtime.start(&key).await.unwrap();
    stream = listener.accept().await.unwrap();
    ask(&mut stream, desired).await;
    let again = report(&mut stream, |report| report.ssh).await;
    assert_eq!((again.stage, &again.services), (Stage::Ready, &done.services));
    assert_eq!(runtime.node(&key).unwrap().boots, 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_install_is_told_and_nothing_runs_after_it() {
    let runtime = FakeRuntime::new();
    let outcome = Outcome::Fails { detail: "404".to_owned(), after: Duration::ZERO };
    runtime.set_guest(GuestScript {
        outcomes: vec![("http://x/a".to_owned(), outcome)],
        ..GuestScript::default()
    });
    let (_key, _listener, mut stream) = talk(&runtime).await;
    let desired = Desired {
        go: true,
        installs: vec![install("http://x/a")],
        executes: vec![execute("true")],
        ..Desired::default()
    };
    ask(&mut stream, desired).await;
    let failed = report(&mut stream, |report| report.failure.is_some()).await;
    assert!(failed.ssh && failed.failure.unwrap().contains("404"));
    assert_eq!(failed.services[1].state, ServiceState::Waiting);
}

#[tokio::test(start_paused = true)]
async fn what_ran_when_the_node_ended_is_interrupted_and_accounts_still_change() {
    let runtime = FakeRuntime::new();
    let outcomes = vec![("sleep".to_owned(), Outcome::Hangs)];
    runtime.set_guest(GuestScript { outcomes, ..GuestScript::default() });
    let (key, mut listener, mut stream) = talk(&runtime).await;
    let desired = Desired { go: true, executes: vec![execute("sleep")], ..Desired::default() };
    ask(&mut stream, desired.clone()).await;
    report(&mut stream, |report| report.stage == Stage::Ready).await;
    ask(&mut stream, Desired { revision: 9, ..desired.clone() }).await;
    report(&mut stream, |report| report.revision == 9).await;
    assert!(runtime.kill(&key, 3, true));
    let power = runtime.node(&key).unwrap().power;
    assert_eq!(power, PowerSeen::Stopped { exit: Some(3), out_of_memory: true });
    runtime.start(&key).await.unwrap();
    stream = listener.accept().await.unwrap();
    ask(&mut stream, desired).await;
    let again = report(&mut stream, |report| report.ssh).await;
    assert_eq!(again.services[0].state, ServiceState::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn a_guest_stops_when_asked_unless_it_will_not() {
    let runtime = FakeRuntime::new();
    let mut events = runtime.events();
    let (key, _listener, mut stream) = talk(&runtime).await;
    write_async(&mut stream, &ToGuest::Stop { grace_ms: 1000 }).await.unwrap();
    assert!(matches!(read_until_end(&mut stream).await, FrameError::Closed));
    assert_eq!(events.next().await, Some(RuntimeEvent::Changed(key)), "its start");
    assert_eq!(events.next().await, Some(RuntimeEvent::Changed(key)), "its end");
    assert_eq!(runtime.node(&key).unwrap().power, PowerSeen::Stopped { exit: Some(0), out_of_memory: false });

    runtime.set_guest(GuestScript { ignores_stop: true, ..GuestScript::default() });
    runtime.start(&key).await.unwrap();
    let mut stream = runtime.connect(&key).await;
    write_async(&mut stream, &ToGuest::Stop { grace_ms: 1000 }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(matches!(runtime.node(&key).unwrap().power, PowerSeen::Running(_)));
}

async fn read_until_end(stream: &mut Box<dyn GuestStream>) -> FrameError {
    loop {
        if let Err(error) = read_async::<FromGuest>(stream).await {
            return error;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn guests_can_misbehave() {
    let with = |manner| async move {
        let runtime = FakeRuntime::new();
        runtime.set_guest(GuestScript { manner, ..GuestScript::default() });
        let (_key, listener, stream) = talk(&runtime).await;
        (runtime, listener, stream)
    };
    let wait = Duration::from_secs(60);
    let (_runtime, _listener, mut stream) = with(Manner::Silent).await;
    assert!(tokio::time::timeout(wait, read_async::<FromGuest>(&mut stream)).await.is_err());
    let (_runtime, _listener, mut stream) = with(Manner::Mute).await;
    read_async::<FromGuest>(&mut stream).await.unwrap();
    assert!(tokio::time::timeout(wait, read_async::<FromGuest>(&mut stream)).await.is_err());
    let (_runtime, mut listener, mut stream) = with(Manner::HangsUp).await;
    assert!(matches!(read_until_end(&mut stream).await, FrameError::Closed));
    listener.accept().await.unwrap();
    let (_runtime, _listener, mut stream) = with(Manner::Garbage).await;
    assert!(matches!(read_until_end(&mut stream).await, FrameError::Json(_)));
    let (_runtime, _listener, mut stream) = with(Manner::TooLong).await;
    assert!(matches!(read_until_end(&mut stream).await, FrameError::TooLong(_)));
    let (_runtime, _listener, mut stream) = with(Manner::ClaimsReady).await;
    assert_eq!(report(&mut stream, |_| true).await.revision, u64::MAX);
    let (_runtime, _listener, mut stream) = with(Manner::Verbose).await;
    ask(&mut stream, Desired::default()).await;
    assert!(report(&mut stream, |_| true).await.services.len() > Report::MAX_SERVICES);
    let (_runtime, _listener, mut stream) = with(Manner::Floods).await;
    ask(&mut stream, Desired::default()).await;
    for _ in 0..1000 {
        report(&mut stream, |_| true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn faults_strike_before_or_after_the_effect() {
    let runtime = FakeRuntime::new();
    let spec = node(&runtime, 1).await;
    runtime.inject(Fault::of(Op::Create, FaultKind::Unreachable).times(1));
    assert!(matches!(runtime.create(&spec).await, Err(RuntimeError::Unreachable { .. })));
    assert!(runtime.node(&spec.key).is_none());
    runtime.inject(Fault::of(Op::Create, FaultKind::Failed).times(1).after_effect());
    assert!(matches!(runtime.create(&spec).await, Err(RuntimeError::Failed { .. })));
    assert!(runtime.node(&spec.key).is_some());
    runtime.inject(Fault::of(Op::Start, FaultKind::Refused).on(node(&runtime, 2).await.key.sliver));
    runtime.start(&spec.key).await.unwrap();
    runtime.inject(Fault::of(Op::List, FaultKind::Hang));
    assert!(tokio::time::timeout(Duration::from_secs(60), runtime.list()).await.is_err());
    runtime.mend();
    assert_eq!(runtime.list().await.unwrap().len(), 1);
    assert_eq!(runtime.calls(Op::Create), 2);
}

#[tokio::test(start_paused = true)]
async fn calls_take_the_time_they_are_told_to() {
    let runtime = FakeRuntime::new();
    runtime.set_latency(Latency { create: Duration::from_millis(250), ..Latency::default() });
    let spec = node(&runtime, 1).await;
    let began = tokio::time::Instant::now();
    runtime.create(&spec).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(250));
}

#[tokio::test(start_paused = true)]
async fn one_pull_is_shared_and_its_progress_too() {
    let runtime = FakeRuntime::new();
    let name: ImageName = "big:1".parse().unwrap();
    let image = FakeImage { size: 1000, pull: Duration::from_secs(10), ..FakeImage::new(name.clone()) };
    runtime.add_image(image);
    let (first, second) = (watch::Sender::default(), watch::Sender::default());
    let half = async {
        tokio::time::sleep(Duration::from_millis(5500)).await;
        assert_eq!(*first.borrow(), PullProgress { done: 500, total: 1000 });
        assert_eq!(*second.borrow(), PullProgress { done: 500, total: 1000 });
    };
    let pulls = tokio::join!(
        runtime.image(&name, Pull::Missing, &first),
        runtime.image(&name, Pull::Missing, &second),
        half
    );
    assert_eq!(pulls.0.unwrap().id, pulls.1.unwrap().id);
    assert_eq!(runtime.pulls(&name), 1);

    let bad: ImageName = "bad:1".parse().unwrap();
    let error = ImageError::NotFound { name: bad.clone(), detail: "gone".to_owned() };
    runtime.add_image(FakeImage { error: Some(error), ..FakeImage::new(bad.clone()) });
    assert!(matches!(runtime.image(&bad, Pull::Missing, &first).await, Err(ImageError::NotFound { .. })));
}

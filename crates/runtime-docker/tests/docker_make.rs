//! Images that the real engine builds and loads: good ones, and those that never end, fill the disk, take all processes.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod docker_support;

use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bollard::query_parameters::ListImagesOptionsBuilder;
use docker_support::Testbed;
use futures_util::StreamExt as _;
use testyard_model::image::Content;
use testyard_runtime::{
    BuildPlace, Image, MakeError, MakeLimits, MakeLog, Maker, Order, Pull, Recipe, Runtime as _,
};
use testyard_runtime_docker::DockerRuntime;
use tokio::sync::watch::Sender;

/// A place without a network, which notes what it is asked.
#[derive(Default)]
struct Nowhere(Mutex<Vec<String>>);

#[async_trait]
impl BuildPlace for Nowhere {
    async fn furnish(&self, netns: &Path) -> Result<(), String> {
        assert!(netns.exists(), "{netns:?}");
        self.0.lock().unwrap().push("furnished".to_owned());
        Ok(())
    }

    async fn leave(&self) {
        self.0.lock().unwrap().push("left".to_owned());
    }
}

const LIMITS: MakeLimits = MakeLimits {
    time: Duration::from_secs(60),
    memory: 256 << 20,
    millicores: 1000,
    pids: 64,
    disk: 64 << 20,
};

struct Bench {
    bed: Testbed,
    runtime: DockerRuntime,
    base: String,
    log: MakeLog,
}

impl Bench {
    async fn new() -> Self {
        let bed = Testbed::new().await;
        let runtime = bed.runtime();
        let base = bed.shell("base").await.name.to_string();
        Self { bed, runtime, base, log: MakeLog::default() }
    }

    async fn make(
        &self,
        number: u8,
        archive: &[u8],
        recipe: Recipe,
        limits: MakeLimits,
    ) -> Result<Image, MakeError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(archive).unwrap();
        file.rewind().unwrap();
        let (content, place) = (content(number), Nowhere::default());
        let order = Order {
            content: &content,
            recipe: &recipe,
            archive: file,
            limits,
            place: &place,
            name_servers: &["192.0.2.53".parse().unwrap()],
            log: &self.log,
        };
        let made = self.runtime.make(order).await;
        let noted = place.0.into_inner().unwrap();
        assert!(noted.is_empty() || noted == ["furnished", "left"], "{noted:?}");
        made
    }

    /// Builds what these lines say, behind a FROM of the base.
    async fn build(&self, number: u8, lines: &str, limits: MakeLimits) -> Result<Image, MakeError> {
        let label = self.runtime.label(&content(number));
        let text = format!("FROM {}\nLABEL {label}\n{lines}\n", self.base);
        let archive = docker_support::archive("Dockerfile", &text);
        self.make(number, &archive, Recipe::Build { bases: Vec::new() }, limits).await
    }

    /// Containers and images of builds, but for those that were made.
    async fn leftovers(&self) -> Vec<String> {
        let mark = format!("{}:", self.bed.config.instance);
        let mut left = self.bed.build_containers(&mark).await;
        let filters = [
            ("dangling".to_owned(), vec!["true".to_owned()]),
            ("label".to_owned(), vec!["testyard.build".to_owned()]),
        ];
        let options = ListImagesOptionsBuilder::new().filters(&filters.into()).build();
        for image in self.bed.docker.list_images(Some(options)).await.unwrap() {
            if image.labels.get("testyard.build").is_some_and(|value| value.starts_with(&mark)) {
                left.push(image.id);
            }
        }
        left
    }

    async fn end(self) {
        self.runtime.reset().await.unwrap();
        assert_eq!(self.runtime.all().await.unwrap(), []);
        assert_eq!(self.leftovers().await, Vec::<String>::new());
    }
}

fn content(number: u8) -> Content {
    format!("{number:02x}").repeat(32).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_built_kept_and_forgotten() {
    let bench = Bench::new().await;
    assert_eq!(bench.runtime.made(&content(1)).await.unwrap(), None);
    let lines = "RUN cat /etc/resolv.conf; ls /sys/class/net; echo built > /built\nENV A=b\nCMD [\"x\"]";
    let image = bench.build(1, lines, LIMITS).await.unwrap();
    assert_eq!(image.config.cmd, ["x"]);
    assert!(image.config.env.contains(&"A=b".to_owned()), "{:?}", image.config.env);
    let log = bench.log.text();
    assert!(log.contains("nameserver 192.0.2.53") && log.contains("\nlo\n"), "its own network: {log}");
    assert!(!log.contains("testyard.build"), "{log}");
    assert!(image.name.to_string().starts_with("built.testyard.invalid/"), "{}", image.name);
    assert_eq!(bench.runtime.made(&content(1)).await.unwrap().as_ref(), Some(&image));
    assert_eq!(bench.runtime.all().await.unwrap(), [content(1)]);
    // Nodes run from it, and are no leftovers of a build.
    let spec = bench.bed.spec(&image);
    bench.runtime.create(&spec).await.unwrap();
    bench.runtime.tidy().await.unwrap();
    assert!(bench.runtime.look(&spec.key).await.unwrap().is_some());
    let error = bench.runtime.forget(&content(1)).await.unwrap_err();
    assert!(matches!(&error, MakeError::Failed(_)), "a node needs it: {error}");
    bench.runtime.remove(&spec.key).await.unwrap();
    bench.runtime.forget(&content(1)).await.unwrap();
    bench.runtime.forget(&content(1)).await.unwrap();
    assert_eq!(bench.runtime.made(&content(1)).await.unwrap(), None);
    assert_eq!(bench.leftovers().await, Vec::<String>::new());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_that_are_in_no_image_go() {
    let bench = Bench::new().await;
    let mark = bench.runtime.label(&content(2));
    let lines = format!(
        "RUN echo 1 > /one\nFROM {}\nLABEL {mark}\nCOPY --from=0 /one /two\nRUN cat /two",
        bench.base
    );
    bench.build(2, &lines, LIMITS).await.unwrap();
    assert_eq!(bench.leftovers().await, Vec::<String>::new());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_said_and_leaves_nothing() {
    let bench = Bench::new().await;
    let error = bench.build(3, "RUN echo one\nRUN echo because >&2; exit 7", LIMITS).await.unwrap_err();
    assert!(error.to_string().contains("returned a non-zero code: 7"), "{error}");
    assert!(bench.log.text().contains("because"), "{}", bench.log.text());
    assert!(bench.log.current().contains("RUN echo because"), "{}", bench.log.current());
    let error = bench.build(4, "FRUM x", LIMITS).await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("unknown instruction"), "{error}");
    let error = bench.build(5, "ENTRYPOINT [\"/sbin/init\"]", LIMITS).await.unwrap_err();
    assert!(matches!(&error, MakeError::Unfit(why) if why.contains("process 1")), "{error}");
    // What an image of somebody else's would do in a build, nobody has read.
    let base =
        bench.runtime.image(&bench.base.parse().unwrap(), Pull::Never, &Sender::default()).await.unwrap();
    let trigger = bench.bed.built("trigger", &base, &["ONBUILD ADD http://169.254.169.254/x /x"]).await;
    let recipe = Recipe::Build { bases: vec![trigger.name.clone()] };
    let archive = docker_support::archive("Dockerfile", &format!("FROM {}\n", trigger.name));
    let error = bench.make(6, &archive, recipe, LIMITS).await.unwrap_err();
    assert!(error.to_string().contains("has ONBUILD instructions"), "{error}");
    assert_eq!(bench.leftovers().await, Vec::<String>::new());
    assert_eq!(bench.runtime.all().await.unwrap(), []);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_ends_is_ended() {
    let bench = Bench::new().await;
    let limits = MakeLimits { time: Duration::from_secs(3), ..LIMITS };
    let began = Instant::now();
    let error = bench.build(6, "RUN while :; do sleep 1; done", limits).await.unwrap_err();
    assert!(error.to_string().contains("longer than the allowed 3 s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(bench.leftovers().await, Vec::<String>::new());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fills_the_disk_is_ended() {
    let bench = Bench::new().await;
    let limits = MakeLimits { disk: 32 << 20, ..LIMITS };
    // In small pieces, so that it does not end by itself before somebody looks.
    let lines = "RUN while :; do dd if=/dev/zero bs=1M count=4 >> /full 2>/dev/null; sleep 0.05; done";
    let error = bench.build(7, lines, limits).await.unwrap_err();
    assert!(error.to_string().contains("write more than the allowed 32 MiB"), "{error}");
    assert_eq!(bench.leftovers().await, Vec::<String>::new());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_and_memory_are_bounded() {
    let bench = Bench::new().await;
    // Waits until the bound is there, which comes a moment after the start.
    let lines = "RUN until grep -qx 16 /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; do sleep 0.1; done; \\\n\
                 i=0; while [ $i -lt 64 ]; do sleep 5 & i=$((i+1)); done";
    let limits = MakeLimits { pids: 16, time: Duration::from_secs(30), ..LIMITS };
    let error = bench.build(8, lines, limits).await.unwrap_err();
    assert!(error.to_string().contains("non-zero code"), "{error}: {}", bench.log.text());
    let log = bench.log.text().to_lowercase();
    assert!(log.contains("can't fork") || log.contains("resource temporarily unavailable"), "{log}");
    let error = bench.build(9, "RUN cat /dev/zero | head -c 512m | tail", LIMITS).await.unwrap_err();
    assert!(error.to_string().contains("non-zero code: 137"), "{error}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_nobody_wants_any_more_is_ended() {
    let bench = Bench::new().await;
    let mark = format!("{}:", bench.bed.config.instance);
    {
        let build = bench.build(10, "RUN while :; do sleep 1; done", LIMITS);
        let mut build = std::pin::pin!(build);
        let mut steps = bench.log.watch();
        while !bench.log.current().contains("RUN while") {
            tokio::select! {
                made = &mut build => panic!("it has ended: {made:?}"),
                changed = steps.changed() => changed.unwrap(),
            }
        }
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while !(bench.bed.build_containers(&mark).await.is_empty() && bench.leftovers().await.is_empty()) {
        assert!(Instant::now() < deadline, "{:?}", bench.leftovers().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_image_is_loaded_without_its_names() {
    let bench = Bench::new().await;
    let mut saved = Vec::new();
    let mut export = bench.bed.docker.export_image(&bench.base);
    while let Some(chunk) = export.next().await {
        saved.extend_from_slice(&chunk.unwrap());
    }
    // The same with another command, so that it is another image, in the form that is prepared for the engine.
    let folder = tempfile::tempdir().unwrap();
    let limits = testyard_images::Limits { unpacked: 64 << 20, folder: folder.path().to_owned() };
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&saved).unwrap();
    let prepared = testyard_images::prepare(&mut file, &limits, "x=y", bench.runtime.architecture()).unwrap();
    assert_eq!(prepared.recipe, Recipe::Load);
    let mut archive = Vec::new();
    std::io::Read::read_to_end(&mut { prepared.archive }, &mut archive).unwrap();
    let image = bench.make(11, &archive, Recipe::Load, LIMITS).await.unwrap();
    assert_eq!(bench.runtime.all().await.unwrap(), [content(11)]);
    let progress = Sender::default();
    let there = bench.runtime.image(&bench.base.parse().unwrap(), Pull::Never, &progress).await.unwrap();
    assert_eq!(there.id, image.id, "its own name is still that of the same");
    bench.runtime.forget(&content(11)).await.unwrap();
    let error = bench.make(12, b"no archive", Recipe::Load, LIMITS).await.unwrap_err();
    assert!(matches!(error, MakeError::Failed(_)), "{error}");
    bench.end().await;
}

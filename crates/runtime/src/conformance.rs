//! What every runtime must do, as checks that anybody can run against one.
//!
//! A runtime's tests bring a [`Harness`]: the runtime, and what the checks need from outside the contract (to kill a
//! node, to look whether anything is left). [`run`] runs every check, cleans up after each, also after one that
//! panics, and fails with the list of those that failed. After each check nothing may be left.

mod events;
mod guests;
mod images;
mod nodes;
mod spares;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use testyard_model::id::{SliceId, SliverId};
use testyard_model::image::ImageName;
use testyard_model::sliver_type::{Limits, Privileges};
use tokio::sync::watch;
use uuid::Uuid;

use crate::contract::{PowerSeen, Runtime};
use crate::image::{Image, ImageConfig, Pull, PullProgress};
use crate::spec::{NodeKey, NodeSpec};

/// What the checks need beside the contract.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// The runtime of the testbed under test. A later call may give another object for the same testbed, as after a
    /// restart of the agent.
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// The runtime of another testbed on the same engine.
    fn neighbour(&self) -> Arc<dyn Runtime>;

    /// The name of an image that is as described.
    fn image(&self, which: TestImage) -> ImageName;

    /// Limits that this host can enforce.
    fn limits(&self) -> Limits;

    /// Privileges that this host can give.
    fn privileges(&self) -> Privileges;

    /// A node as the engine says that it has been made.
    async fn built(&self, key: &NodeKey) -> Built;

    /// Writes a file on the disk of a node, which may be stopped.
    async fn write_file(&self, key: &NodeKey, text: &str);

    /// What [`Self::write_file`] has written on this disk.
    async fn read_file(&self, key: &NodeKey) -> Option<String>;

    /// Makes a node that runs end, as if it had crashed.
    async fn kill(&self, key: &NodeKey);

    /// Removes a node without the runtime.
    async fn vanish(&self, key: &NodeKey);

    /// Makes the engine unreachable for the runtime, and cuts its connections.
    async fn engine_away(&self);

    /// Makes it reachable again.
    async fn engine_back(&self);

    /// Empties what a reboot of the host empties; no node runs.
    async fn lose_volatile_files(&self);

    /// Everything that is left of the two testbeds, anywhere.
    async fn leftovers(&self) -> Vec<String>;

    /// Removes everything that is left of the two testbeds.
    async fn clean_up(&self);
}

/// An image that the checks need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TestImage {
    /// It is on the host; a node of it gets a guest that says hello.
    Plain,
    /// It is on the host and has [`full_config`].
    Full,
    /// It is on the host, and its CMD is `/sbin/init`.
    Init,
    /// It is on no registry that this host reaches, and not on the host.
    Missing,
}

/// A node as an engine has made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// Its host name.
    pub hostname: String,
    /// The id of its image.
    pub image: String,
    /// Its limits.
    pub limits: Limits,
    /// Its privileges.
    pub privileges: Privileges,
}

/// What the image [`TestImage::Full`] says about itself.
///
/// # Panics
/// Never.
#[must_use]
pub fn full_config() -> ImageConfig {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    ImageConfig {
        entrypoint: words(&["/bin/entry", "two words"]),
        cmd: words(&["--flag", "$HOME;`id`"]),
        env: words(&["PATH=/bin", "GREETING=good day"]),
        workdir: "/srv/data".to_owned(),
        user: "1000:1001".to_owned(),
        stop_signal: "SIGQUIT".to_owned(),
        exposed: ["80/tcp", "53/udp"].map(|port| port.parse().expect("a port")).to_vec(),
    }
}

/// Runs every check.
///
/// # Panics
/// If a check fails, with the names of all that failed.
pub async fn run(harness: Arc<dyn Harness>) {
    let mut failed = Vec::new();
    for (name, check) in checks() {
        let began = Instant::now();
        let bench = Bench { runtime: harness.runtime(), harness: Arc::clone(&harness) };
        // In a task of its own: a check that panics must not keep the others from running, and is cleaned up after.
        let mut problem = tokio::spawn(check(bench)).await.err().map(|error| error.to_string());
        if problem.is_none() {
            let left = harness.leftovers().await;
            if !left.is_empty() {
                problem = Some(format!("it left {}", left.join(", ")));
            }
        }
        match problem {
            None => eprintln!("conformance: {name} ({} ms)", began.elapsed().as_millis()),
            Some(problem) => {
                eprintln!("conformance: {name} FAILED: {problem}");
                failed.push(name);
                harness.engine_back().await;
                harness.clean_up().await;
            }
        }
    }
    assert!(failed.is_empty(), "these checks failed: {}", failed.join(", "));
}

type Check = fn(Bench) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! checks {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// Every check with its name, in the order of a node's life.
        fn checks() -> Vec<(&'static str, Check)> {
            vec![$((stringify!($name), |bench| Box::pin($module::$name(bench)))),*]
        }
    };
}

checks! {
    images::the_engine_is_named,
    images::an_image_tells_its_configuration,
    images::an_image_with_an_init_is_unfit,
    images::a_missing_image_fails_within_seconds,
    nodes::making_can_be_repeated,
    nodes::making_at_the_same_time_makes_one,
    nodes::limits_and_privileges_are_applied,
    nodes::starting_can_be_repeated,
    nodes::starting_what_is_not_there_says_so,
    nodes::a_device_that_the_host_lacks_is_refused_with_a_remedy,
    nodes::stopping_keeps_the_disk,
    nodes::what_is_not_there_is_left_alone,
    nodes::removing_takes_everything,
    nodes::removing_at_the_same_time_is_fine,
    nodes::a_reload_is_another_disk,
    nodes::neighbours_do_not_see_each_other,
    nodes::nodes_outlive_the_runtime,
    nodes::a_node_starts_again_after_a_reboot,
    nodes::what_a_node_uses_is_told,
    guests::the_guest_says_hello_at_each_boot,
    guests::a_later_listener_takes_over,
    guests::a_stream_ends_with_its_node,
    spares::a_spare_becomes_a_node_as_it_is,
    spares::a_spare_is_handed_over_once,
    spares::a_spare_takes_nobodys_place,
    spares::a_spare_is_a_node_like_any_other,
    events::what_happens_is_told,
    events::a_neighbours_events_are_not_told,
    events::an_engine_that_was_away_means_resync,
}

/// What a check works with.
struct Bench {
    harness: Arc<dyn Harness>,
    runtime: Arc<dyn Runtime>,
}

impl Bench {
    /// A node that nobody has made yet.
    async fn spec(&self) -> NodeSpec {
        NodeSpec {
            key: NodeKey {
                slice: SliceId::from_uuid(Uuid::new_v4()),
                sliver: SliverId::from_uuid(Uuid::new_v4()),
                disk: 0,
            },
            hostname: "node-1".parse().expect("a host name"),
            image: self.image(TestImage::Plain).await,
            limits: Limits::default(),
            privileges: Privileges::default(),
        }
    }

    async fn image(&self, which: TestImage) -> Image {
        let name = self.harness.image(which);
        let progress = watch::Sender::new(PullProgress::default());
        self.runtime.image(&name, Pull::Missing, &progress).await.expect("an image of the harness")
    }

    /// A node that runs.
    async fn running(&self) -> NodeKey {
        let spec = self.spec().await;
        self.runtime.create(&spec).await.expect("create");
        self.runtime.start(&spec.key).await.expect("start");
        spec.key
    }

    async fn power(&self, key: &NodeKey) -> Option<PowerSeen> {
        let nodes = self.runtime.list().await.expect("list");
        nodes.into_iter().find(|node| node.key == *key).map(|node| node.power)
    }

    async fn remove(&self, key: &NodeKey) {
        self.runtime.remove(key).await.expect("remove");
    }
}

/// Waits for something that must happen soon.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("not within 20 s: {what}"),
    }
}

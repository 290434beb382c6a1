//! Durable Allocates a second from 1 and 16 clients, beside raw append + fdatasync on the same file system in the same
//! run; and Status calls a second of a slice with 1,000 slivers. `cargo bench -p testyard-controller`; the folder is
//! that of `TESTYARD_BENCH_DIR`, or the target folder's, since /tmp is often in memory.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use testyard_agent::probe::Probe;
use testyard_agent::{Host, HostError, HostFacts, desired, observed};
use testyard_controller::api::{Allocate, Caller, Effort, Selection};
use testyard_controller::{Controller, HostResources, HostSettings, PortRange, Settings, Store, SystemClock};
use testyard_fabric::capture::{CaptureError, CaptureRequest, CaptureStream};
use testyard_model::host::HostLimits;
use testyard_model::id::SliceId;
use testyard_model::probe::Probed;
use testyard_model::topology::{Node, Topology};
use testyard_testkit::kinds::plain;
use tokio::sync::mpsc;

const ROUND: Duration = Duration::from_secs(3);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let base = std::env::var_os("TESTYARD_BENCH_DIR")
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../target").into());
    std::fs::create_dir_all(&base).expect("a folder");
    let folder = tempfile::tempdir_in(&base).expect("a folder");
    let raw = raw(folder.path());
    println!("raw append + fdatasync, 1 writer     {raw:9.0} /s");
    for clients in [1, 16] {
        let path = folder.path().join(format!("{clients}.db"));
        let rate = runtime.block_on(allocates(&path, clients));
        println!("durable Allocates, {clients:2} clients         {rate:9.0} /s   {:.2} of raw", rate / raw);
    }
    let (rate, slowest) = runtime.block_on(statuses(&folder.path().join("status.db")));
    println!(
        "Status of a slice with 1,000 slivers {rate:9.0} /s   slowest {:.1} ms",
        slowest.as_secs_f64() * 1e3
    );
}

/// Appends of a row's size, each synced.
fn raw(folder: &Path) -> f64 {
    let mut file = std::fs::File::create(folder.join("raw")).expect("a file");
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < ROUND {
        file.write_all(&[0x5a; 200]).and_then(|()| file.sync_data()).expect("an append");
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

async fn allocates(path: &Path, clients: u32) -> f64 {
    let controller = open(path).await;
    let count = Arc::new(AtomicU32::new(0));
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (controller, count) = (Arc::clone(&controller), Arc::clone(&count));
        tasks.spawn(async move {
            while begin.elapsed() < ROUND {
                let number = count.fetch_add(1, Ordering::Relaxed);
                // A hundred nodes a slice, as users have.
                let slice = format!("s{client}-{}", number / 100);
                controller.allocate(&caller(), request(&slice, number, 1)).await.expect("an allocation");
            }
        });
    }
    tasks.join_all().await;
    let rate = f64::from(count.load(Ordering::Relaxed)) / begin.elapsed().as_secs_f64();
    controller.shut_down().await;
    rate
}

async fn statuses(path: &Path) -> (f64, Duration) {
    let controller = open(path).await;
    controller.allocate(&caller(), request("s", 0, 1000)).await.expect("an allocation");
    let selection = Selection::Slice("urn:publicid:IDN+a+slice+s".parse().expect("a URN"));
    let (begin, mut count, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while begin.elapsed() < ROUND {
        let call = Instant::now();
        let view =
            controller.status(&caller(), selection.clone(), Effort::AllOrNothing).await.expect("a status");
        assert_eq!(view.slivers.len(), 1000);
        slowest = slowest.max(call.elapsed());
        count += 1;
    }
    (f64::from(count) / begin.elapsed().as_secs_f64(), slowest)
}

async fn open(path: &Path) -> Arc<Controller> {
    let store = Store::open(path).expect("a store");
    let resources = HostResources::new(
        "local".parse().expect("a name"),
        60_000,
        PortRange::new(1024, 65_535).expect("a range"),
        "10.0.0.0/8".parse().expect("a network"),
        None,
        None,
    );
    let host = HostSettings {
        resources: resources.expect("a host"),
        public_name: "local".to_owned(),
        location: None,
        tunnel: None,
    };
    let kind = plain("plain");
    let mut settings =
        Settings::new("a".parse().expect("an authority"), vec![host], vec![kind]).expect("settings");
    settings.quotas.slices_per_user = u32::MAX;
    let hosts = vec![("local".parse().expect("a name"), Arc::new(Nothing) as Arc<dyn Host>)];
    Controller::open(store, settings, hosts, Arc::new(SystemClock)).await.expect("a controller")
}

fn caller() -> Caller {
    let user = "urn:publicid:IDN+a+user+ann".parse().expect("a URN");
    Caller { user, tool: None, until: Timestamp::MAX, only_own: false, operator: false, request: None }
}

fn request(slice: &str, first: u32, count: u32) -> Allocate {
    let node = |number: u32| Node::new(format!("n{number}").parse().expect("a name"));
    Allocate {
        slice: format!("urn:publicid:IDN+a+slice+{slice}").parse().expect("a URN"),
        topology: Topology { nodes: (first..first + count).map(node).collect(), ..Topology::default() },
        document: "<rspec/>".to_owned(),
        end: None,
    }
}

/// A host that takes everything and does nothing.
struct Nothing;

#[async_trait]
impl Host for Nothing {
    async fn sync(&self, _slices: Vec<desired::Slice>) -> Result<(), HostError> {
        Ok(())
    }

    async fn apply(&self, _slice: desired::Slice) -> Result<(), HostError> {
        Ok(())
    }

    fn watch(&self) -> mpsc::UnboundedReceiver<observed::Slice> {
        let (sender, receiver) = mpsc::unbounded_channel();
        // A closed channel would be listened to again and again.
        std::mem::forget(sender);
        receiver
    }

    async fn observe(&self, _slice: SliceId) -> Result<Option<observed::Slice>, HostError> {
        Ok(None)
    }

    async fn capture(&self, slice: SliceId, _request: CaptureRequest) -> Result<CaptureStream, CaptureError> {
        Err(CaptureError::NotJoined { slice })
    }

    async fn try_filter(&self, _expression: &str) -> Result<(), CaptureError> {
        Ok(())
    }

    async fn probe(&self, _slice: SliceId, probes: Vec<Probe>) -> Result<Vec<Probed>, HostError> {
        Ok(probes.iter().map(|_| Probed::Failed("it only pretends".to_owned())).collect())
    }

    async fn facts(&self) -> Result<HostFacts, HostError> {
        Ok(HostFacts { engines: vec![], healthy: true, limits: HostLimits::UNKNOWN })
    }

    async fn shut_down(&self) {}
}

//! What the testbed tells those who gather metrics (docs/reference/metrics.md).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use openssl::asn1::Asn1Time;
use openssl::x509::X509;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use testyard_am::TlsFiles;
use testyard_controller::{Controller, Counts, Event, Happening};
use testyard_model::state::{Allocation, Operational};
use testyard_model::urn::SliverUrn;
use testyard_telemetry::{Calls, PREFIX, Process, render};
use testyard_web::metrics::Scrape;
use tokio::sync::broadcast::error::RecvError;

/// Seconds from Provision to ready.
const READY: [f64; 12] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 300.0, 1800.0];

/// The testbed's metrics.
pub(super) struct Metrics {
    /// What is counted as it happens.
    counted: Registry,
    process: Registry,
    nodes: Nodes,
    controller: Arc<Controller>,
    tls: TlsFiles,
    database: PathBuf,
}

/// What becomes of nodes.
#[derive(Clone)]
struct Nodes {
    ready: Histogram,
    failed: Counter,
}

/// Nodes that are on their way, and since when.
#[derive(Default)]
struct OnTheWay(std::collections::HashMap<SliverUrn, Timestamp>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfHost {
    host: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Slivers {
    host: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Slices {
    state: &'static str,
}

impl Metrics {
    pub(super) fn new(
        calls: &Calls,
        process: Process,
        controller: Arc<Controller>,
        tls: TlsFiles,
        database: PathBuf,
    ) -> Arc<Self> {
        let mut counted = Registry::with_prefix(PREFIX);
        calls.register(&mut counted);
        let nodes = Nodes { ready: Histogram::new(READY), failed: Counter::default() };
        let help = "How long nodes took from being given to being ready";
        counted.register_with_unit("node_ready", help, Unit::Seconds, nodes.ready.clone());
        counted.register("node_failures", "Nodes that have failed", nodes.failed.clone());
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        counted.register("build", "The program", version);
        // By the names of Prometheus' own libraries, which have no prefix.
        let mut of_process = Registry::default();
        of_process.register_collector(Box::new(process));
        Arc::new(Self { counted, process: of_process, nodes, controller, tls, database })
    }

    /// Listens to what happens to nodes, for ever.
    pub(super) async fn listen(self: Arc<Self>) {
        let (mut events, mut on_the_way) = (self.controller.subscribe(), OnTheWay::default());
        loop {
            match events.recv().await {
                Ok(event) => on_the_way.take(&event, &self.nodes),
                // Of those on their way nobody knows any more whether they have come.
                Err(RecvError::Lagged(_)) => on_the_way.0.clear(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// What is there now.
    fn present(&self) -> Registry {
        let mut registry = Registry::with_prefix(PREFIX);
        let counts = self.controller.counts();
        slices(&mut registry, &counts);
        self.hosts(&mut registry, &counts);
        self.store(&mut registry);
        if let Some(until) = certificate_end(&self.tls.certificate_pem()) {
            let gauge: Gauge = Gauge::default();
            gauge.set(until);
            let help = "When the certificate of the AM API ends, in Unix time";
            registry.register("certificate_end_timestamp_seconds", help, gauge);
        }
        registry
    }

    fn hosts(&self, registry: &mut Registry, counts: &Counts) {
        let reports = self.controller.hosts();
        let mut family = |name: &str, help: &str, value: &dyn Fn(usize) -> i64| {
            let family: Family<OfHost, Gauge> = Family::default();
            for (index, report) in reports.iter().enumerate() {
                family.get_or_create(&OfHost { host: report.offer.name.to_string() }).set(value(index));
            }
            registry.register(name, help, family);
        };
        let usage = |index: usize| counts.hosts.get(&reports[index].offer.name).cloned().unwrap_or_default();
        family("host_reachable", "Whether the host can be spoken to", &|at| {
            i64::from(reports[at].away.is_none())
        });
        family("host_healthy", "Whether nodes can be started on it", &|at| {
            i64::from(reports[at].offer.healthy)
        });
        family("host_drained", "Whether no more nodes come to it", &|at| i64::from(reports[at].drained));
        family("host_capacity_nodes", "Nodes that it can take in all", &|at| {
            reports[at].offer.capacity.into()
        });
        family("host_nodes", "Nodes that it has, or is about to have", &|at| usage(at).nodes.into());
        family("host_ports_used", "Ports of it that lead to nodes", &|at| usage(at).ports.into());
        family("host_ports_free", "Ports of it that are free", &|at| usage(at).free_ports.into());
        family("host_images_made", "Images of URLs that it has, or is making", &|at| usage(at).images.into());
        let slivers: Family<Slivers, Gauge> = Family::default();
        for (host, on_host) in &counts.hosts {
            for (state, count) in &on_host.slivers {
                let labels = Slivers { host: host.to_string(), state: word(*state) };
                slivers.get_or_create(&labels).set(i64::from(*count));
            }
        }
        registry.register("slivers", "Slivers, by what they do", slivers);
    }

    fn store(&self, registry: &mut Registry) {
        let writes = self.controller.writes();
        let mut counter = |name: &str, help: &str, value: u64| {
            registry.register(name, help, ConstCounter::new(value));
        };
        counter("store_changes", "Changes that were made durable", writes.changes);
        counter("store_commits", "Transactions that were made durable", writes.commits);
        counter("store_failures", "Transactions that could not be made durable", writes.failures);
        let busy = ConstCounter::new(writes.busy.as_secs_f64());
        registry.register_with_unit("store_busy", "Time that transactions took", Unit::Seconds, busy);
        let size = |suffix: &str| {
            let mut path = self.database.clone().into_os_string();
            path.push(suffix);
            std::fs::metadata(path).map_or(0, |file| file.len())
        };
        let bytes: Gauge = Gauge::default();
        bytes.set(i64::try_from(size("") + size("-wal")).unwrap_or(i64::MAX));
        registry.register_with_unit("store_size", "The store on disk", Unit::Bytes, bytes);
    }
}

#[async_trait]
impl Scrape for Metrics {
    async fn scrape(&self) -> String {
        render([&self.counted, &self.present(), &self.process])
    }
}

fn slices(registry: &mut Registry, counts: &Counts) {
    let family: Family<Slices, Gauge> = Family::default();
    for (state, count) in [
        ("living", counts.slices),
        // Of which hosts still remove something.
        ("ending", counts.ended),
        ("shut_down", counts.shut_down),
    ] {
        family.get_or_create(&Slices { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    registry.register("slices", "Slices", family);
    let links: Gauge = Gauge::default();
    links.set(i64::try_from(counts.links).unwrap_or(i64::MAX));
    registry.register("links", "Links of living slices", links);
}

impl OnTheWay {
    fn take(&mut self, event: &Event, nodes: &Nodes) {
        let Happening::Sliver { sliver, allocation, operational, .. } = &event.what else { return };
        if *allocation != Allocation::Provisioned {
            self.0.remove(sliver);
            return;
        }
        match operational {
            Operational::Configuring => {
                self.0.entry(sliver.clone()).or_insert(event.at);
            }
            Operational::Ready | Operational::ReadyBusy => {
                let begun = self.0.remove(sliver);
                let took = begun.and_then(|begun| Duration::try_from(event.at.duration_since(begun)).ok());
                took.into_iter().for_each(|took| nodes.ready.observe(took.as_secs_f64()));
            }
            Operational::Failed => {
                self.0.remove(sliver);
                nodes.failed.inc();
            }
            _ => {
                self.0.remove(sliver);
            }
        }
    }
}

/// A state as the command line has it.
fn word(state: Operational) -> &'static str {
    match state {
        Operational::PendingAllocation => "allocated",
        other => other.as_str().strip_prefix("geni_").unwrap_or(other.as_str()),
    }
}

/// When the first certificate of a text ends, in seconds of Unix time.
fn certificate_end(pem: &str) -> Option<i64> {
    let certificate = X509::from_pem(pem.as_bytes()).ok()?;
    let since = Asn1Time::from_unix(0).ok()?.diff(certificate.not_after()).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

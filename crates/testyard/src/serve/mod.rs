//! `testyard serve`: puts the rooms together and runs them until it is told to end.
//!
//! ```text
//!  am (TLS, XML-RPC) ──┬─► controller ─► store
//!  web (local socket) ──┘     │  ▲
//!                             ▼  │
//!                           local host ─► Docker Engine, fabric
//! ```
//!
//! SIGHUP reads the configuration again; certificates and trusted roots are looked at by themselves. SIGTERM and SIGINT
//! end the server: running calls are finished, nodes run on, and the next start finds them.

mod facts;
mod lock;
mod log;
mod mounts;
mod notify;
mod translate;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::Args;
use jiff::Timestamp;
use testyard_agent::{Facts, Host, LocalHost, LocalHostConfig};
use testyard_am::{AmService, AmSettings, Testbed, TlsFiles};
use testyard_controller::{Controller, Store, SystemClock};
use testyard_fabric::{Emulator, Fabric, LinuxFabric, fake::FakeFabric};
use testyard_model::image::ImageName;
use testyard_model::sliver_type::RuntimeKind;
use testyard_model::urn::Urn;
use testyard_runtime::Runtime;
use testyard_runtime::fake::FakeRuntime;
use testyard_runtime_docker::DockerRuntime;
use testyard_trust::Trust;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use lock::is_running;

use crate::cli::ConfigArgument;
use crate::config::{self, Settings};
use crate::exit::{Failure, Outcome};
use crate::reset::{docker_config, fabric_config};

/// `testyard serve`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  testyard serve\n  RUST_LOG=debug testyard serve --config lab.toml --log-format json"
)]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// How the log, on the standard error, is written; RUST_LOG says how much of it
    #[arg(long, value_enum, default_value_t = log::Format::Text)]
    log_format: log::Format,
}

/// How often files of certificates and roots are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// What calls over the local socket get to end by themselves.
const LOCAL_GRACE: Duration = Duration::from_secs(5);
/// What a node gets to end by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Runs the testbed until SIGTERM or SIGINT.
///
/// # Errors
/// If the configuration is wrong, another server runs, or a room cannot be opened.
pub fn run(arguments: &Arguments) -> Outcome {
    let path = arguments.config.path();
    let settings = config::load(&path)?;
    log::start(arguments.log_format);
    // Held to the end: what the kernel gives back when the process ends, however it ends.
    let _lock = lock::take(&settings.paths.run).map_err(Failure::failed)?;
    mounts::look();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no event loop")?;
    runtime.block_on(serve(path, settings)).map_err(Failure::from)
}

async fn serve(path: PathBuf, settings: Settings) -> anyhow::Result<()> {
    // Signals that come while the rooms are being opened wait.
    let (mut hangup, mut terminate, mut interrupt) = signals()?;
    let listeners = listen(&settings).await?;
    let tls = TlsFiles::load(&settings.tls.certificate, &settings.tls.key)?;
    let trust = Trust::open(&settings.paths.trusted, settings.trust.clone()).context("trusted roots")?;
    let trust = Arc::new(trust);

    let am_settings = Arc::new(ArcSwap::from_pointee(translate::am(&settings)?));
    let facts = facts::NodeFacts::new(Arc::clone(&am_settings));
    let host = open_host(&settings, Arc::clone(&facts) as _).await?;
    let database = settings.paths.state.join("testyard.sqlite");
    let store = Store::open(&database).with_context(|| database.display().to_string())?;
    let hosts: Vec<(_, Arc<dyn Host>)> = vec![(translate::host_name(), Arc::clone(&host) as _)];
    let controller =
        Controller::open(store, translate::controller(&settings)?, hosts, Arc::new(SystemClock)).await?;
    facts.ask(&controller);

    let testbed: Arc<dyn Testbed> = Arc::clone(&controller) as _;
    let service = AmService::new(testbed, Arc::clone(&trust), Arc::clone(&am_settings));
    let shutdown = CancellationToken::new();
    let mut servers = JoinSet::new();
    for listener in listeners {
        let limits = translate::server_limits(&settings);
        servers.spawn(testyard_am::serve(listener, tls.clone(), service.clone(), limits, shutdown.clone()));
    }
    let local = testyard_web::server::listen(&settings.paths.run)?;
    let urn = Urn::new(&settings.testbed.authority, "authority", "am").context("the testbed's URN")?;
    let images = Arc::new(ArcSwap::from_pointee(settings.image_names.clone()));
    let web = testyard_web::Server::new(
        Arc::clone(&controller),
        settings.testbed.authority.clone(),
        urn,
        Arc::clone(&images),
        shutdown.clone(),
    );
    let local = tokio::spawn(web.serve(local));
    let watchers = [tokio::spawn(tls.clone().watch(LOOK)), tokio::spawn(watch_roots(Arc::clone(&trust)))];
    tracing::info!(testbed = %settings.testbed.name, url = %settings.testbed.public_url, "serving");
    notify::ready();

    let mut reload = Reload {
        path,
        settings,
        host: &host,
        controller: &controller,
        am: &am_settings,
        images: &images,
        trust: &trust,
        tls: &tls,
    };
    loop {
        tokio::select! {
            _ = hangup.recv() => reload.run().await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("ending; nodes run on");
    notify::stopping();
    shutdown.cancel();
    while servers.join_next().await.is_some() {}
    // Somebody may hold a connection open for ever; what was asked is done or durable by then.
    let abort = local.abort_handle();
    if tokio::time::timeout(LOCAL_GRACE, local).await.is_err() {
        abort.abort();
    }
    for watcher in watchers {
        watcher.abort();
    }
    controller.shut_down().await;
    Ok(())
}

fn signals() -> anyhow::Result<(Signal, Signal, Signal)> {
    let on = |kind| signal(kind).context("signals cannot be caught");
    Ok((on(SignalKind::hangup())?, on(SignalKind::terminate())?, on(SignalKind::interrupt())?))
}

async fn listen(settings: &Settings) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for at in &settings.testbed.bind {
        let listener = TcpListener::bind(at).await;
        listeners
            .push(listener.with_context(|| format!("cannot listen on {at}; `testyard doctor` says more"))?);
        tracing::info!(address = %at, "listening");
    }
    Ok(listeners)
}

/// This machine as a host: its runtimes and its fabric.
async fn open_host(settings: &Settings, facts: Arc<dyn Facts>) -> anyhow::Result<Arc<LocalHost>> {
    // The configuration sees to it that nodes are either all real or all pretended.
    let pretends = settings.sliver_types.iter().all(|kind| kind.runtime == RuntimeKind::Fake);
    let (runtime, fabric): (Arc<dyn Runtime>, Arc<dyn Fabric>) = if pretends {
        (Arc::new(FakeRuntime::new()), Arc::new(FakeFabric::default()))
    } else {
        let guest = crate::guest::install(&crate::guest::find()?, &settings.paths.state)
            .context("the guest program")?;
        let docker = DockerRuntime::new(docker_config(settings, &guest));
        (Arc::new(docker), Arc::new(LinuxFabric::new(fabric_config(settings))))
    };
    let config = LocalHostConfig {
        runtimes: vec![runtime],
        fabric,
        state: settings.paths.state.join("host"),
        domain: translate::domain(settings),
        name_servers: settings.network.name_servers.clone(),
        stop_grace: STOP_GRACE,
        install_limits: (settings.limits.install_download, settings.limits.install_unpacked),
        only_netem: settings.network.emulator == Emulator::Netem,
        facts: Some(facts),
        pool: translate::pool(settings),
        now: Timestamp::now,
    };
    Ok(LocalHost::start(config).await?)
}

/// Reads changed roots, for ever; what changes is in the log.
async fn watch_roots(trust: Arc<Trust>) {
    let mut ticks = tokio::time::interval(LOOK);
    let mut last_error = None;
    loop {
        ticks.tick().await;
        let trust = Arc::clone(&trust);
        let refreshed = tokio::task::spawn_blocking(move || trust.refresh().map(|_| ())).await;
        let error = refreshed.ok().and_then(Result::err).map(|error| error.to_string());
        if let Some(error) = error.as_ref().filter(|error| last_error.as_ref() != Some(*error)) {
            tracing::error!(%error, "trusted roots stay as they are");
        }
        last_error = error;
    }
}

/// Reading the configuration again.
struct Reload<'a> {
    path: PathBuf,
    settings: Settings,
    host: &'a LocalHost,
    controller: &'a Controller,
    am: &'a ArcSwap<AmSettings>,
    images: &'a ArcSwap<BTreeMap<String, ImageName>>,
    trust: &'a Trust,
    tls: &'a TlsFiles,
}

impl Reload<'_> {
    /// Takes what can be taken; a file with a mistake changes nothing.
    async fn run(&mut self) {
        notify::reloading();
        match self.take().await {
            Ok(()) => tracing::info!(file = %self.path.display(), "configuration read again"),
            Err(error) => tracing::error!("configuration not taken, the old one stays: {error:#}"),
        }
        notify::ready();
    }

    async fn take(&mut self) -> anyhow::Result<()> {
        let settings = config::load(&self.path)?;
        let later = self.settings.needing_restart(&settings);
        if !later.is_empty() {
            tracing::warn!(keys = later.join(", "), "these take effect only when testyard is started again");
        }
        let am = translate::am(&settings)?;
        self.controller.reconfigure(translate::controller(&settings)?).await?;
        self.host.set_pool(translate::pool(&settings));
        self.am.store(Arc::new(am));
        self.images.store(Arc::new(settings.image_names.clone()));
        self.tls.reload_logged();
        self.trust.refresh()?;
        // What needs a restart is compared with what runs, not with what was last read.
        self.settings.take_from(settings);
        Ok(())
    }
}

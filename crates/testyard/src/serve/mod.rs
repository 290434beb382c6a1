//! `testyard serve`: puts the rooms together and runs them until it is told to end.
//!
//! ```text
//!  am (TLS, XML-RPC) ──┬─► controller ─► store
//!  web (local socket) ──┘     │  ▲
//!                             ▼  │
//!                           hosts: this machine, and those whose agents come in
//! ```
//!
//! SIGHUP reads the configuration again; certificates and trusted roots are looked at by themselves. SIGTERM and SIGINT
//! end the server: running calls are finished, nodes run on, and the next start finds them.

mod facts;
pub(crate) mod hosts;
mod metrics;
pub(crate) mod restored;
pub(crate) mod translate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::Args;
use testyard_am::{AmService, AmSettings, Testbed, TlsFiles};
use testyard_controller::{Controller, Store, SystemClock};
use testyard_model::image::ImageName;
use testyard_model::urn::Urn;
use testyard_telemetry::{Calls, Process};
use testyard_trust::Trust;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::hosts::Hosts;
use self::metrics::Metrics;
use crate::cli::ConfigArgument;
use crate::config::{self, Settings};
use crate::daemon::{Signals, Told, claim, lock, log, mounts, notify};
use crate::exit::{Failure, Outcome};

pub(crate) use crate::daemon::lock::is_running;

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

/// The store, in the state folder.
pub(crate) const DATABASE: &str = "testyard.sqlite";
/// How often files of certificates and roots are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// What calls over the local socket get to end by themselves.
const LOCAL_GRACE: Duration = Duration::from_secs(5);

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
    let _claim = match settings.inside().map(|host| translate::host_config(&settings, host)) {
        Some(config) if !config.pretends => Some(claim::claim(&config.instance).map_err(Failure::failed)?),
        _ => None,
    };
    mounts::look();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no event loop")?;
    let process = Process::begun();
    let served: anyhow::Result<()> = runtime.block_on(async {
        // Signals that come while the rooms are being opened, or opened anew, wait.
        let (mut signals, mut next) = (Signals::new()?, Some(settings));
        while let Some(settings) = next {
            restored::take_up(&settings.paths.state)?;
            next = serve(path.clone(), settings, process, &mut signals).await?;
        }
        Ok(())
    });
    served.map_err(Failure::from)
}

/// Serves. Returns the settings to serve with again, if somebody has asked for that.
async fn serve(
    path: PathBuf,
    settings: Settings,
    process: Process,
    signals: &mut Signals,
) -> anyhow::Result<Option<Settings>> {
    let listeners = listen(&settings.testbed.bind, "the AM API").await?;
    let scraped = listen(&settings.metrics.bind, "metrics").await?;
    let tls = TlsFiles::load(&settings.tls.certificate, &settings.tls.key)?;
    let trust = Trust::open(&settings.paths.trusted, settings.trust.clone()).context("trusted roots")?;
    let trust = Arc::new(trust);

    let am_settings = Arc::new(ArcSwap::from_pointee(translate::am(&settings)?));
    let facts = facts::NodeFacts::new(Arc::clone(&am_settings));
    std::fs::create_dir_all(&settings.paths.state)
        .with_context(|| settings.paths.state.display().to_string())?;
    let database = settings.paths.state.join(DATABASE);
    let store = Store::open(&database).with_context(|| database.display().to_string())?;
    let shutdown = CancellationToken::new();
    let hosts = Hosts::open(&settings, &store, Arc::clone(&facts) as _, shutdown.clone()).await?;
    let (all, clock) = (hosts.take(&settings), Arc::new(SystemClock));
    let controller = Controller::open(store, translate::controller(&settings)?, all, clock).await?;
    facts.ask(&controller);
    hosts.listen(&settings).await?;

    let testbed: Arc<dyn Testbed> = Arc::clone(&controller) as _;
    let calls = Calls::default();
    let metrics = Metrics::new(&calls, process, Arc::clone(&controller), tls.clone(), database);
    let service = AmService::new(testbed, Arc::clone(&trust), Arc::clone(&am_settings));
    let service = service.counted_by(calls.clone());
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
        Arc::clone(&hosts) as _,
        shutdown.clone(),
    );
    let reopen = Arc::new(Notify::new());
    let web = web.counted_by(calls).telling(Arc::clone(&metrics) as _).reopening(Arc::clone(&reopen));
    let local = tokio::spawn(web.serve(local));
    for listener in scraped {
        let metrics = Arc::clone(&metrics) as _;
        servers.spawn(testyard_web::metrics::serve(listener, metrics, shutdown.clone()));
    }
    let watchers = [
        tokio::spawn(tls.clone().watch(LOOK)),
        tokio::spawn(watch_roots(Arc::clone(&trust))),
        tokio::spawn(metrics.listen()),
    ];
    tracing::info!(testbed = %settings.testbed.name, url = %settings.testbed.public_url, "serving");
    notify::ready();

    let mut reload = Reload {
        path,
        settings,
        hosts: &hosts,
        controller: &controller,
        am: &am_settings,
        images: &images,
        trust: &trust,
        tls: &tls,
    };
    let again = loop {
        let told = tokio::select! {
            told = signals.next() => told,
            () = reopen.notified() => break true,
        };
        match told {
            Told::Reload => reload.run().await,
            Told::End => break false,
        }
    };
    let settings = reload.settings;
    tracing::info!(again, "ending; nodes run on");
    if again {
        notify::reloading();
    } else {
        notify::stopping();
    }
    shutdown.cancel();
    while servers.join_next().await.is_some() {}
    hosts.closed().await;
    // Somebody may hold a connection open for ever; what was asked is done or durable by then.
    let abort = local.abort_handle();
    if tokio::time::timeout(LOCAL_GRACE, local).await.is_err() {
        abort.abort();
    }
    for watcher in watchers {
        watcher.abort();
    }
    controller.shut_down().await;
    Ok(again.then_some(settings))
}

async fn listen(bind: &[SocketAddr], what: &str) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for at in bind {
        let listener = TcpListener::bind(at).await;
        let why = || format!("cannot listen for {what} on {at}; `testyard doctor` says more");
        listeners.push(listener.with_context(why)?);
        tracing::info!(address = %at, "listening for {what}");
    }
    Ok(listeners)
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
    hosts: &'a Arc<Hosts>,
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
        // What needs a restart is planned with, and compared with, what runs: not with what was last read.
        let mut next = self.settings.clone();
        next.take_from(settings);
        let am = translate::am(&next)?;
        let controller = translate::controller(&next)?;
        self.hosts.listen(&next).await?;
        self.settings = next;
        self.controller.reconfigure(controller, self.hosts.take(&self.settings)).await?;
        self.am.store(Arc::new(am));
        self.images.store(Arc::new(self.settings.image_names.clone()));
        self.tls.reload_logged();
        self.trust.refresh()?;
        Ok(())
    }
}

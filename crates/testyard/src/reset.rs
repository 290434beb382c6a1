//! `testyard reset`: removes everything that Testyard made on this host, found by its marks alone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use testyard_fabric::{Emulator, Fabric as _, FabricConfig, LinuxFabric};
use testyard_model::id::Instance;
use testyard_runtime_docker::{DockerConfig, DockerRuntime};

use crate::cli::ConfigArgument;
use crate::config::{self, ConfigError, Settings};
use crate::exit::{Failure, Outcome};
use crate::serve;

/// `testyard reset`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    testyard reset                          nodes, interfaces and rules; the database stays\n  \
    testyard reset --state --yes            the database too, without asking\n  \
    testyard reset --instance main --yes    without a configuration, by the mark\n\
    What does not carry this testbed's mark is never touched.")]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Whose things, where there is no configuration
    #[arg(long)]
    instance: Option<Instance>,
    /// Remove the state folder too: the testbed forgets every slice
    #[arg(long)]
    state: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What is removed.
struct Target {
    instance: Instance,
    run: PathBuf,
    state: Option<PathBuf>,
    docker: PathBuf,
    fabric: FabricConfig,
}

/// Removes everything.
///
/// # Errors
/// If the testbed is running, nobody agrees, or something cannot be removed; the rest is removed all the same.
pub fn run(arguments: &Arguments) -> Outcome {
    let target = target(arguments)?;
    if serve::is_running(&target.run) {
        return Err(Failure::failed(
            "testyard serve is running and would make everything again: end it first",
        ));
    }
    if !arguments.yes {
        agree(&target)?;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no event loop")?;
    let mut failures: Vec<String> = Vec::new();
    runtime.block_on(remove(&target, &mut failures));
    let folders = std::iter::once(&target.run).chain(&target.state);
    failures.extend(folders.filter_map(|folder| remove_folder(folder).err()));
    if failures.is_empty() { Ok(()) } else { Err(Failure::failed(failures.join("\ntestyard: "))) }
}

fn target(arguments: &Arguments) -> Result<Target, Failure> {
    let settings = match config::load(&arguments.config.path()) {
        Ok(settings) => Some(settings),
        Err(ConfigError::Unreadable { .. }) if arguments.instance.is_some() => None,
        Err(error @ ConfigError::Unreadable { .. }) => {
            return Err(Failure::usage(format!("{error}; or name the mark with --instance")));
        }
        Err(error) => return Err(error.into()),
    };
    let Some(settings) = settings else {
        let instance = arguments.instance.clone().ok_or_else(|| Failure::usage("give --instance"))?;
        let fabric = FabricConfig {
            instance: instance.clone(),
            ipv4: "10.77.0.0/16".parse().context("a network")?,
            ipv6: None,
            ipv6_proxy: false,
            run: "/run/testyard".into(),
            wire: Vec::new(),
            emulator: Emulator::default(),
            captures: arguments.state.then(|| "/var/lib/testyard/captures".into()),
            denied: Vec::new(),
        };
        return Ok(Target {
            instance,
            run: "/run/testyard".into(),
            state: arguments.state.then(|| "/var/lib/testyard".into()),
            docker: "/var/run/docker.sock".into(),
            fabric,
        });
    };
    if let Some(instance) =
        arguments.instance.as_ref().filter(|instance| **instance != settings.testbed.instance)
    {
        let configured = &settings.testbed.instance;
        return Err(Failure::usage(format!(
            "the configuration is of instance {configured}, not of {instance}"
        )));
    }
    Ok(Target {
        instance: settings.testbed.instance.clone(),
        run: settings.paths.run.clone(),
        state: arguments.state.then(|| settings.paths.state.clone()),
        docker: settings.host.docker.clone(),
        fabric: fabric_config(&settings),
    })
}

/// How the fabric starts a wire: this very program, as it is now.
fn wire_program() -> Vec<std::ffi::OsString> {
    std::env::current_exe().map_or_else(|_| Vec::new(), |program| vec![program.into(), "wire".into()])
}

/// What the fabric needs to know of the configuration.
#[must_use]
pub fn fabric_config(settings: &Settings) -> FabricConfig {
    FabricConfig {
        instance: settings.testbed.instance.clone(),
        ipv4: settings.network.ipv4,
        ipv6: settings.network.ipv6,
        ipv6_proxy: settings.network.ipv6_proxy,
        run: settings.paths.run.clone(),
        wire: wire_program(),
        emulator: settings.network.emulator,
        captures: Some(settings.paths.state.join("captures")),
        denied: settings.network.denied.clone(),
    }
}

/// What the Docker runtime needs to know of the configuration.
#[must_use]
pub fn docker_config(settings: &Settings, guest_folder: &Path) -> DockerConfig {
    let run = &settings.paths.run;
    let mut config = DockerConfig::new(settings.testbed.instance.clone(), guest_folder, run);
    config.socket.clone_from(&settings.host.docker);
    config.registries.clone_from(&settings.registries);
    config
}

fn agree(target: &Target) -> Outcome {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("this removes every node of the testbed; --yes says that you mean it"));
    }
    let state = target.state.as_ref().map(|state| format!(", and the state in {}", state.display()));
    let question = format!(
        "remove all nodes, interfaces and rules of instance {}{}? [y/N] ",
        target.instance,
        state.unwrap_or_default()
    );
    let _ = io::stderr().write_all(question.as_bytes());
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::failed)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::failed("nothing was removed"))
    }
}

async fn remove(target: &Target, failures: &mut Vec<String>) {
    let mut docker = DockerConfig::new(target.instance.clone(), "/nonexistent", &target.run);
    docker.socket.clone_from(&target.docker);
    match DockerRuntime::new(docker).reset().await {
        Ok(nodes) => say!("{nodes} nodes removed"),
        Err(error) => failures.push(format!(
            "nodes are left: {error}; run it again once the Docker Engine answers: one that stays silent about a single \
             container must be restarted"
        )),
    }
    match LinuxFabric::new(target.fabric.clone()).reset().await {
        Ok(()) => say!("interfaces and rules removed"),
        Err(error) => failures.push(format!("interfaces or rules are left: {error}")),
    }
}

fn remove_folder(folder: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {
            say!("{} removed", folder.display());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", folder.display())),
    }
}

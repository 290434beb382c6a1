//! `testyard reset`: removes everything that Testyard made on this host, found by its marks alone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use testyard_agent::HostConfig;
use testyard_fabric::{Fabric as _, LinuxFabric};
use testyard_model::id::Instance;
use testyard_runtime_docker::DockerRuntime;

use crate::agent;
use crate::cli::ConfigArgument;
use crate::config::{self, ConfigError};
use crate::exit::{Failure, Outcome};
use crate::machine::{self, Folders, docker_config, fabric_config};
use crate::serve::{self, translate};

/// `testyard reset`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    testyard reset                          nodes, interfaces and rules; the database stays\n  \
    testyard reset --state --yes            the database too, without asking\n  \
    testyard reset --instance main --yes    without a configuration, by the mark\n  \
    testyard reset --agent --state          what the agent of this machine made, and its membership\n\
    What does not carry this testbed's mark is never touched.")]
pub struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Whose things, where there is no configuration
    #[arg(long)]
    instance: Option<Instance>,
    /// What `testyard agent` made here, not `testyard serve`
    #[arg(long, conflicts_with_all = ["instance", "config"])]
    agent: bool,
    /// Where that agent keeps its state
    #[arg(long, value_name = "DIR", requires = "agent", default_value = agent::STATE)]
    agent_state: PathBuf,
    /// Where that agent keeps its sockets
    #[arg(long, value_name = "DIR", requires = "agent", default_value = agent::RUN)]
    agent_run: PathBuf,
    /// Remove the state folder too: the testbed forgets every slice, an agent that it is one
    #[arg(long)]
    state: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What is removed.
struct Target {
    config: HostConfig,
    folders: Folders,
    /// Whether the state goes too.
    state: bool,
}

/// What a server that was killed had begun has ended by then.
const LATE: Duration = Duration::from_millis(200);
const RUN: &str = "/run/testyard";
const STATE: &str = "/var/lib/testyard";
const DOCKER: &str = "/var/run/docker.sock";

/// Removes everything.
///
/// # Errors
/// If the testbed is running, nobody agrees, or something cannot be removed; the rest is removed all the same.
pub fn run(arguments: &Arguments) -> Outcome {
    let target = target(arguments)?;
    if serve::is_running(&target.folders.run) {
        let program = if arguments.agent { "agent" } else { "serve" };
        return Err(Failure::failed(format!(
            "testyard {program} is running and would make everything again: end it first"
        )));
    }
    if !arguments.yes {
        agree(&target)?;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no event loop")?;
    let mut failures: Vec<String> = Vec::new();
    runtime.block_on(remove(&target, &mut failures));
    let folders = std::iter::once(&target.folders.run).chain(target.state.then_some(&target.folders.state));
    failures.extend(folders.filter_map(|folder| remove_folder(folder).err()));
    if failures.is_empty() { Ok(()) } else { Err(Failure::failed(failures.join("\ntestyard: "))) }
}

fn target(arguments: &Arguments) -> Result<Target, Failure> {
    if arguments.agent {
        let folders = Folders { state: arguments.agent_state.clone(), run: arguments.agent_run.clone() };
        let config = machine::remembered(&folders).map_err(|error| {
            let path = folders.state.display();
            Failure::usage(format!(
                "no agent has run with {path} ({error}); --agent-state says where one has"
            ))
        })?;
        return Ok(Target { config, folders, state: arguments.state });
    }
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
        let config =
            HostConfig { instance, pretends: false, docker: DOCKER.into(), ..HostConfig::pretending() };
        let folders = Folders { state: STATE.into(), run: RUN.into() };
        return Ok(Target { config, folders, state: arguments.state });
    };
    if let Some(instance) =
        arguments.instance.as_ref().filter(|instance| **instance != settings.testbed.instance)
    {
        let configured = &settings.testbed.instance;
        return Err(Failure::usage(format!(
            "the configuration is of instance {configured}, not of {instance}"
        )));
    }
    let config = match settings.here() {
        Some(host) => translate::host_config(&settings, host),
        // Only others are hosts; what may be here was made when this machine was one.
        None => HostConfig {
            instance: settings.testbed.instance.clone(),
            pretends: false,
            docker: DOCKER.into(),
            ..HostConfig::pretending()
        },
    };
    let folders = Folders { state: settings.paths.state.clone(), run: settings.paths.run.clone() };
    Ok(Target { config, folders, state: arguments.state })
}

fn agree(target: &Target) -> Outcome {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("this removes every node of the testbed; --yes says that you mean it"));
    }
    let state = target.state.then(|| format!(", and the state in {}", target.folders.state.display()));
    let question = format!(
        "remove all nodes, interfaces and rules of instance {}{}? [y/N] ",
        target.config.instance,
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
    let Target { config, folders, .. } = target;
    let docker = docker_config(config, folders, Path::new("/nonexistent"), Vec::new());
    match DockerRuntime::new(docker).reset().await {
        Ok(nodes) => say!("{nodes} nodes removed"),
        Err(error) => failures.push(format!(
            "nodes are left: {error}; run it again once the Docker Engine answers: one that stays silent about a single \
             container must be restarted"
        )),
    }
    let mut fabric = fabric_config(config, folders);
    fabric.captures = fabric.captures.filter(|_| target.state);
    let fabric = LinuxFabric::new(fabric);
    let mut done = fabric.reset().await;
    if done.is_ok() {
        // A program that changes rules for a server outlives one that is killed, for a moment that nobody tells.
        tokio::time::sleep(LATE).await;
        done = fabric.reset().await;
    }
    match done {
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

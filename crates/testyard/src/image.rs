//! `testyard image`: root file systems become images of the engine.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use testyard_model::id::Instance;
use testyard_model::image::ImageName;
use testyard_runtime_docker::{DockerConfig, DockerRuntime};

use crate::config::DEFAULT_IMAGE;
use crate::exit::{Failure, Outcome};

/// `testyard image …`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the default image, a small Debian with an SSH server, by debootstrap
    #[command(after_help = "Example: testyard image build-default\n\
                            It takes about a minute, needs root and the machine's own apt sources.")]
    BuildDefault(BuildDefault),
    /// Make an image from a tar archive of a root file system
    #[command(after_help = "Example: testyard image import rootfs.tar testyard/debian:12")]
    Import(Import),
}

/// `testyard image build-default`
#[derive(Debug, Args)]
pub struct BuildDefault {
    /// The image's name
    #[arg(long, value_name = "IMAGE", default_value = DEFAULT_IMAGE)]
    name: ImageName,
    #[command(flatten)]
    engine: EngineArgument,
}

/// `testyard image import`
#[derive(Debug, Args)]
pub struct Import {
    /// The archive
    archive: PathBuf,
    /// The image's name
    #[arg(value_name = "IMAGE")]
    name: ImageName,
    /// What nodes run beside SSH: a Dockerfile's line, like CMD ["nginx"]
    #[arg(long = "change", value_name = "LINE")]
    changes: Vec<String>,
    #[command(flatten)]
    engine: EngineArgument,
}

#[derive(Debug, Args)]
struct EngineArgument {
    /// Docker Engine's socket
    #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock")]
    docker: PathBuf,
}

/// The one text that makes the default image; `./quickstart` runs it while the program is still being built. It
/// holds no data of any user.
const ROOTFS_SCRIPT: &str = include_str!("../../../scripts/default-image-rootfs");

/// Runs the command.
///
/// # Errors
/// If the archive cannot be made or read, or the engine does not take it.
pub fn run(command: &Command) -> Outcome {
    match command {
        Command::BuildDefault(BuildDefault { name, engine }) => {
            let folder = tempfile::tempdir().context("a folder for the root file system")?;
            let archive = folder.path().join("rootfs.tar");
            build_default(&archive)?;
            import(&archive, name, &[], &engine.docker)
        }
        Command::Import(Import { archive, name, changes, engine }) => {
            import(archive, name, &changes.iter().map(String::as_str).collect::<Vec<_>>(), &engine.docker)
        }
    }
}

fn build_default(archive: &Path) -> Outcome {
    remark!("making a root file system with debootstrap ...");
    let status = Process::new("bash")
        .args(["-c", ROOTFS_SCRIPT, "default-image-rootfs"])
        .arg(archive)
        .stdin(Stdio::null())
        .status()
        .context("bash cannot be started")?;
    if status.success() { Ok(()) } else { Err(Failure::failed("the default image cannot be made")) }
}

fn import(archive: &Path, name: &ImageName, changes: &[&str], socket: &Path) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
    let image = runtime.block_on(async {
        let file = tokio::fs::File::open(archive).await.with_context(|| archive.display().to_string())?;
        let instance: Instance = "import".parse().expect("an instance name");
        let mut config = DockerConfig::new(instance, "/nonexistent", "/nonexistent");
        config.socket = socket.to_owned();
        let engine = DockerRuntime::connect(config).await?;
        engine.import_rootfs(name, file, changes).await.map_err(anyhow::Error::from)
    })?;
    say!("{name} {}", image.id);
    Ok(())
}

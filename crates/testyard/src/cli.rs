//! The command line: what there is, and which module does it.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::exit::Outcome;
use crate::folder::{self, Folder};
use crate::{agent, am, backup, credential, doctor, image, init, local, print, reset, serve, topology, wire};

/// A federated network testbed: from a topology to SSH.
#[derive(Debug, Parser)]
#[command(
    name = "testyard",
    version,
    disable_help_subcommand = true,
    after_help = "Begin with `testyard init`, `testyard doctor` and `testyard serve`; then `testyard up FILE`.\n\
                  Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration, 3 testbed out of reach,\n\
                  4 a sliver failed while waiting, 5 time over while waiting."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the testbed until SIGTERM; SIGHUP reads the configuration again
    Serve(serve::Arguments),
    /// Make this machine a host of a testbed that is elsewhere, until SIGTERM
    Agent(agent::Arguments),
    /// Write a configuration, an authority with its certificates, and a first user
    Init(init::Arguments),
    /// Issue and check SFA credentials
    #[command(subcommand)]
    Credential(credential::Command),
    #[command(flatten)]
    Local(local::Command),
    /// Use a testbed through the GENI AM API v3, this one or any other
    #[command(subcommand)]
    Am(am::Command),
    /// Make and import images
    #[command(subcommand)]
    Image(image::Command),
    /// Say what a topology asks for, with every choice made, before anything runs
    Plan(topology::Arguments),
    /// Write a topology in another language
    Convert(topology::Convert),
    /// Draw a topology, for Graphviz or Mermaid
    Graph(topology::Graph),
    /// Say what this host lacks or limits, with the remedy
    Doctor(DoctorArguments),
    /// Be the wire of a slice: started by `serve` where links are impaired, never by people
    #[command(hide = true, disable_help_flag = true)]
    Wire {
        /// For the wire itself
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Put what a testbed cannot be made again without into one file, while it runs
    Backup(backup::Arguments),
    /// Have a testbed be what it was when a backup was made
    Restore(backup::Restore),
    /// Remove everything that Testyard made on this host
    Reset(reset::Arguments),
    /// Print a completion script for a shell
    #[command(after_help = "Example: testyard completions bash > /etc/bash_completion.d/testyard")]
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// Where Testyard's folder is.
#[derive(Clone, Debug, Args)]
pub struct FolderArgument {
    /// Testyard's folder: configuration, authority, users
    #[arg(long, value_name = "DIR", env = "TESTYARD_DIR", hide_env_values = true, default_value = folder::DEFAULT)]
    dir: PathBuf,
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgument {
    #[command(flatten)]
    folder: FolderArgument,
    /// The configuration, if it is not testyard.toml in that folder
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DoctorArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl FolderArgument {
    /// The folder.
    #[must_use]
    pub fn folder(&self) -> Folder {
        Folder::new(&self.dir)
    }
}

impl ConfigArgument {
    /// The configuration of a folder.
    #[must_use]
    pub fn of(folder: FolderArgument) -> Self {
        Self { folder, config: None }
    }

    /// Testyard's folder.
    #[must_use]
    pub fn folder(&self) -> Folder {
        self.folder.folder()
    }

    /// The path of the configuration.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.folder.folder().configuration())
    }

    /// Whether it was asked for by name.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.config.is_some()
    }
}

/// Runs the command.
///
/// # Errors
/// [`crate::exit::Failure`] with what to print and the exit code.
pub fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Agent(arguments) => agent::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Credential(command) => credential::run(&command),
        Command::Local(command) => local::run(&command),
        Command::Am(command) => am::run(&command),
        Command::Image(command) => image::run(&command),
        Command::Plan(arguments) => topology::run(&arguments),
        Command::Convert(arguments) => topology::convert(&arguments),
        Command::Graph(arguments) => topology::graph(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments.config.path(), arguments.json),
        Command::Wire { arguments } => wire::run(arguments),
        Command::Backup(arguments) => backup::run(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Reset(arguments) => reset::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "testyard", &mut script);
            print::text(&script);
            Ok(())
        }
    }
}

//! The testbed of this machine, over its local socket: no certificates. A verb a file.
//!
//! ```text
//!  up ─► topology (read here, as the user) ─┐
//!  link, restart, renew, down, …            ├─► web::Client ─► local socket ─► serve
//!  ls, status, events, wait, graph          │
//!  ssh, exec, cp, logs ─► where to log in ──┘   then OpenSSH's own programs
//! ```

mod act;
mod audit;
mod capture;
mod copy;
mod down;
mod ear;
mod events;
mod exec;
mod host;
mod identity;
mod inventory;
mod link;
mod list;
mod login;
mod logs;
mod session;
mod show;
mod slice;
mod status;
mod tally;
mod up;
mod verify;
mod wait;

use anyhow::Context as _;
use clap::Subcommand;

pub use session::Connection;
pub(crate) use session::Session;

use crate::exit::Outcome;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Have a slice run what a topology says: made, changed while it runs, or both
    Up(up::Arguments),
    /// Give everything of a slice back
    Down(down::Arguments),
    /// The slices
    Ls(list::Arguments),
    /// How the nodes and links of a slice are
    Status(status::Arguments),
    /// Log in to a node, or run a command in it with ssh's own rules
    Ssh(login::Ssh),
    /// Run a command in a node, or in all of a slice
    Exec(exec::Arguments),
    /// Copy files to and from nodes
    Cp(copy::Arguments),
    /// What the commands of a node's topology have printed
    Logs(logs::Arguments),
    /// Restart nodes; their disks stay
    Restart(act::Arguments),
    /// Stop nodes; their disks stay
    Stop(act::Arguments),
    /// Start nodes that are stopped
    Start(act::Arguments),
    /// Give nodes a fresh disk
    Reload(act::Arguments),
    /// Move the end of a slice: a time, or from now like +2h or +7d
    Renew(slice::Renew),
    /// Have a slice's schedule begin anew
    Replay(slice::Replay),
    /// Change a link while it runs
    #[command(subcommand)]
    Link(link::Command),
    /// Capture packets of a link, for Wireshark
    Capture(capture::Arguments),
    /// Measure what links really do, against what was asked
    Verify(verify::Arguments),
    /// Wait until a slice is as it should be
    Wait(wait::Arguments),
    /// What happens, as it happens
    Events(events::Arguments),
    /// Print a configuration for ssh(1) that knows every node of a slice
    SshConfig(login::SshConfig),
    /// Print an inventory for Ansible
    Inventory(inventory::Arguments),
    /// The machines that nodes run on, for operators
    #[command(subcommand)]
    Host(host::Command),
    /// Any slice of the testbed, for operators
    #[command(subcommand)]
    Slice(slice::Command),
    /// Who did what, for operators
    Audit(audit::Arguments),
}

/// Runs the command.
///
/// # Errors
/// With the exit codes of [`crate::exit`].
pub fn run(command: &Command) -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
    runtime.block_on(async {
        match command {
            Command::Up(arguments) => up::run(arguments).await,
            Command::Down(arguments) => down::run(arguments).await,
            Command::Ls(arguments) => list::run(arguments).await,
            Command::Status(arguments) => status::run(arguments).await,
            Command::Ssh(arguments) => login::ssh(arguments).await,
            Command::Exec(arguments) => exec::run(arguments).await,
            Command::Cp(arguments) => copy::run(arguments).await,
            Command::Logs(arguments) => logs::run(arguments).await,
            Command::Restart(arguments) => act::run("restart", arguments).await,
            Command::Stop(arguments) => act::run("stop", arguments).await,
            Command::Start(arguments) => act::run("start", arguments).await,
            Command::Reload(arguments) => act::run("reload", arguments).await,
            Command::Renew(arguments) => slice::renew(arguments).await,
            Command::Replay(arguments) => slice::replay(arguments).await,
            Command::Link(command) => link::run(command).await,
            Command::Capture(arguments) => capture::run(arguments).await,
            Command::Verify(arguments) => verify::run(arguments).await,
            Command::Wait(arguments) => wait::run(arguments).await,
            Command::Events(arguments) => events::run(arguments).await,
            Command::SshConfig(arguments) => login::ssh_config(arguments).await,
            Command::Inventory(arguments) => inventory::run(arguments).await,
            Command::Host(command) => host::run(command).await,
            Command::Slice(command) => slice::run(command).await,
            Command::Audit(arguments) => audit::run(arguments).await,
        }
    })
}

//! Logging in: `ssh(1)` with what the manifest says, the node's own host keys included, so that nobody in between can
//! pretend to be a node and nobody has to say yes to a fingerprint.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::Args;
use sha2::{Digest as _, Sha256};

use super::Connection;
use super::manifest::{self, Login};
use super::session::Session;
use crate::exit::{Failure, Outcome};
use crate::folder::{self, Readers};

/// `ssh`
#[derive(Debug, Args)]
pub struct Ssh {
    /// The slice: its URN, or its name at the user's authority
    slice: String,
    /// The node, by its client_id
    node: String,
    /// The command to run in it, behind --
    #[arg(last = true)]
    command: Vec<String>,
    /// The private SSH key to use [default: that of the folder, else ssh's own choice]
    #[arg(long, short, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// `ssh-config`
#[derive(Debug, Args)]
#[command(
    after_help = "Example: testyard am ssh-config demo > demo.ssh; ssh -F demo.ssh left; scp -F demo.ssh f left:"
)]
pub struct SshConfig {
    /// The slice: its URN, or its name at the user's authority
    slice: String,
    /// The private SSH key to use [default: that of the folder, else ssh's own choice]
    #[arg(long, short, value_name = "FILE")]
    identity: Option<PathBuf>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// How ssh(1) is to reach the nodes of one slice.
struct Ways {
    logins: Vec<Login>,
    known_hosts: PathBuf,
    identity: Option<PathBuf>,
}

pub(super) async fn ssh(arguments: &Ssh) -> Outcome {
    let ways = ways(&arguments.connection, &arguments.slice, arguments.identity.as_deref()).await?;
    let Some(login) = ways.logins.iter().find(|login| login.node == arguments.node) else {
        let known: Vec<&str> = ways.logins.iter().map(|login| login.node.as_str()).collect();
        let near = testyard_model::suggest::closest(&arguments.node, known.iter().copied());
        let hint = near.map_or_else(
            || format!("there are: {}", known.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        return Err(Failure::usage(format!("there is no login to a node {:?}; {hint}", arguments.node)));
    };
    let mut process = Process::new("ssh");
    for (key, value) in ways.options(login) {
        process.arg("-o").arg(format!("{key}={value}"));
    }
    process
        .args(["-p", &login.port.to_string(), "-l", &login.username, "--", &login.hostname])
        .args(&arguments.command);
    // Only an error comes back.
    let error = process.exec();
    Err(Failure::failed(format!("ssh cannot be started: {error}; apt-get install openssh-client")))
}

pub(super) async fn ssh_config(arguments: &SshConfig) -> Outcome {
    let ways = ways(&arguments.connection, &arguments.slice, arguments.identity.as_deref()).await?;
    let mut text = String::new();
    for login in &ways.logins {
        // A name that is no single word cannot be a pattern of ssh's; such nodes are reached by `testyard am ssh`.
        if !login.node.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            let _ = writeln!(text, "# a node whose name ssh cannot take is left out");
            continue;
        }
        let _ = writeln!(text, "Host {}", login.node);
        let _ =
            writeln!(text, "  HostName {}\n  Port {}\n  User {}", login.hostname, login.port, login.username);
        for (key, value) in ways.options(login) {
            let _ = writeln!(text, "  {key} {value}");
        }
    }
    crate::print::text(&text);
    Ok(())
}

impl Ways {
    fn options(&self, login: &Login) -> Vec<(&'static str, String)> {
        let mut options = Vec::new();
        if !login.host_keys.is_empty() {
            options.push(("UserKnownHostsFile", quoted(&self.known_hosts)));
            options.push(("GlobalKnownHostsFile", "/dev/null".to_owned()));
            options.push(("StrictHostKeyChecking", "yes".to_owned()));
        }
        if let Some(identity) = &self.identity {
            options.push(("IdentityFile", quoted(identity)));
            options.push(("IdentitiesOnly", "yes".to_owned()));
        }
        options.push(("LogLevel", "ERROR".to_owned()));
        options
    }
}

/// A path as ssh's configuration reads it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

async fn ways(connection: &Connection, slice: &str, identity: Option<&Path>) -> Result<Ways, Failure> {
    let session = Session::open(connection)?;
    let slice = session.slice(slice)?;
    let credentials = session.slice_credentials(&slice)?;
    let options = session.options();
    let described = session.client.describe(&[slice.to_string()], &credentials, &options).await?;
    let all = manifest::logins(described.rspec.as_deref().unwrap_or_default())?;
    if described.slivers.is_empty() {
        return Err(Failure::failed(format!(
            "{slice} has no slivers here; `testyard am up` makes some, `testyard am status` shows how a slice is"
        )));
    }
    let logins = manifest::logins_of_user(&all, &session.user()?.to_string());
    if logins.is_empty() {
        return Err(Failure::failed(format!(
            "no node of {slice} can be logged in to yet; `testyard am status {}` shows how they are",
            slice.name()
        )));
    }
    let known_hosts = known_hosts_file(&session.url, &slice.to_string())?;
    folder::replace(&known_hosts, known_hosts_text(&logins).as_bytes(), Readers::Owner)
        .map_err(|error| Failure::failed(format!("{}: {error}", known_hosts.display())))?;
    let identity = identity.map(Path::to_owned).or_else(|| session.ssh_key());
    Ok(Ways { logins, known_hosts, identity })
}

/// A file of one's own per aggregate and slice: a slice can have nodes at several aggregates.
fn known_hosts_file(url: &str, slice: &str) -> Result<PathBuf, Failure> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let cache = cache.ok_or_else(|| Failure::usage("neither HOME nor XDG_CACHE_HOME is set"))?;
    Ok(cache.join("testyard").join(known_hosts_name(url, slice)))
}

/// The slice's name for people; the hash tells apart what is written alike without its punctuation.
fn known_hosts_name(url: &str, slice: &str) -> String {
    let mut name: String = slice.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    name.push('-');
    for byte in Sha256::digest(format!("{url}\n{slice}")).iter().take(8) {
        let _ = write!(name, "{byte:02x}");
    }
    name + ".known_hosts"
}

fn known_hosts_text(logins: &[Login]) -> String {
    let mut text = String::new();
    for login in logins {
        let host = if login.port == 22 {
            login.hostname.clone()
        } else {
            format!("[{}]:{}", login.hostname, login.port)
        };
        for key in &login.host_keys {
            let _ = writeln!(text, "{host} {key}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hosts_of_each_aggregate_and_slice() {
        let slice = "urn:publicid:IDN+a.example.net+slice+demo";
        let names = [
            known_hosts_name("https://a.example.net:8001/", slice),
            known_hosts_name("https://b.example.net:8001/", slice),
            known_hosts_name("https://a.example.net:8001/", "urn:publicid:IDN+a-example.net+slice+demo"),
        ];
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
        for name in &names {
            assert!(
                name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
                "{name}"
            );
        }
    }

    #[test]
    fn host_keys_belong_to_name_and_port() {
        let login = |port| Login {
            node: "left".to_owned(),
            hostname: "am.example.net".to_owned(),
            port,
            username: "ann".to_owned(),
            user: None,
            host_keys: vec!["ssh-ed25519 AAAA".to_owned()],
        };
        let text = known_hosts_text(&[login(12000), login(22)]);
        assert_eq!(text, "[am.example.net]:12000 ssh-ed25519 AAAA\nam.example.net ssh-ed25519 AAAA\n");
    }
}

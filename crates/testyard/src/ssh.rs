//! Ways into nodes: OpenSSH's programs, told everything that they need, the nodes' own host keys included, so that nobody in
//! between can pretend to be a node and nobody has to say yes to a fingerprint.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use testyard_model::suggest::closest;

use crate::exit::Failure;
use crate::folder::{self, Readers};

/// A way into a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Login {
    /// The user's name of the node.
    pub(crate) node: String,
    /// Where SSH answers.
    pub(crate) hostname: String,
    /// On which port.
    pub(crate) port: u16,
    /// As whom.
    pub(crate) username: String,
    /// Whose account it is, if that is known.
    pub(crate) user: Option<String>,
    /// The node's SSH host keys, if they are known.
    pub(crate) host_keys: Vec<String>,
}

/// How OpenSSH's programs reach the nodes of one slice.
pub(crate) struct Ways {
    pub(crate) logins: Vec<Login>,
    known_hosts: PathBuf,
    identity: Option<PathBuf>,
}

impl Login {
    /// The command that logs in, for people.
    pub(crate) fn command(&self) -> String {
        format!("ssh -p {} {}@{}", self.port, self.username, self.hostname)
    }

    /// Whether ssh's configuration can have the node's name as a pattern.
    fn is_plain(&self) -> bool {
        self.node.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    }
}

impl Ways {
    /// Ways to these nodes. Their keys are written to a file of the user's, one for each testbed and slice.
    ///
    /// # Errors
    /// If that file cannot be written.
    pub(crate) fn new(
        logins: Vec<Login>,
        testbed: &str,
        slice: &str,
        identity: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let known_hosts = cache()?.join(file_name(testbed, slice) + ".known_hosts");
        write(&known_hosts, &known_hosts_text(&logins))?;
        Ok(Self { logins, known_hosts, identity })
    }

    /// The way to a node.
    ///
    /// # Errors
    /// If there is none, with what was probably meant.
    pub(crate) fn login(&self, node: &str) -> Result<&Login, Failure> {
        if let Some(login) = self.logins.iter().find(|login| login.node == node) {
            return Ok(login);
        }
        let known: Vec<&str> = self.logins.iter().map(|login| login.node.as_str()).collect();
        let hint = closest(node, known.iter().copied()).map_or_else(
            || format!("there are: {}", known.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        Err(Failure::usage(format!("there is no login to a node {node:?}; {hint}")))
    }

    /// `ssh` to a node; arguments may follow.
    pub(crate) fn ssh(&self, login: &Login, options: &[&str]) -> Process {
        let mut process = Process::new("ssh");
        for (key, value) in self.options(login) {
            process.arg("-o").arg(format!("{key}={value}"));
        }
        process.args(options).args([
            "-p",
            &login.port.to_string(),
            "-l",
            &login.username,
            "--",
            &login.hostname,
        ]);
        process
    }

    /// All ways as ssh's configuration. Nodes whose names ssh cannot take are left out.
    pub(crate) fn configuration(&self) -> String {
        let mut text = String::new();
        for login in &self.logins {
            if !login.is_plain() {
                let _ = writeln!(text, "# a node whose name ssh cannot take is left out");
                continue;
            }
            let _ = writeln!(text, "Host {}", login.node);
            let (host, port, user) = (&login.hostname, login.port, &login.username);
            let _ = writeln!(text, "  HostName {host}\n  Port {port}\n  User {user}");
            for (key, value) in self.options(login) {
                let _ = writeln!(text, "  {key} {value}");
            }
        }
        text
    }

    /// That configuration as a file beside the known hosts.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn configuration_file(&self) -> Result<PathBuf, Failure> {
        let path = self.known_hosts.with_extension("ssh-config");
        write(&path, &self.configuration())?;
        Ok(path)
    }

    /// The private key, and the file of known hosts.
    pub(crate) fn files(&self) -> (Option<&Path>, &Path) {
        (self.identity.as_deref(), &self.known_hosts)
    }

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

/// What to say where a program of OpenSSH is not there.
pub(crate) fn missing(program: &str, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{program} cannot be started: {error}; apt-get install openssh-client"))
}

/// The user's folder for what can be made again.
fn cache() -> Result<PathBuf, Failure> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let cache = cache.ok_or_else(|| Failure::usage("neither HOME nor XDG_CACHE_HOME is set"))?;
    Ok(cache.join("testyard"))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    folder::replace(path, text.as_bytes(), Readers::Owner)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

/// A path as ssh's configuration reads it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// A file of one's own per testbed and slice: a slice can have nodes at several testbeds. The slice's name is for people;
/// the hash tells apart what is written alike without its punctuation.
fn file_name(testbed: &str, slice: &str) -> String {
    let mut name: String = slice.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    name.push('-');
    for byte in Sha256::digest(format!("{testbed}\n{slice}")).iter().take(8) {
        let _ = write!(name, "{byte:02x}");
    }
    name
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
    fn files_of_each_testbed_and_slice() {
        let slice = "urn:publicid:IDN+a.example.net+slice+demo";
        let names = [
            file_name("https://a.example.net:8001/", slice),
            file_name("https://b.example.net:8001/", slice),
            file_name("https://a.example.net:8001/", "urn:publicid:IDN+a-example.net+slice+demo"),
        ];
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
        for name in &names {
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{name}");
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

//! Whom a command calls, as whom, and which node it means.

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;
use testyard_model::suggest::closest;
use testyard_web::api::{Node, Slice};
use testyard_web::{Client, ClientError, SOCKET};

use super::identity::Identity;
use crate::cli::ConfigArgument;
use crate::config;
use crate::exit::{Failure, Kind};
use crate::ssh::{Login, Ways};

/// Where a testbed runs unless its configuration says otherwise.
const RUN: &str = "/run/testyard";

/// Which testbed, as whom.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// The testbed's local socket [default: that of the configuration]
    #[arg(
        long,
        value_name = "PATH",
        env = "TESTYARD_SOCKET",
        hide_env_values = true,
        help_heading = "Connection"
    )]
    socket: Option<PathBuf>,
    /// Act for this user; for operators [default: who called sudo, else the first user of Testyard's folder]
    #[arg(long = "as", value_name = "USER", help_heading = "Connection")]
    act_as: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigArgument,
}

impl Connection {
    /// Of the testbed of a configuration, as whoever calls.
    pub(crate) const fn of(config: ConfigArgument) -> Self {
        Self { socket: None, act_as: None, config }
    }
}

/// A testbed that is called, and who calls.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(super) identity: Identity,
}

/// A node of a slice.
pub(super) struct Place {
    pub(super) slice: Slice,
    pub(super) node: String,
}

impl Session {
    pub(crate) fn open(connection: &Connection) -> Self {
        let folder = connection.config.folder();
        let act_as = connection.act_as.clone().or_else(|| {
            let root = nix::unistd::Uid::effective().is_root();
            let by_sudo =
                || std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty() && name != "root");
            if root { by_sudo().or_else(|| folder.default_user()) } else { None }
        });
        let socket = connection.socket.clone().or_else(|| Some(std::env::var_os("TESTYARD_SOCKET")?.into()));
        let socket = socket.unwrap_or_else(|| {
            let configured = config::load(&connection.config.path()).map(|settings| settings.paths.run);
            configured.unwrap_or_else(|_| RUN.into()).join(SOCKET)
        });
        let identity = Identity::new(&folder, act_as.as_deref());
        Self { client: Client::new(socket, act_as), identity }
    }

    /// The slice that is named, or the only one that there is.
    pub(super) async fn slice(&self, name: Option<&str>) -> Result<Slice, Failure> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.only_slice().await?,
        };
        Ok(self.client.slice(&name).await?)
    }

    async fn only_slice(&self) -> Result<String, Failure> {
        let mut slices = self.client.slices().await?;
        match slices.len() {
            1 => Ok(slices.remove(0).urn),
            0 => Err(Failure::failed("you have no slice here; `testyard up FILE` makes one")),
            _ => {
                let names: Vec<&str> = slices.iter().map(|slice| slice.name.as_str()).collect();
                Err(Failure::usage(format!("which slice? You have {}", names.join(", "))))
            }
        }
    }

    /// A node by its name, with the slice's name behind it where it is one of several: `NODE`, `NODE.SLICE`, as DETER
    /// writes it also `NODE.SLICE.PROJECT`.
    pub(super) async fn place(&self, text: &str, slice: Option<&str>) -> Result<Place, Failure> {
        if let Some(slice) = slice {
            return place(self.client.slice(slice).await?, text);
        }
        let briefs = self.client.slices().await?;
        let names: Vec<String> = briefs.iter().map(|slice| slice.name.clone()).collect();
        if let Some((node, slice)) = split(text, &names) {
            let urn = briefs.iter().find(|brief| brief.name == slice).map_or(slice, |brief| &brief.urn);
            return place(self.client.slice(urn).await?, node);
        }
        let mut slices = Vec::with_capacity(briefs.len());
        for brief in &briefs {
            match self.client.slice(&brief.urn).await {
                Ok(slice) => slices.push(slice),
                // It has ended meanwhile, or is shut down: it is not the one that is meant.
                Err(ClientError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let has = |slice: &&mut Slice| slice.nodes.iter().any(|node| node.name == text);
        let mut with: Vec<Slice> = slices.iter_mut().filter(has).map(|slice| slice.clone()).collect();
        match (with.len(), slices.len()) {
            (1, _) => Ok(Place { slice: with.remove(0), node: text.to_owned() }),
            (0, 0) => Err(Failure::failed("you have no slice here; `testyard up FILE` makes one")),
            (0, 1) => place(slices.remove(0), text),
            (0, _) => {
                Err(Failure::usage(format!("none of your slices has a node {text:?}: {}", names.join(", "))))
            }
            _ => {
                let full: Vec<String> = with.iter().map(|slice| format!("{text}.{}", slice.name)).collect();
                Err(Failure::usage(format!("several slices have a node {text:?}; say {}", full.join(" or "))))
            }
        }
    }

    /// Ways into the nodes of a slice.
    pub(super) async fn ways(&self, slice: &Slice, identity: Option<PathBuf>) -> Result<Ways, Failure> {
        let you = self.client.testbed().await?.you;
        let logins: Vec<Login> = slice.nodes.iter().filter_map(|node| login(node, &you)).collect();
        if logins.is_empty() {
            let name = &slice.name;
            let without = slice.nodes.iter().any(|node| node.ssh.is_some());
            return Err(Failure::failed(if without {
                format!(
                    "{you} has no account on the nodes of {name}; `testyard up FILE --slice {name}` makes one"
                )
            } else {
                format!(
                    "no node of {name} can be logged in to yet; `testyard status {name}` shows how they are"
                )
            }));
        }
        let testbed = self.client.socket().display().to_string();
        Ways::new(logins, &testbed, &slice.urn, identity.or_else(|| self.identity.private()))
    }
}

/// `NODE.SLICE` and what may be behind it, if there is such a slice. Names of both may have dots.
fn split<'t>(text: &'t str, slices: &'t [String]) -> Option<(&'t str, &'t str)> {
    let dots = text.match_indices('.').map(|(at, _)| at);
    dots.filter_map(|at| {
        let (node, rest) = (&text[..at], &text[at + 1..]);
        let named = |slice: &&String| {
            rest.strip_prefix(slice.as_str()).is_some_and(|more| more.is_empty() || more.starts_with('.'))
        };
        Some((node, slices.iter().find(named)?.as_str()))
    })
    .next()
}

fn place(slice: Slice, node: &str) -> Result<Place, Failure> {
    if slice.nodes.iter().any(|known| known.name == node) {
        return Ok(Place { slice, node: node.to_owned() });
    }
    let known: Vec<&str> = slice.nodes.iter().map(|node| node.name.as_str()).collect();
    let hint = closest(node, known.iter().copied())
        .map_or_else(|| format!("there are: {}", known.join(", ")), |near| format!("did you mean {near}?"));
    Err(Failure::usage(format!("slice {} has no node {node:?}; {hint}", slice.name)))
}

/// The way of a user into a node, if it can be logged in to.
pub(super) fn login(node: &Node, user: &str) -> Option<Login> {
    let ssh = node.ssh.as_ref()?;
    Some(Login {
        node: node.name.clone(),
        hostname: ssh.host.clone(),
        port: ssh.port,
        username: ssh.logins.get(user)?.clone(),
        user: Some(user.to_owned()),
        host_keys: ssh.host_keys.clone(),
    })
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (kind, remedy) = match &error {
            ClientError::Connect { source, .. } => match source.kind() {
                ErrorKind::PermissionDenied => {
                    (Kind::NoListener, "; be root, or in the group testyard (`adduser NAME testyard`)")
                }
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    (Kind::NoListener, "; is `testyard serve` running?")
                }
                _ => (Kind::NoListener, ""),
            },
            ClientError::Broken(_) => (Kind::Unreachable, ""),
            ClientError::Refused(_) => (Kind::Failed, ""),
        };
        Self { kind, message: format!("{error}{remedy}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_slices() {
        let slices = ["four".to_owned(), "a.b".to_owned()];
        assert_eq!(split("web.four", &slices), Some(("web", "four")));
        assert_eq!(split("web.four.project", &slices), Some(("web", "four")));
        assert_eq!(split("web.1.four", &slices), Some(("web.1", "four")));
        assert_eq!(split("web.a.b", &slices), Some(("web", "a.b")));
        assert_eq!(split("web", &slices), None);
        assert_eq!(split("web.fourteen", &slices), None);
    }
}

//! Images on a host.

use serde::{Deserialize, Serialize};
use testyard_model::image::ImageName;
use testyard_model::sliver_type::Port;

/// An image that is on the host, ready to boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name that was asked for.
    pub name: ImageName,
    /// The engine's id of exactly this content (`sha256:…`); nodes are made from this, never from the name.
    pub id: String,
    /// The registry's digest, where the image came from one.
    pub digest: Option<String>,
    /// What the image says about itself.
    pub config: ImageConfig,
}

/// What an image says about itself (OCI image configuration).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// ENV, `NAME=value`.
    pub env: Vec<String>,
    /// WORKDIR, empty if none.
    pub workdir: String,
    /// USER, empty if none.
    pub user: String,
    /// STOPSIGNAL, empty if none.
    pub stop_signal: String,
    /// EXPOSE.
    pub exposed: Vec<Port>,
}

impl ImageConfig {
    /// ENTRYPOINT and CMD put together: the image's own program.
    #[must_use]
    pub fn program(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }

    /// The program, if it is an init that works only as process 1. The guest is process 1 in every node, so such an
    /// image cannot run its program.
    #[must_use]
    pub fn init(&self) -> Option<&str> {
        const INITS: &[&str] =
            &["init", "systemd", "openrc-init", "runit-init", "s6-svscan", "s6-overlay-suexec"];
        let program = self.entrypoint.first().or(self.cmd.first())?;
        let name = program.rsplit('/').next().unwrap_or(program);
        INITS.contains(&name).then_some(program.as_str())
    }
}

/// Whether an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// If it is not on the host.
    Missing,
    /// Never: what is not on the host is an error.
    Never,
}

/// How far a pull has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all, as far as known.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inits() {
        let with = |entrypoint: &[&str], cmd: &[&str]| ImageConfig {
            entrypoint: entrypoint.iter().map(ToString::to_string).collect(),
            cmd: cmd.iter().map(ToString::to_string).collect(),
            ..ImageConfig::default()
        };
        assert_eq!(with(&[], &["/sbin/init"]).init(), Some("/sbin/init"));
        assert_eq!(with(&["/lib/systemd/systemd"], &[]).init(), Some("/lib/systemd/systemd"));
        assert_eq!(with(&["/init"], &["sh"]).init(), Some("/init"));
        assert_eq!(with(&["/entry.sh"], &["init"]).init(), None);
        assert_eq!(with(&[], &[]).init(), None);
    }
}

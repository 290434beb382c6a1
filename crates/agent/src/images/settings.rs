//! What users may bring as images, and what making them may take.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use testyard_runtime::MakeLimits;

/// What users may bring as images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSettings {
    /// Whether images are made of URLs at all.
    pub urls: bool,
    /// Networks beside the internet that URLs may lead to.
    pub allowed: Vec<IpNet>,
    /// The most bytes of a file.
    pub download: u64,
    /// The most bytes that an archive, or the layers of an image, may unpack to.
    pub unpacked: u64,
    /// How long a download may take, and then again a build, in seconds.
    pub seconds: u64,
    /// Memory of what a build runs, in bytes.
    pub memory: u64,
    /// Processors that it gets, in thousandths.
    pub millicores: u32,
    /// Processes and threads that it runs at a time.
    pub pids: u32,
    /// Bytes that a build may write.
    pub disk: u64,
    /// How many are fetched or made at the same time on a host.
    pub at_once: u32,
    /// How many different ones a slice may have on a host.
    pub per_slice: u32,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            urls: true,
            allowed: Vec::new(),
            download: 2 << 30,
            unpacked: 8 << 30,
            seconds: 30 * 60,
            memory: 1 << 30,
            millicores: 1000,
            pids: 512,
            disk: 8 << 30,
            at_once: 2,
            per_slice: 10,
        }
    }
}

impl ImageSettings {
    pub(crate) const fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) const fn make(&self) -> MakeLimits {
        MakeLimits {
            time: self.time(),
            memory: self.memory,
            millicores: self.millicores,
            pids: self.pids,
            disk: self.disk,
        }
    }
}

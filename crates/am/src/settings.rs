//! What this front door is told by the configuration.

use std::collections::BTreeMap;

use testyard_formats::rspec;
use testyard_model::urn::Urn;

/// The testbed as it presents itself.
#[derive(Clone, Debug, PartialEq)]
pub struct AmSettings {
    /// The testbed's URN: `urn:publicid:IDN+<authority>+authority+am`.
    pub urn: Urn,
    /// The short name in the style of SFA: `testbed.am`.
    pub hrn: String,
    /// Where clients reach this server. They go where this says, so it has to be a name that they can resolve.
    pub public_url: String,
    /// The version of the software.
    pub version: String,
    /// Further texts of GetVersion: `f4f_describe_testbed`, `f4f_testbed_homepage`, `f4f_testbed_picture`, …
    pub extras: BTreeMap<String, String>,
    /// How requests are read.
    pub requests: rspec::Context,
}

impl AmSettings {
    /// A testbed without extras.
    #[must_use]
    pub fn new(urn: Urn, public_url: impl Into<String>) -> Self {
        Self {
            hrn: format!("{}.{}", urn.authority().as_str().replace(':', "."), urn.name()),
            requests: rspec::Context::new(urn.clone()),
            urn,
            public_url: public_url.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extras: BTreeMap::new(),
        }
    }
}

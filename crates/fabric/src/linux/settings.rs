//! Kernel settings. `/proc/sys/net` shows the network namespace of the thread that looks.

use std::fs;
use std::io;

use crate::FabricError;

const ROOT: &str = "/proc/sys/net";

/// A setting that must have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Below `/proc/sys/net`.
    pub(crate) path: String,
    pub(crate) value: &'static str,
    /// Only where it has this value now.
    pub(crate) instead_of: Option<&'static str>,
}

impl Setting {
    fn new(path: impl Into<String>, value: &'static str) -> Self {
        Self { path: path.into(), value, instead_of: None }
    }
}

/// What the host must have, in this order.
pub(crate) fn host(ipv6: bool, ipv6_proxy: bool, uplink6: Option<&str>) -> Vec<Setting> {
    let mut all = vec![Setting::new("ipv4/ip_forward", "1")];
    if !ipv6 {
        return all;
    }
    if let Some(uplink) = uplink6 {
        // A host that forwards stops listening to routers, and would lose its own default route, unless told so.
        all.push(Setting { instead_of: Some("1"), ..Setting::new(format!("ipv6/conf/{uplink}/accept_ra"), "2") });
        if ipv6_proxy {
            all.push(Setting::new(format!("ipv6/conf/{uplink}/proxy_ndp"), "1"));
        }
    }
    all.push(Setting::new("ipv6/conf/all/forwarding", "1"));
    all
}

/// What the host's half of a control interface must have.
pub(crate) fn host_half(link: &str, ipv6: bool) -> Vec<Setting> {
    let v4 = |name: &str, value| Setting::new(format!("ipv4/conf/{link}/{name}"), value);
    let v6 = |name: &str, value| Setting::new(format!("ipv6/conf/{link}/{name}"), value);
    // route_localnet: forwarded ports answer on 127.0.0.1 too; rules keep nodes from the host's loopback.
    // rp_filter: forged sources stop here also while somebody has flushed the rules.
    let mut all = vec![v4("route_localnet", "1"), v4("rp_filter", "1"), v4("send_redirects", "0"), v4("accept_redirects", "0")];
    if ipv6 {
        all.extend([v6("disable_ipv6", "0"), v6("accept_ra", "0"), v6("accept_redirects", "0"), v6("forwarding", "1")]);
    }
    all
}

/// IPv6 in a node, which engines switch off where they give no network: before the interface is there.
pub(crate) fn node() -> Vec<Setting> {
    ["all", "default", "lo"].map(|link| Setting::new(format!("ipv6/conf/{link}/disable_ipv6"), "0")).into()
}

/// The node's half.
pub(crate) fn node_half(link: &str) -> Vec<Setting> {
    [("disable_ipv6", "0"), ("accept_ra", "0"), ("accept_dad", "0")]
        .map(|(name, value)| Setting::new(format!("ipv6/conf/{link}/{name}"), value))
        .into()
}

/// Makes settings so; returns those that were not.
pub(crate) fn enforce(settings: &[Setting]) -> Result<Vec<String>, FabricError> {
    let mut changed = Vec::new();
    for setting in settings {
        let failed = |error: io::Error| FabricError::Kernel {
            action: format!("setting net/{} to {}", setting.path, setting.value),
            detail: error.to_string(),
        };
        let path = format!("{ROOT}/{}", setting.path);
        let now = fs::read_to_string(&path).map_err(failed)?;
        let right = match setting.instead_of {
            Some(wrong) => now.trim() != wrong,
            None => now.trim() == setting.value,
        };
        if !right {
            fs::write(&path, setting.value).map_err(failed)?;
            changed.push(format!("net/{}", setting.path));
        }
    }
    Ok(changed)
}

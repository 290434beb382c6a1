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
        all.push(Setting {
            instead_of: Some("1"),
            ..Setting::new(format!("ipv6/conf/{uplink}/accept_ra"), "2")
        });
        if ipv6_proxy {
            all.push(Setting::new(format!("ipv6/conf/{uplink}/proxy_ndp"), "1"));
        }
    }
    all.push(Setting::new("ipv6/conf/all/forwarding", "1"));
    all
}

/// What the host's half of a control interface must have for IPv6. It forwards, and so hears no router, by `all`.
pub(crate) fn host_half(link: &str) -> Vec<Setting> {
    let setting = |name: &str, value| Setting::new(format!("ipv6/conf/{link}/{name}"), value);
    vec![setting("disable_ipv6", "0"), setting("accept_ra", "0")]
}

/// IPv6 in a node, which engines switch off where they give no network. One write is for all links, also those to come;
/// looking first would cost more, since the kernel finds these files the slower the more namespaces there are.
pub(crate) fn switch_ipv6_on() -> Result<(), FabricError> {
    let path = format!("{ROOT}/ipv6/conf/all/disable_ipv6");
    fs::write(path, "0").map_err(|error| FabricError::Kernel {
        action: "switching IPv6 on in the node".to_owned(),
        detail: error.to_string(),
    })
}

/// The calling thread's node passes packets of others on, of both families.
pub(crate) fn forward() -> Result<(), FabricError> {
    for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        match fs::write(format!("{ROOT}/{path}"), "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FabricError::Kernel {
                    action: "having the node forward packets".to_owned(),
                    detail: error.to_string(),
                });
            }
            _ => {}
        }
    }
    Ok(())
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

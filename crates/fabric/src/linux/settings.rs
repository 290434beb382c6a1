//! Kernel settings, as `/proc/sys/net` shows them to a thread: those of its network namespace.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::FabricError;

const ROOT: &str = "/proc/sys/net";

/// The settings of one namespace.
pub(crate) struct Settings {
    /// A `/proc` for this value alone; none where the kernel is older than 5.2. In one that all share, every lookup below
    /// `sys/net` goes through those of all namespaces: with 1,000 of them it takes longer than making an interface.
    own: Option<OwnedFd>,
}

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

impl Settings {
    /// Those of the calling thread's namespace: it must be there whenever they are used.
    pub(crate) fn here() -> Self {
        Self {
            own: own().inspect_err(|error| tracing::debug!(%error, "settings are looked up in /proc")).ok(),
        }
    }

    /// IPv6 in a node, which engines switch off where they give no network. One write is for all links, also those to come.
    /// `is_needed`: there are addresses of it; else a kernel without IPv6 will do.
    pub(crate) fn switch_ipv6_on(&self, is_needed: bool) -> Result<(), FabricError> {
        match self.write("ipv6/conf/all/disable_ipv6", "0") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match is_needed {
                false => Ok(()),
                true => Err(FabricError::Lacking(
                    "the node has IPv6 addresses, and this kernel has no IPv6: start it without ipv6.disable=1"
                        .to_owned(),
                )),
            },
            other => other.map_err(|error| FabricError::Kernel {
                action: "switching IPv6 on in the node".to_owned(),
                detail: error.to_string(),
            }),
        }
    }

    /// Whether the node passes packets of others on, of both families.
    pub(crate) fn forward(&self, is_on: bool) -> Result<(), FabricError> {
        for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            match self.write(path, if is_on { "1" } else { "0" }) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(FabricError::Kernel {
                        action: "telling the node whether to forward packets".to_owned(),
                        detail: error.to_string(),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes settings so; returns those that were not.
    pub(crate) fn enforce(&self, settings: &[Setting]) -> Result<Vec<String>, FabricError> {
        let mut changed = Vec::new();
        for setting in settings {
            let failed = |error: io::Error| FabricError::Kernel {
                action: format!("setting net/{} to {}", setting.path, setting.value),
                detail: error.to_string(),
            };
            let now = self.read(&setting.path).map_err(failed)?;
            let right = match setting.instead_of {
                Some(wrong) => now.trim() != wrong,
                None => now.trim() == setting.value,
            };
            if !right {
                self.write(&setting.path, setting.value).map_err(failed)?;
                changed.push(format!("net/{}", setting.path));
            }
        }
        Ok(changed)
    }

    /// Writes to a path below `/proc/sys/net`.
    pub(crate) fn write(&self, path: &str, value: &str) -> io::Result<()> {
        self.open(path, OFlags::WRONLY)?.write_all(value.as_bytes())
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let mut value = String::new();
        self.open(path, OFlags::RDONLY)?.read_to_string(&mut value)?;
        Ok(value)
    }

    fn open(&self, path: &str, mode: OFlags) -> io::Result<File> {
        let flags = mode | OFlags::CLOEXEC;
        let opened = match &self.own {
            Some(proc) => openat(proc.as_fd(), format!("sys/net/{path}"), flags, Mode::empty()),
            None => rustix::fs::open(format!("{ROOT}/{path}"), flags, Mode::empty()),
        };
        Ok(File::from(opened?))
    }
}

fn own() -> io::Result<OwnedFd> {
    let filesystem = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(filesystem.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(filesystem.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Settings of a kernel that has these, and no others.
    fn kernel(folder: &Path, paths: &[&str]) -> Settings {
        for path in paths {
            let path = folder.join("sys/net").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "1").unwrap();
        }
        Settings { own: Some(OwnedFd::from(File::open(folder).unwrap())) }
    }

    #[test]
    fn a_kernel_without_ipv6_does_for_nodes_without_it() {
        let folder = tempfile::tempdir().unwrap();
        let settings = kernel(folder.path(), &["ipv4/ip_forward"]);
        settings.switch_ipv6_on(false).unwrap();
        settings.forward(false).unwrap();
        assert_eq!(settings.read("ipv4/ip_forward").unwrap(), "0");
        let refused = settings.switch_ipv6_on(true).unwrap_err().to_string();
        assert!(refused.contains("start it without ipv6.disable=1"), "{refused}");
    }

    #[test]
    fn where_there_is_ipv6_it_is_switched_on_and_forwards() {
        let folder = tempfile::tempdir().unwrap();
        let (off, forwards) = ("ipv6/conf/all/disable_ipv6", "ipv6/conf/all/forwarding");
        let settings = kernel(folder.path(), &["ipv4/ip_forward", off, forwards]);
        settings.switch_ipv6_on(false).unwrap();
        settings.forward(true).unwrap();
        assert_eq!([settings.read(off).unwrap(), settings.read(forwards).unwrap()], ["0", "1"]);
    }
}

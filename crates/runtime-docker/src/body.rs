//! What the engine is told to make: a pure function from a node's spec to the engine's words.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};
use testyard_guest_protocol::{GUEST_FOLDER, GUEST_PROGRAM};
use testyard_model::id::Instance;
use testyard_runtime::NodeSpec;

use crate::mark;

/// The container of a node. `ipv6`: whether the host's kernel has it. `quota`: whether the engine's storage can bound
/// what is written.
pub(crate) fn of(
    spec: &NodeSpec,
    instance: &Instance,
    guest_folder: &Path,
    socket_folder: &Path,
    ipv6: bool,
    quota: bool,
) -> ContainerCreateBody {
    ContainerCreateBody {
        hostname: Some(if spec.key.is_spare() {
            mark::SPARE_HOSTNAME.to_owned()
        } else {
            spec.hostname.to_string()
        }),
        // By id: a name may mean another image by now.
        image: Some(spec.image.id.clone()),
        // The guest is process 1 and runs the image's program itself, as the image's USER in its WORKDIR.
        entrypoint: Some(vec![GUEST_PROGRAM.to_owned()]),
        cmd: Some(vec!["init".to_owned()]),
        user: Some("0".to_owned()),
        // The guest goes to the image's WORKDIR itself, for the image's program; one that is a file must not keep the
        // node from starting.
        working_dir: Some("/".to_owned()),
        stop_signal: Some("SIGTERM".to_owned()),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(mark::labels(instance, &spec.key)),
        host_config: Some(host_config(spec, guest_folder, socket_folder, ipv6, quota)),
        ..ContainerCreateBody::default()
    }
}

// `no-new-privileges` stays unset: sudo in nodes needs it so.
fn host_config(
    spec: &NodeSpec,
    guest_folder: &Path,
    socket_folder: &Path,
    ipv6: bool,
    quota: bool,
) -> HostConfig {
    let memory = spec.limits.memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    HostConfig {
        memory,
        // Equal to memory means: no swap on top.
        memory_swap: memory,
        nano_cpus: spec.limits.millicores.map(|millicores| i64::from(millicores) * 1_000_000),
        pids_limit: spec.limits.pids.map(i64::from),
        cap_add: Some(spec.privileges.capabilities.iter().map(ToString::to_string).collect()),
        devices: Some(spec.privileges.devices.iter().map(|path| device(path.as_str())).collect()),
        network_mode: Some("none".to_owned()),
        // With network `none` the engine switches IPv6 off, and the fabric adds IPv6 addresses.
        sysctls: sysctls(ipv6),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        // Where the whole machine runs out of memory, nodes go before what keeps them.
        oom_score_adj: Some(500),
        readonly_rootfs: Some(spec.limits.read_only),
        tmpfs: spec.limits.read_only.then(|| in_memory(spec.limits.memory)),
        // The engine mounts /etc/hosts read-only then, so the guest cannot write the node's own name into it.
        extra_hosts: spec.limits.read_only.then(|| vec![format!("{}:127.0.1.1", spec.hostname)]),
        storage_opt: spec
            .limits
            .disk
            .filter(|_| quota)
            .map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())])),
        auto_remove: Some(false),
        init: Some(false),
        publish_all_ports: Some(false),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), "1m".to_owned()),
                ("max-file".to_owned(), "2".to_owned()),
            ])),
        }),
        mounts: Some(vec![
            read_only(guest_folder, &format!("{GUEST_FOLDER}/bin")),
            // Read-only too: connecting to a socket writes nothing.
            read_only(socket_folder, &format!("{GUEST_FOLDER}/run")),
        ]),
        ..HostConfig::default()
    }
}

/// The kernel settings of a container's network namespace.
pub(crate) fn sysctls(ipv6: bool) -> Option<HashMap<String, String>> {
    ipv6.then(|| {
        ["all", "default"]
            .map(|which| (format!("net.ipv6.conf.{which}.disable_ipv6"), "0".to_owned()))
            .into_iter()
            .collect()
    })
}

/// What can be written on a read-only root. It counts as the node's memory, so it is a part of that at most.
fn in_memory(memory: Option<u64>) -> HashMap<String, String> {
    const MOST: u64 = 64 << 20;
    let size = memory.map_or(MOST, |memory| (memory / 4).min(MOST));
    [("/run", "0755"), ("/tmp", "1777")]
        .map(|(path, mode)| (path.to_owned(), format!("rw,nosuid,nodev,exec,mode={mode},size={size}")))
        .into()
}

fn device(path: &str) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(path.to_owned()),
        path_in_container: Some(path.to_owned()),
        cgroup_permissions: Some("rwm".to_owned()),
    }
}

pub(crate) fn read_only(source: &Path, target: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.to_owned()),
        read_only: Some(true),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testyard_guest_protocol::GUEST_SOCKET;
    use testyard_model::sliver_type::{Limits, Privileges};
    use testyard_runtime::{Image, ImageConfig, NodeKey};

    fn spec() -> NodeSpec {
        NodeSpec {
            key: NodeKey {
                slice: "018f0000-0000-7000-8000-000000000001".parse().unwrap(),
                sliver: "018f0000-0000-7000-8000-000000000002".parse().unwrap(),
                disk: 0,
            },
            hostname: "node".parse().unwrap(),
            image: Image {
                name: "debian:12".parse().unwrap(),
                id: "sha256:00".to_owned(),
                digest: None,
                config: ImageConfig::default(),
            },
            limits: Limits {
                memory: Some(100 << 20),
                millicores: Some(1500),
                pids: Some(64),
                disk: Some(1 << 30),
                read_only: true,
            },
            privileges: Privileges {
                capabilities: vec!["NET_ADMIN".parse().unwrap()],
                devices: vec!["/dev/net/tun".parse().unwrap()],
            },
        }
    }

    fn body() -> ContainerCreateBody {
        of(&spec(), &"lab".parse().unwrap(), Path::new("/guest"), Path::new("/run/lab/nodes/x"), true, true)
    }

    #[test]
    fn limits_in_the_engines_units() {
        let host = body().host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (Some(104_857_600), Some(104_857_600)));
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(1_500_000_000), Some(64)));
        assert_eq!(host.cap_add.unwrap(), ["NET_ADMIN"]);
        assert_eq!(host.storage_opt.unwrap()["size"], "1073741824");
    }

    #[test]
    fn a_read_only_root_has_bounded_places_to_write() {
        let host = body().host_config.unwrap();
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.extra_hosts.unwrap(), ["node:127.0.1.1"]);
        let tmpfs = host.tmpfs.unwrap();
        assert!(tmpfs["/tmp"].contains("mode=1777") && tmpfs["/run"].contains("size=26214400"), "{tmpfs:?}");
        assert!(in_memory(None)["/tmp"].contains("size=67108864"));
    }

    #[test]
    fn nothing_dangerous_is_asked_for() {
        let body = body();
        let host = body.host_config.unwrap();
        assert_eq!(host.privileged, None);
        assert_eq!(
            host.security_opt, None,
            "sudo needs new privileges, and the engine's seccomp profile stays"
        );
        assert_eq!(host.network_mode.unwrap(), "none");
        assert!(host.mounts.unwrap().iter().all(|mount| mount.read_only == Some(true)));
        assert_eq!(body.image.unwrap(), "sha256:00");
    }

    #[test]
    fn the_socket_is_where_the_guest_looks() {
        let mounts = body().host_config.unwrap().mounts.unwrap();
        assert!(
            mounts
                .iter()
                .any(|mount| format!("{}/agent.sock", mount.target.clone().unwrap()) == GUEST_SOCKET)
        );
        assert!(mounts.iter().any(|mount| GUEST_PROGRAM.starts_with(mount.target.as_ref().unwrap())));
    }
}

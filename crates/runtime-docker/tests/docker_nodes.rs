//! What only Docker has: volumes, refusals in its own words, foreign containers, a network that is not there.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod docker_support;

use std::path::Path;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, InspectNetworkOptions,
    RemoveContainerOptionsBuilder, RemoveImageOptions,
};
use docker_support::{Testbed, key};
use futures_util::StreamExt as _;
use testyard_model::sliver_type::{Limits, Privileges};
use testyard_runtime::{ImageError, Pull, Runtime, RuntimeError};
use testyard_runtime_docker::{DockerRuntime, ImportError, ResetError};
use tokio::sync::watch;

#[tokio::test]
async fn volumes_of_the_image_go_with_the_node() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let spec = bed.spec(&bed.image("volume", &["VOLUME /data"]).await);
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    let container = bed
        .docker
        .inspect_container(&bed.container(&spec.key), None::<InspectContainerOptions>)
        .await
        .unwrap();
    let volume =
        container.mounts.unwrap().into_iter().find_map(|mount| mount.name).expect("an anonymous volume");
    bed.docker.inspect_volume(&volume).await.unwrap();
    runtime.remove(&spec.key).await.unwrap();
    assert!(bed.docker.inspect_volume(&volume).await.is_err(), "the volume is still there");
    assert!(bed.leftovers().await.is_empty());
}

#[tokio::test]
async fn what_the_engine_will_never_do_is_refused_and_leaves_nothing() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let image = bed.image("plain", &[]).await;
    let cases = [
        (Limits { memory: Some(1 << 20), ..Limits::default() }, None, "more memory"),
        (Limits { millicores: Some(1_000_000), ..Limits::default() }, None, "fewer cores"),
        (Limits::default(), Some("SWIM"), "does not know"),
    ];
    for (limits, capability, remedy) in cases {
        let capabilities = capability.iter().map(|name| name.parse().unwrap()).collect();
        let privileges = Privileges { capabilities, ..Privileges::default() };
        let spec = testyard_runtime::NodeSpec { limits, privileges, ..bed.spec(&image) };
        let error = runtime.create(&spec).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::Refused { detail, .. } if detail.contains(remedy)), "{error}");
        assert_eq!(bed.leftovers().await, Vec::<String>::new());
    }
}

/// Which hosts lack it differs; where it can be given the node runs.
#[tokio::test]
async fn a_capability_that_the_host_itself_lacks_is_refused() {
    const SYS_RESOURCE: u64 = 1 << 24;
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let capabilities = vec!["SYS_RESOURCE".parse().unwrap()];
    let privileges = Privileges { capabilities, ..Privileges::default() };
    let spec = testyard_runtime::NodeSpec { privileges, ..bed.spec(&bed.image("plain", &[]).await) };
    runtime.create(&spec).await.unwrap();
    let started = runtime.start(&spec.key).await;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap();
    let bounding = u64::from_str_radix(bounding.trim(), 16).unwrap();
    match started {
        Ok(_) => assert_ne!(bounding & SYS_RESOURCE, 0),
        Err(error) => {
            assert_eq!(bounding & SYS_RESOURCE, 0, "{error}");
            let refused =
                matches!(&error, RuntimeError::Refused { detail, .. } if detail.contains("sliver type"));
            assert!(refused, "{error}");
        }
    }
    runtime.remove(&spec.key).await.unwrap();
}

#[tokio::test]
async fn a_foreign_container_of_the_same_name_is_not_touched() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let image = bed.image("plain", &[]).await;
    let spec = bed.spec(&image);
    let name = bed.container(&spec.key);
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let body = ContainerCreateBody {
        image: Some(image.id.clone()),
        cmd: Some(vec!["/none".to_owned()]),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let foreign = bed.docker.create_container(Some(options), body).await.unwrap().id;
    let created = runtime.create(&spec).await;
    let removed = runtime.remove(&spec.key).await;
    let listed = runtime.list().await;
    let there = bed.docker.inspect_container(&foreign, None::<InspectContainerOptions>).await;
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    bed.docker.remove_container(&foreign, Some(options)).await.unwrap();
    assert!(matches!(created, Err(RuntimeError::Refused { .. })), "{created:?}");
    removed.unwrap();
    assert!(listed.unwrap().is_empty());
    there.expect("it is still there");
}

#[tokio::test]
async fn an_image_that_has_gone_is_worth_another_try() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let image = bed.image("plain", &[]).await;
    bed.docker.remove_image(image.name.as_str(), None::<RemoveImageOptions>, None).await.unwrap();
    let error = runtime.create(&bed.spec(&image)).await.unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("removed from the host"), "{error}");
    runtime.remove(&bed.spec(&image).key).await.unwrap();
}

#[tokio::test]
async fn a_node_has_nothing_but_a_loopback_with_ipv6_switched_on() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let spec = bed.spec(&bed.image("plain", &["EXPOSE 80/tcp"]).await);
    runtime.create(&spec).await.unwrap();
    let running = runtime.start(&spec.key).await.unwrap();
    let process = running.netns.parent().and_then(Path::parent).unwrap();
    let devices = std::fs::read_to_string(process.join("net/dev")).unwrap();
    let names: Vec<_> = devices.lines().skip(2).filter_map(|line| line.split_once(':')).collect();
    assert!(names.len() == 1 && names[0].0.trim() == "lo", "{devices}");
    if Path::new("/proc/net/if_inet6").exists() {
        let addresses = std::fs::read_to_string(process.join("net/if_inet6")).unwrap();
        assert!(addresses.contains("lo"), "IPv6 is off: {addresses}");
    }
    let none = bed.docker.inspect_network("bridge", None::<InspectNetworkOptions>).await.unwrap();
    let container = bed.container(&spec.key);
    let attached = none.containers.unwrap_or_default();
    assert!(!attached.values().any(|there| there.name.as_deref() == Some(&container)));
    runtime.remove(&spec.key).await.unwrap();
}

#[tokio::test]
async fn reset_takes_everything_of_this_testbed_and_nothing_else() {
    let (bed, other) = (Testbed::new().await, Testbed::new().await);
    let image = bed.image("plain", &[]).await;
    let runtime = bed.runtime();
    for running in [true, false] {
        let spec = bed.spec(&image);
        runtime.create(&spec).await.unwrap();
        if running {
            runtime.start(&spec.key).await.unwrap();
        }
    }
    let kept = bed.spec(&image);
    other.runtime().create(&kept).await.unwrap();
    assert_eq!(bed.runtime().reset().await.unwrap(), 2);
    assert_eq!(bed.leftovers().await, Vec::<String>::new());
    assert_eq!(bed.runtime().reset().await.unwrap(), 0);
    assert_eq!(other.runtime().list().await.unwrap().len(), 1);
    other.runtime().remove(&kept.key).await.unwrap();
}

#[tokio::test]
async fn without_an_engine_every_call_says_so() {
    let mut bed = Testbed::new().await;
    let image = bed.image("plain", &[]).await;
    let spec = bed.spec(&image);
    bed.config.socket = bed.folder.path().join("nobody.sock");
    let runtime = bed.runtime();
    let unreachable =
        |error: RuntimeError| assert!(matches!(error, RuntimeError::Unreachable { .. }), "{error}");
    unreachable(runtime.facts().await.unwrap_err());
    unreachable(runtime.create(&spec).await.unwrap_err());
    unreachable(runtime.listen(&spec.key).await.err().unwrap());
    unreachable(runtime.start(&spec.key).await.unwrap_err());
    unreachable(runtime.stop(&spec.key, std::time::Duration::ZERO).await.unwrap_err());
    unreachable(runtime.remove(&spec.key).await.unwrap_err());
    unreachable(runtime.list().await.unwrap_err());
    assert!(matches!(runtime.reset().await, Err(ResetError::Node(RuntimeError::Unreachable { .. }))));
    unreachable(DockerRuntime::connect(bed.config.clone()).await.err().unwrap());
    let progress = watch::Sender::default();
    let error = runtime.image(&image.name, Pull::Missing, &progress).await.unwrap_err();
    assert!(matches!(error, ImageError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_archive_becomes_no_image() {
    let bed = Testbed::new().await;
    let digest = format!("testyard/x@sha256:{}", "0".repeat(64)).parse().unwrap();
    let error = bed.runtime().import_rootfs(&digest, &b""[..], &[]).await.unwrap_err();
    assert!(matches!(error, ImportError::Name(_)), "{error}");
    let name = "testyard/no-archive:1".parse().unwrap();
    let error = bed.runtime().import_rootfs(&name, &b"this is no archive"[..], &[]).await.unwrap_err();
    assert!(matches!(error, ImportError::Engine { .. }), "{error}");
    let error = bed.runtime().import_rootfs(&name, &b""[..], &["RUN true"]).await.unwrap_err();
    assert!(matches!(error, ImportError::Engine { .. }), "{error}");
}

#[tokio::test]
async fn the_guests_program_missing_is_told_with_the_remedy() {
    let mut bed = Testbed::new().await;
    let spec = bed.spec(&bed.image("plain", &[]).await);
    bed.config.guest_folder = bed.folder.path().join("empty");
    let error = bed.runtime().create(&spec).await.unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("missing on this host"), "{error}");
    std::fs::create_dir(&bed.config.guest_folder).unwrap();
    let runtime = bed.runtime();
    runtime.create(&spec).await.unwrap();
    let error = runtime.start(&spec.key).await.unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("install Testyard again"), "{error}");
    runtime.remove(&spec.key).await.unwrap();
    runtime.remove(&key()).await.unwrap();
}

#[tokio::test]
async fn odd_images_start_and_are_removed_whole() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let plain = bed.image("plain", &[]).await;
    for (which, lines) in [
        ("volumes", &["VOLUME /data /.testyard /.testyard/bin /etc /tmp /run"][..]),
        ("no-workdir", &["WORKDIR /missing/folder"]),
        ("workdir-is-a-file", &["WORKDIR /etc/passwd/x"]),
        ("users", &["USER nobody:nogroup"]),
        ("stop-signal", &["STOPSIGNAL SIGKILL"]),
        ("health", &[r#"HEALTHCHECK --interval=1s --retries=1 CMD ["/none"]"#]),
        ("labels", &["LABEL testyard.instance=other testyard.sliver=x testyard.spare=y"]),
        ("environment", &["ENV LD_PRELOAD=/none.so PATH=/nowhere RUST_LOG=trace"]),
    ] {
        // The engine makes a WORKDIR when it builds, and cannot make this one: an import takes it as it is.
        let image = match which {
            "no-workdir" | "workdir-is-a-file" => bed.image(which, lines).await,
            _ => bed.built(which, &plain, lines).await,
        };
        let spec = bed.spec(&image);
        runtime.create(&spec).await.unwrap_or_else(|error| panic!("{which}: {error}"));
        runtime.start(&spec.key).await.unwrap_or_else(|error| panic!("{which}: {error}"));
        let listed = runtime.list().await.unwrap();
        assert_eq!(listed.len(), 1, "{which}: {listed:?}");
        let container = bed
            .docker
            .inspect_container(&bed.container(&spec.key), None::<InspectContainerOptions>)
            .await
            .unwrap();
        assert!(container.state.unwrap().health.is_none_or(|health| health.log.is_none()), "{which}");
        let volumes: Vec<_> = container.mounts.unwrap().into_iter().filter_map(|mount| mount.name).collect();
        runtime.stop(&spec.key, std::time::Duration::from_secs(0)).await.unwrap();
        runtime.remove(&spec.key).await.unwrap();
        for volume in volumes {
            assert!(bed.docker.inspect_volume(&volume).await.is_err(), "{which}: volume {volume} is left");
        }
        assert_eq!(bed.leftovers().await, Vec::<String>::new(), "{which}");
    }
}

#[tokio::test]
async fn a_read_only_root_starts_and_cannot_be_written() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let image = bed.image("plain", &[]).await;
    let limits = Limits { read_only: true, memory: Some(64 << 20), ..Limits::default() };
    let spec = testyard_runtime::NodeSpec { limits, ..bed.spec(&image) };
    runtime.create(&spec).await.unwrap();
    let running = runtime.start(&spec.key).await.unwrap();
    let process = running.netns.parent().and_then(Path::parent).unwrap();
    let mounts = std::fs::read_to_string(process.join("mounts")).unwrap();
    let of = |path: &str| {
        let mut words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        words.rfind(|words| words[1] == path).map(|words| words[3].to_owned()).unwrap()
    };
    assert!(of("/").split(',').any(|option| option == "ro"), "{mounts}");
    for path in ["/run", "/tmp"] {
        let options = of(path);
        assert!(options.starts_with("rw") && options.contains("size=16384k"), "{path}: {options}");
    }
    runtime.remove(&spec.key).await.unwrap();
}

/// A process of the node is killed and the node goes on: that is counted, and an event comes after the count.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_kills_for_want_of_memory_is_counted() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let image = bed.image("hog", &["ENV HOG=yes"]).await;
    let limits = Limits { memory: Some(32 << 20), ..Limits::default() };
    let spec = testyard_runtime::NodeSpec { limits, ..bed.spec(&image) };
    runtime.create(&spec).await.unwrap();
    let mut events = runtime.events();
    let running = runtime.start(&spec.key).await.unwrap();
    let counted = async {
        while runtime.killed_for_memory(&running).await != Some(1) {
            events.next().await.expect("events never end");
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), counted).await.expect("a process is killed");
    let seen = runtime.look(&spec.key).await.unwrap().unwrap();
    assert_eq!(seen.power, testyard_runtime::PowerSeen::Running(running), "the node goes on");
    runtime.remove(&spec.key).await.unwrap();
}

/// This machine's storage has quotas or not: the node is made either way, and what it keeps is counted.
#[tokio::test]
async fn a_bounded_disk_is_made_on_any_storage() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let image = bed.image("plain", &["VOLUME /data"]).await;
    let limits = Limits { disk: Some(1 << 30), ..Limits::default() };
    for _ in 0..2 {
        let spec = testyard_runtime::NodeSpec { limits, ..bed.spec(&image) };
        runtime.create(&spec).await.unwrap();
        let running = runtime.start(&spec.key).await.unwrap();
        let process = running.netns.parent().and_then(Path::parent).unwrap();
        let before = runtime.disk_used(&spec.key).await.unwrap().unwrap();
        std::fs::write(process.join("root/data/file"), vec![7; 5 << 20]).unwrap();
        let after = runtime.disk_used(&spec.key).await.unwrap().unwrap();
        assert!((5 << 20..6 << 20).contains(&(after - before)), "volumes count: {before}, then {after}");
        runtime.remove(&spec.key).await.unwrap();
    }
}

//! Nodes whose `/etc/passwd` or `/etc/group`, which the engine opens before it starts them, are no ordinary files.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod docker_support;

use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::query_parameters::{InspectContainerOptions, StartContainerOptions};
use docker_support::Testbed;
use tar::EntryType;
use testyard_runtime::{Image, Runtime as _, RuntimeError};

/// A path, what is there, and what is in it; of a link, where it leads.
type Entry<'a> = (&'a str, EntryType, &'a str);

/// A root file system of these.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        match kind {
            EntryType::Symlink => builder.append_link(&mut header, path, content).unwrap(),
            EntryType::Regular => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
            EntryType::Char => {
                // /dev/zero, which has no end.
                header.set_device_major(1).unwrap();
                header.set_device_minor(5).unwrap();
                builder.append_data(&mut header, path, &b""[..]).unwrap();
            }
            _ => builder.append_data(&mut header, path, &b""[..]).unwrap(),
        }
    }
    builder.into_inner().unwrap()
}

async fn image(bed: &Testbed, which: &str, entries: &[Entry<'_>], changes: &[&str]) -> Image {
    let name = format!("testyard-{}/{which}:1", bed.config.instance);
    bed.also_remove(&name);
    let name = name.parse().unwrap();
    bed.runtime().import_rootfs(&name, Cursor::new(archive(entries)), changes).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_must_not_open_is_refused_at_once_and_keeps_nobody_waiting() {
    use EntryType::{Char, Directory, Fifo, Regular, Symlink};
    /// Its name, what is in it, its Dockerfile lines, and what is told.
    type Case<'a> = (&'a str, &'a [Entry<'a>], &'a [&'a str], &'a str);
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let long = format!("root:x:0:{}", "someone,".repeat(20_000));
    let cases: &[Case<'_>] = &[
        ("pipe", &[("etc/passwd", Fifo, "")], &[], "/etc/passwd is a named pipe"),
        ("group", &[("etc/group", Fifo, "")], &[], "/etc/group is a named pipe"),
        ("link", &[("etc/x", Fifo, ""), ("etc/passwd", Symlink, "x")], &[], "/etc/passwd is a named pipe"),
        ("volume", &[("etc/passwd", Fifo, "")], &["VOLUME /etc"], "/etc/passwd is a named pipe"),
        ("folder", &[("etc/passwd", Directory, "")], &[], "/etc/passwd is a folder"),
        ("device", &[("etc/passwd", Char, "")], &[], "/etc/passwd is a device"),
        ("into-proc", &[("etc/passwd", Symlink, "/proc/kmsg")], &[], "a link into /proc"),
        ("circle", &[("etc/passwd", Symlink, "/etc/passwd")], &[], "/etc/passwd and /etc/group"),
        ("long-line", &[("etc/passwd", Regular, &long)], &[], "64 KiB"),
    ];
    let begun = Instant::now();
    let refusals = cases.iter().map(|(which, entries, changes, told)| {
        let (bed, runtime) = (&bed, &runtime);
        async move {
            let spec = bed.spec(&image(bed, which, entries, changes).await);
            runtime.create(&spec).await.unwrap();
            for _ in 0..2 {
                let started = runtime.start(&spec.key).await;
                let error = started.expect_err(which);
                let refused = matches!(&error, RuntimeError::Refused { detail, .. }
                    if detail.contains(told) && detail.contains("geni_reload") && !detail.contains("/var/lib"));
                assert!(refused, "{which}: {error}");
            }
            runtime.remove(&spec.key).await.unwrap();
        }
    });
    let sound = async {
        let spec = bed.spec(&bed.image("plain", &[]).await);
        for _ in 0..4 {
            runtime.create(&spec).await.unwrap();
            runtime.start(&spec.key).await.unwrap();
            runtime.remove(&spec.key).await.unwrap();
        }
    };
    futures_util::future::join(futures_util::future::join_all(refusals), sound).await;
    assert!(begun.elapsed() < Duration::from_secs(60), "somebody has waited: {:?}", begun.elapsed());
    assert_eq!(bed.leftovers().await, Vec::<String>::new());
}

/// Root in the node is the user.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_inside_is_refused_at_the_next_start() {
    let bed = Testbed::new().await;
    let runtime = bed.runtime();
    let spec = bed.spec(&bed.image("plain", &[]).await);
    runtime.create(&spec).await.unwrap();
    let running = runtime.start(&spec.key).await.unwrap();
    let process = running.netns.parent().and_then(Path::parent).unwrap();
    let passwd = process.join("root/etc/passwd");
    std::fs::remove_file(&passwd).unwrap();
    nix::unistd::mkfifo(&passwd, nix::sys::stat::Mode::S_IRWXU).unwrap();
    runtime.stop(&spec.key, Duration::ZERO).await.unwrap();
    let error = runtime.start(&spec.key).await.unwrap_err();
    let refused = matches!(&error, RuntimeError::Refused { detail, .. } if detail.contains("/etc/passwd is a named pipe"));
    assert!(refused, "{error}");
    runtime.remove(&spec.key).await.unwrap();
}

/// What somebody else has started so can be looked at and removed, and nodes of others boot meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_waits_for_a_pipe_is_freed() {
    let mut bed = Testbed::new().await;
    bed.config.parallel = 1;
    let runtime = bed.runtime();
    let plain = bed.image("plain", &[]).await;
    for (which, changes) in [("root", &[][..]), ("volume", &["VOLUME /etc"])] {
        let image = image(&bed, which, &[("etc/passwd", EntryType::Fifo, "")], changes).await;
        let spec = bed.spec(&image);
        runtime.create(&spec).await.unwrap();
        let (docker, name) = (bed.docker.clone(), bed.container(&spec.key));
        let start = async {
            let _ = docker.start_container(&name, None::<StartContainerOptions>).await;
        };
        let rescue = async {
            // The engine is inside the start when it does not answer about the container any more.
            let look = || docker.inspect_container(&name, None::<InspectContainerOptions>);
            while tokio::time::timeout(Duration::from_secs(1), look()).await.is_ok() {}
            runtime.look(&spec.key).await.unwrap().expect("it is there");
            let (removed, ()) = futures_util::future::join(runtime.remove(&spec.key), async {
                let plain = bed.spec(&plain);
                runtime.create(&plain).await.unwrap();
                runtime.start(&plain.key).await.unwrap();
                runtime.remove(&plain.key).await.unwrap();
            })
            .await;
            removed.unwrap();
        };
        let all = futures_util::future::join(start, rescue);
        tokio::time::timeout(Duration::from_secs(90), all).await.expect("nobody waits for ever");
        assert_eq!(bed.leftovers().await, Vec::<String>::new(), "{which}");
    }
}

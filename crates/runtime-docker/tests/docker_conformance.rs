//! The Docker runtime passes the suite that every runtime passes.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod docker_support;

use std::io::Read as _;
use std::sync::Arc;

use async_trait::async_trait;
use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, InspectContainerOptions, KillContainerOptions,
    RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use docker_support::{Testbed, Two, archive};
use futures_util::TryStreamExt as _;
use testyard_model::image::ImageName;
use testyard_model::sliver_type::{Limits, Privileges};
use testyard_runtime::conformance::{self, Built, Harness, TestImage};
use testyard_runtime::{NodeKey, Runtime};

struct DockerHarness {
    two: Arc<Two>,
    plain: ImageName,
    full: ImageName,
    init: ImageName,
}

impl DockerHarness {
    async fn new() -> Self {
        let two = Two::new().await;
        let bed = &two.ours;
        let full: &[&str] = &[
            r#"ENTRYPOINT ["/bin/entry", "two words"]"#,
            r#"CMD ["--flag", "$HOME;`id`"]"#,
            "ENV PATH=/bin",
            r#"ENV GREETING="good day""#,
            "WORKDIR /srv/data",
            "USER 1000:1001",
            "STOPSIGNAL SIGQUIT",
            "EXPOSE 80/tcp",
            "EXPOSE 53/udp",
        ];
        let plain = bed.image("plain", &[]).await;
        Self {
            full: bed.built("full", &plain, full).await.name,
            plain: plain.name,
            init: bed.image("init", &[r#"CMD ["/sbin/init"]"#]).await.name,
            two,
        }
    }

    /// The testbed that has this node.
    async fn bed(&self, key: &NodeKey) -> &Testbed {
        let name = self.two.theirs.container(key);
        match self.two.theirs.docker.inspect_container(&name, None::<InspectContainerOptions>).await {
            Ok(_) => &self.two.theirs,
            Err(_) => &self.two.ours,
        }
    }
}

#[async_trait]
impl Harness for DockerHarness {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.two.ours.runtime())
    }

    fn neighbour(&self) -> Arc<dyn Runtime> {
        Arc::new(self.two.theirs.runtime())
    }

    fn image(&self, which: TestImage) -> ImageName {
        match which {
            TestImage::Plain => self.plain.clone(),
            TestImage::Full => self.full.clone(),
            TestImage::Init => self.init.clone(),
            // Nothing listens there, so no name server and no network is asked.
            TestImage::Missing => "127.0.0.1:1/testyard/missing:1".parse().unwrap(),
        }
    }

    fn limits(&self) -> Limits {
        Limits { memory: Some(64 << 20), millicores: Some(500), pids: Some(100), disk: None, read_only: true }
    }

    fn privileges(&self) -> Privileges {
        Privileges {
            capabilities: vec!["NET_ADMIN".parse().unwrap()],
            devices: vec!["/dev/null".parse().unwrap()],
        }
    }

    async fn built(&self, key: &NodeKey) -> Built {
        let bed = self.bed(key).await;
        let made =
            bed.docker.inspect_container(&bed.container(key), None::<InspectContainerOptions>).await.unwrap();
        let host = made.host_config.unwrap();
        let number =
            |value: Option<i64>| value.filter(|value| *value > 0).map(|value| u64::try_from(value).unwrap());
        assert_eq!(host.memory, host.memory_swap, "no swap on top");
        Built {
            hostname: match made.state.and_then(|state| state.pid).filter(|pid| *pid > 0) {
                Some(pid) => hostname_of(pid),
                None => made.config.unwrap().hostname.unwrap(),
            },
            image: made.image.unwrap(),
            limits: Limits {
                memory: number(host.memory),
                millicores: number(host.nano_cpus).map(|nano| u32::try_from(nano / 1_000_000).unwrap()),
                pids: number(host.pids_limit).map(|pids| u32::try_from(pids).unwrap()),
                disk: None,
                read_only: host.readonly_rootfs.unwrap(),
            },
            privileges: Privileges {
                capabilities: host
                    .cap_add
                    .unwrap_or_default()
                    .iter()
                    .map(|cap| cap.parse().unwrap())
                    .collect(),
                devices: host
                    .devices
                    .unwrap_or_default()
                    .into_iter()
                    .map(|device| device.path_on_host.unwrap().parse().unwrap())
                    .collect(),
            },
        }
    }

    async fn write_file(&self, key: &NodeKey, text: &str) {
        let bed = self.bed(key).await;
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let body = bollard::body_full(archive("testyard-file", text).into());
        bed.docker.upload_to_container(&bed.container(key), Some(options), body).await.unwrap();
    }

    async fn read_file(&self, key: &NodeKey) -> Option<String> {
        let bed = self.bed(key).await;
        let options = DownloadFromContainerOptionsBuilder::new().path("/testyard-file").build();
        let chunks: Vec<_> = bed
            .docker
            .download_from_container(&bed.container(key), Some(options))
            .try_collect()
            .await
            .ok()?;
        let bytes = chunks.concat();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut text = String::new();
        archive.entries().unwrap().next()?.unwrap().read_to_string(&mut text).unwrap();
        Some(text)
    }

    async fn kill(&self, key: &NodeKey) {
        let bed = self.bed(key).await;
        bed.docker.kill_container(&bed.container(key), None::<KillContainerOptions>).await.unwrap();
    }

    async fn vanish(&self, key: &NodeKey) {
        let bed = self.bed(key).await;
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        bed.docker.remove_container(&bed.container(key), Some(options)).await.unwrap();
    }

    async fn engine_away(&self) {
        self.two.proxy.cut().await;
    }

    async fn engine_back(&self) {
        self.two.proxy.open();
    }

    async fn lose_volatile_files(&self) {
        std::fs::remove_dir_all(&self.two.ours.config.run_folder).unwrap();
    }

    async fn leftovers(&self) -> Vec<String> {
        let mut left = self.two.ours.leftovers().await;
        left.extend(self.two.theirs.leftovers().await);
        left
    }

    async fn clean_up(&self) {
        self.two.ours.clean_up().await;
        self.two.theirs.clean_up().await;
    }
}

/// What a process that runs believes to be called.
fn hostname_of(pid: i64) -> String {
    let program = std::process::Command::new("nsenter")
        .args(["--target", &pid.to_string(), "--uts", "hostname"])
        .output()
        .unwrap();
    assert!(program.status.success(), "{program:?}");
    String::from_utf8(program.stdout).unwrap().trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    conformance::run(Arc::new(DockerHarness::new().await)).await;
}

//! A testbed of a test's own on the real engine: an instance that nobody else has, images made on the spot, a guest
//! that stands in, and everything removed at the end, also when the test fails.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses a part of it")]

mod proxy;
mod registry;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use bollard::Docker;
use bollard::query_parameters::{
    BuildImageOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptions,
};
use futures_util::TryStreamExt as _;
use testyard_model::id::Instance;
use testyard_model::image::ImageName;
use testyard_runtime::{Image, NodeKey, NodeSpec, Pull, Runtime as _};
use testyard_runtime_docker::{DockerConfig, DockerRuntime};
use uuid::Uuid;

pub use proxy::Proxy;
pub use registry::Registry;

pub struct Testbed {
    pub docker: Docker,
    pub config: DockerConfig,
    pub folder: tempfile::TempDir,
    images: std::sync::Mutex<Vec<String>>,
}

impl Testbed {
    pub async fn new() -> Self {
        testyard_testkit::needs::root();
        testyard_testkit::needs::docker();
        let folder = tempfile::tempdir().unwrap();
        let instance = instance();
        let config = DockerConfig::new(instance, guest_folder(), folder.path().join("run"));
        let docker =
            Docker::connect_with_unix("/var/run/docker.sock", 60, bollard::API_DEFAULT_VERSION).unwrap();
        let docker = docker.negotiate_version().await.unwrap();
        Self { docker, config, folder, images: std::sync::Mutex::default() }
    }

    pub fn runtime(&self) -> DockerRuntime {
        DockerRuntime::new(self.config.clone())
    }

    /// An image of an all but empty root file system.
    pub async fn image(&self, which: &str, changes: &[&str]) -> Image {
        let name = self.name(which);
        self.runtime().import_rootfs(&name, Cursor::new(rootfs()), changes).await.unwrap()
    }

    /// An image with a shell.
    pub async fn shell(&self, which: &str) -> Image {
        let busybox = std::fs::read("/bin/busybox").expect("this test needs busybox-static");
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(busybox.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, "bin/busybox", &busybox[..]).unwrap();
        for program in ["sh", "cat", "ls", "sleep", "dd", "grep", "head", "tail", "echo"] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, format!("bin/{program}"), "busybox").unwrap();
        }
        let archive = builder.into_inner().unwrap();
        let name = self.name(which);
        self.runtime().import_rootfs(&name, Cursor::new(archive), &["ENV PATH=/bin"]).await.unwrap()
    }

    /// Containers of builds whose mark begins like this.
    pub async fn build_containers(&self, mark: &str) -> Vec<String> {
        let filters =
            std::collections::HashMap::from([("label".to_owned(), vec!["testyard.build".to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let containers = self.docker.list_containers(Some(options)).await.unwrap();
        containers
            .into_iter()
            .filter(|of| {
                of.labels.as_ref().is_some_and(|labels| {
                    !labels.contains_key("testyard.slice")
                        && labels.get("testyard.build").is_some_and(|value| value.starts_with(mark))
                })
            })
            .map(|container| container.id.unwrap())
            .collect()
    }

    /// An image of this with Dockerfile lines that an import does not know.
    pub async fn built(&self, which: &str, from: &Image, lines: &[&str]) -> Image {
        let name = self.name(which);
        let dockerfile = format!("FROM {}\n{}\n", from.name, lines.join("\n"));
        let options = BuildImageOptionsBuilder::new().t(name.as_str()).rm(true).forcerm(true).build();
        let body = bollard::body_full(archive("Dockerfile", &dockerfile).into());
        self.docker.build_image(options, None, Some(body)).try_collect::<Vec<_>>().await.unwrap();
        let progress = tokio::sync::watch::Sender::default();
        self.runtime().image(&name, Pull::Never, &progress).await.unwrap()
    }

    fn name(&self, which: &str) -> ImageName {
        let name: ImageName = format!("testyard-{}/{which}:1", self.config.instance).parse().unwrap();
        self.also_remove(name.as_str());
        name
    }

    /// An image that the test has pulled, to be removed at the end.
    pub fn also_remove(&self, image: &str) {
        self.images.lock().unwrap().push(image.to_owned());
    }

    pub fn spec(&self, image: &Image) -> NodeSpec {
        NodeSpec {
            key: key(),
            hostname: "node-1".parse().unwrap(),
            image: image.clone(),
            limits: testyard_model::sliver_type::Limits::default(),
            privileges: testyard_model::sliver_type::Privileges::default(),
        }
    }

    pub fn container(&self, key: &NodeKey) -> String {
        testyard_runtime_docker::container_name(&self.config.instance, key)
    }

    /// Containers and folders of an instance.
    pub async fn leftovers(&self) -> Vec<String> {
        let mut left = containers(&self.docker, &self.config.instance).await;
        if let Ok(entries) = std::fs::read_dir(self.config.run_folder.join("nodes")) {
            left.extend(entries.map(|entry| entry.unwrap().path().display().to_string()));
        }
        left
    }

    pub async fn clean_up(&self) {
        clean_up(&self.docker, &self.config.instance, &[]).await;
        let _ = std::fs::remove_dir_all(self.config.run_folder.join("nodes"));
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let instance = self.config.instance.clone();
        let images =
            std::mem::take(&mut *self.images.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        // A thread of its own: the test's runtime may be the one that unwinds.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let docker =
                    Docker::connect_with_unix("/var/run/docker.sock", 60, bollard::API_DEFAULT_VERSION)
                        .unwrap();
                clean_up(&docker.negotiate_version().await.unwrap(), &instance, &images).await;
            });
        });
        if cleaner.join().is_err() {
            eprintln!("could not clean up after the test");
        }
    }
}

async fn containers(docker: &Docker, instance: &Instance) -> Vec<String> {
    let filters = std::collections::HashMap::from([(
        "label".to_owned(),
        vec![format!("testyard.instance={instance}")],
    )]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let containers = docker.list_containers(Some(options)).await.unwrap();
    containers.into_iter().map(|container| container.id.unwrap()).collect()
}

async fn clean_up(docker: &Docker, instance: &Instance, images: &[String]) {
    for container in containers(docker, instance).await {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let _ = docker.remove_container(&container, Some(options)).await;
    }
    for image in images {
        let _ = docker.remove_image(image, None::<RemoveImageOptions>, None).await;
    }
}

fn instance() -> Instance {
    format!("t{}", &Uuid::new_v4().simple().to_string()[..8]).parse().unwrap()
}

pub fn key() -> NodeKey {
    NodeKey {
        slice: Uuid::new_v4().to_string().parse().unwrap(),
        sliver: Uuid::new_v4().to_string().parse().unwrap(),
        disk: 0,
    }
}

/// A tar archive with one file.
pub fn archive(path: &str, text: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, path, text.as_bytes()).unwrap();
    builder.into_inner().unwrap()
}

fn rootfs() -> Vec<u8> {
    archive("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
}

/// The folder with the stand-in, made once for all tests of a program.
fn guest_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // In the build's own folder, which outlives the test; a later run makes it again.
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stand-in-{}", env!("CARGO_CRATE_NAME")));
        std::fs::create_dir_all(&folder).unwrap();
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(rustc)
            .args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
            .arg(folder.join("testyard-guest"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker_support/stand_in_guest.rs"))
            .status()
            .expect("this test needs rustc");
        assert!(status.success(), "the stand-in for the guest does not compile");
        folder
    })
}

/// Two testbeds on one engine; the first reaches it through a proxy that can be cut.
pub struct Two {
    pub ours: Testbed,
    pub theirs: Testbed,
    pub proxy: Proxy,
}

impl Two {
    pub async fn new() -> Arc<Self> {
        let (mut ours, theirs) = (Testbed::new().await, Testbed::new().await);
        let socket = ours.folder.path().join("docker.sock");
        let proxy = Proxy::new(&socket, &ours.config.socket);
        ours.config.socket = socket;
        proxy.open();
        Arc::new(Self { ours, theirs, proxy })
    }
}

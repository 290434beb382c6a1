//! Measures how fast nodes are made and started: `cargo run --example boot -- GUEST_FOLDER IMAGE [NODES]`.
//!
//! Beside it, in the same run, the same number of bare containers of the same image, with one mount and no
//! limits and network, through the engine's API alone. Everything that it makes is removed at the end.

use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use testyard_model::sliver_type::{Limits, Privileges};
use testyard_runtime::{Image, NodeKey, NodeSpec, Pull, Runtime as _};
use testyard_runtime_docker::{DockerConfig, DockerRuntime};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [guest, image, rest @ ..] = &arguments[..] else {
        return Err("boot GUEST_FOLDER IMAGE [NODES]".into());
    };
    let count: usize = rest.first().map_or(Ok(20), |count| count.parse())?;
    let run_folder = std::env::temp_dir().join(format!("testyard-boot-{}", std::process::id()));
    let mut config = DockerConfig::new("boot".parse()?, guest.as_str(), &run_folder);
    println!("{count} nodes\nin flight  create+start    bare   ratio    list   remove");
    for parallel in [1, 4, 8, 16] {
        config.parallel = parallel;
        let runtime = DockerRuntime::connect(config.clone()).await?;
        let image =
            runtime.image(&image.parse()?, Pull::Missing, &tokio::sync::watch::Sender::default()).await?;
        let measured = measure(&runtime, &image, count, parallel).await;
        runtime.reset().await?;
        let [boot, list, remove] = measured?;
        let bare = bare(&config, &image, count, parallel).await?;
        let ratio = boot.as_secs_f64() / bare.as_secs_f64();
        println!("{parallel:9}  {boot:>12.2?}  {bare:>6.2?}  {ratio:6.2}  {list:>6.1?}  {remove:>7.2?}");
    }
    std::fs::remove_dir_all(&run_folder).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error.into()),
    })
}

async fn measure(
    runtime: &DockerRuntime,
    image: &Image,
    count: usize,
    parallel: usize,
) -> Outcome<[Duration; 3]> {
    let mut specs = Vec::new();
    for number in 0..count {
        specs.push(NodeSpec {
            key: NodeKey {
                slice: Uuid::new_v4().to_string().parse()?,
                sliver: Uuid::new_v4().to_string().parse()?,
                disk: 0,
            },
            hostname: format!("node-{number}").parse()?,
            image: image.clone(),
            limits: Limits::default(),
            privileges: Privileges::default(),
        });
    }
    let began = Instant::now();
    futures_util::stream::iter(&specs)
        .map(|spec| async move {
            runtime.create(spec).await?;
            runtime.start(&spec.key).await
        })
        .buffer_unordered(parallel)
        .try_collect::<Vec<_>>()
        .await?;
    let boot = began.elapsed();
    let began = Instant::now();
    assert_eq!(runtime.list().await?.len(), count);
    let list = began.elapsed();
    let began = Instant::now();
    runtime.reset().await?;
    Ok([boot, list, began.elapsed()])
}

/// The same containers through the engine alone.
async fn bare(config: &DockerConfig, image: &Image, count: usize, parallel: usize) -> Outcome<Duration> {
    let socket = config.socket.to_str().ok_or("a socket whose path is UTF-8")?;
    let docker =
        Docker::connect_with_unix(socket, 60, bollard::API_DEFAULT_VERSION)?.negotiate_version().await?;
    let body = ContainerCreateBody {
        image: Some(image.id.clone()),
        entrypoint: Some(vec!["/guest/testyard-guest".to_owned()]),
        cmd: Some(vec!["init".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            // The image may hold nothing that can run.
            binds: Some(vec![format!("{}:/guest:ro", config.guest_folder.display())]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let names: Vec<String> =
        (0..count).map(|number| format!("bare-{}-{number}", std::process::id())).collect();
    let began = Instant::now();
    let started: Result<Vec<()>, bollard::errors::Error> = futures_util::stream::iter(&names)
        .map(|name| async {
            let options = CreateContainerOptionsBuilder::new().name(name).build();
            docker.create_container(Some(options), body.clone()).await?;
            docker.start_container(name, None::<StartContainerOptions>).await
        })
        .buffer_unordered(parallel)
        .try_collect()
        .await;
    let time = began.elapsed();
    futures_util::stream::iter(&names)
        .for_each_concurrent(8, |name| async {
            let options = RemoveContainerOptionsBuilder::new().force(true).build();
            // One that was not made is not there.
            let _ = docker.remove_container(name, Some(options)).await;
        })
        .await;
    started?;
    Ok(time)
}

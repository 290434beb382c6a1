//! Measures how fast nodes are made and started: `cargo run --example boot -- GUEST_FOLDER IMAGE [NODES]`.
//!
//! Everything that it makes is removed at the end.

use std::time::{Duration, Instant};

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
    println!("{count} nodes\nin flight  create+start   nodes/s   list    remove");
    for parallel in [1, 4, 8, 16] {
        config.parallel = parallel;
        let runtime = DockerRuntime::connect(config.clone()).await?;
        let image =
            runtime.image(&image.parse()?, Pull::Missing, &tokio::sync::watch::Sender::default()).await?;
        let measured = measure(&runtime, &image, count, parallel).await;
        runtime.reset().await?;
        let [boot, list, remove] = measured?;
        let rate = f64::from(u32::try_from(count)?) / boot.as_secs_f64();
        println!("{parallel:9}  {boot:>12.2?}  {rate:8.1}  {list:>6.1?}  {remove:>7.2?}");
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

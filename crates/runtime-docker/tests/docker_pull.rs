//! Pulls: shared, recorded, bounded in time.

#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod docker_support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use docker_support::{Registry, Testbed, archive};
use futures_util::future::join_all;
use testyard_model::image::ImageName;
use testyard_runtime::{ImageError, Pull, PullProgress, Runtime as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_is_shared_shows_its_progress_and_records_the_digest() {
    let bed = Testbed::new().await;
    let registry = Registry::new(archive("file", &"x".repeat(3 << 20))).await;
    let name: ImageName = format!("127.0.0.1:{}/test/image:1", registry.port).parse().unwrap();
    bed.also_remove(name.as_str());
    let runtime = bed.runtime();
    let progress = watch::Sender::new(PullProgress::default());
    let mut seen = progress.subscribe();
    let images = join_all((0..10).map(|_| runtime.image(&name, Pull::Missing, &progress))).await;
    let ids: Vec<_> = images.into_iter().map(|image| image.unwrap()).collect();
    assert!(ids.iter().all(|image| image.id == ids[0].id));
    assert_eq!(registry.fetched.load(Ordering::Relaxed), 1, "one pull for ten");
    let digest = ids[0].digest.as_deref().unwrap();
    assert!(digest.ends_with(&registry.digest), "{digest}");
    assert_eq!(ids[0].config.program(), ["/bin/tool"]);
    let last = *seen.borrow_and_update();
    assert!(last.total > 3 << 20 && last.done == last.total, "{last:?}");

    let unknown: ImageName = format!("127.0.0.1:{}/test/image:2", registry.port).parse().unwrap();
    let error = runtime.image(&unknown, Pull::Missing, &progress).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::NotFound { detail, .. } if detail.contains("check the tag")),
        "{error}"
    );
}

#[tokio::test]
async fn a_registry_that_says_nothing_is_given_up_soon() {
    let mut bed = Testbed::new().await;
    bed.config.pull_first_sign = Duration::from_secs(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name: ImageName =
        format!("127.0.0.1:{}/silent:1", listener.local_addr().unwrap().port()).parse().unwrap();
    let runtime = bed.runtime();
    let progress = watch::Sender::default();
    let began = Instant::now();
    let error = runtime.image(&name, Pull::Missing, &progress).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::NotFound { detail, .. } if detail.contains("docker load")),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    // The failure is remembered for a moment.
    let again = Instant::now();
    assert!(runtime.image(&name, Pull::Missing, &progress).await.is_err());
    assert!(again.elapsed() < Duration::from_millis(500), "{:?}", again.elapsed());
}

#[tokio::test]
async fn a_pull_that_nobody_answers_says_so() {
    let mut bed = Testbed::new().await;
    bed.config.pull_memory = Duration::ZERO;
    let runtime = bed.runtime();
    // A port that nobody listens on yet.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let name: ImageName = format!("127.0.0.1:{port}/test/image:1").parse().unwrap();
    let progress = watch::Sender::default();
    let error = runtime.image(&name, Pull::Missing, &progress).await.unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    let error = runtime.image(&name, Pull::Never, &progress).await.unwrap_err();
    assert!(error.to_string().contains("not on this host"), "{error}");
}

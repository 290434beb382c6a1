//! The engine and its images.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::{Bench, TestImage, full_config};
use crate::error::ImageError;
use crate::image::{Pull, PullProgress};

pub(super) async fn the_engine_is_named(bench: Bench) {
    let facts = bench.runtime.facts().await.expect("facts");
    assert!(facts.engine.contains(char::is_numeric), "a name with a version: {}", facts.engine);
}

pub(super) async fn an_image_tells_its_configuration(bench: Bench) {
    let image = bench.image(TestImage::Full).await;
    assert_eq!(image.name, bench.harness.image(TestImage::Full));
    assert!(image.id.starts_with("sha256:"), "{}", image.id);
    let mut expected = full_config();
    expected.exposed.sort_unstable();
    let mut config = image.config;
    config.exposed.sort_unstable();
    assert_eq!(config, expected);
}

pub(super) async fn an_image_with_an_init_is_unfit(bench: Bench) {
    let name = bench.harness.image(TestImage::Init);
    let progress = watch::Sender::new(PullProgress::default());
    let error = bench.runtime.image(&name, Pull::Missing, &progress).await.expect_err("an init");
    assert!(matches!(&error, ImageError::Unfit { detail, .. } if detail.contains("/sbin/init")), "{error}");
}

/// With a pull, without, and many times at once.
pub(super) async fn a_missing_image_fails_within_seconds(bench: Bench) {
    let name = bench.harness.image(TestImage::Missing);
    let began = Instant::now();
    let progress = watch::Sender::new(PullProgress::default());
    let asked = (0..50).map(|number| {
        let pull = if number % 2 == 0 { Pull::Missing } else { Pull::Never };
        bench.runtime.image(&name, pull, &progress)
    });
    for answer in join_all(asked).await {
        let error = answer.expect_err("a missing image");
        assert!(matches!(error, ImageError::NotFound { .. }), "{error}");
        assert!(error.to_string().contains(name.as_str()), "{error}");
    }
    assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
}

//! Images of URLs, from a web server of the test's own.

use testyard_agent::Ahead;
use testyard_agent::observed::{MadeState, Phase};
use testyard_model::sliver_type::RuntimeKind;
use testyard_testkit::web::Web;

use crate::world::World;

fn web(files: &[(&str, &str)]) -> Web {
    let web = Web::new();
    files.iter().for_each(|(path, text)| web.put(path, *text));
    web
}

fn world(nodes: u8, url: &str) -> World {
    let mut world = World::new(nodes);
    for node in &mut world.slice.nodes {
        node.image = url.parse().unwrap();
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_slice_share_one_download_and_one_build() {
    let web = web(&[("/Dockerfile", "FROM debian:12\nRUN make\n")]);
    let mut world = world(5, &web.url("/Dockerfile"));
    let mut running = world.start().await;
    let seen = running.until_phase(Phase::Ready).await;
    assert_eq!((web.asked().len(), world.runtime.builds()), (1, 1));
    assert_eq!(world.runtime.pulls(&"debian:12".parse().unwrap()), 1, "what it begins with is there first");
    assert_eq!(seen.images.len(), 1);
    assert_eq!(seen.images[0].state, MadeState::Made);
    assert!(seen.images[0].log.contains("RUN make"), "{}", seen.images[0].log);
    let ids: Vec<_> = seen.nodes.iter().map(|node| node.image.as_ref().unwrap().id.clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // One node goes, the image stays; with the last one it goes too.
    world.change(&running, |slice| slice.nodes.truncate(1)).await;
    running.until("smaller", |slice| slice.nodes.len() == 1).await;
    assert_eq!(world.runtime.made_images().len(), 1);
    world.change(&running, |slice| slice.nodes.clear()).await;
    running.until("gone", |slice| slice.nodes.is_empty()).await;
    until(|| world.runtime.made_images().is_empty()).await;
    world.assert_nothing_left();
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_come_ahead_of_their_nodes() {
    let mut world = World::new(0);
    let mut running = world.start().await;
    let image = "debian:12".parse().unwrap();
    let runtime = RuntimeKind::Fake;
    running.host.ahead(vec![
        Ahead { runtime, image: "debian:12".parse().unwrap() },
        Ahead { runtime: RuntimeKind::Docker, image: "nobody:1".parse().unwrap() },
    ]);
    until(|| world.runtime.pulls(&image) == 1).await;
    world.change(&running, |slice| slice.nodes = World::new(2).slice.nodes).await;
    running.until_phase(Phase::Ready).await;
    assert_eq!(world.runtime.pulls(&image), 1);
    assert_eq!(world.runtime.pulls(&"nobody:1".parse().unwrap()), 0);
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_urls_come_ahead_of_their_nodes() {
    let web = web(&[("/Dockerfile", "FROM debian:12\nRUN make\n")]);
    let mut world = World::new(0);
    let mut running = world.start().await;
    let ahead = |path: &str| Ahead { runtime: RuntimeKind::Fake, image: web.url(path).parse().unwrap() };
    running.host.ahead(vec![ahead("/Dockerfile"), ahead("/Dockerfile"), ahead("/nowhere")]);
    until(|| web.asked().len() == 2).await;
    assert_eq!(world.runtime.builds(), 0, "a build has the place of its node");
    let nodes = |path: &str| self::world(2, &web.url(path)).slice.nodes;
    world.change(&running, |slice| slice.nodes = nodes("/Dockerfile")).await;
    running.until_phase(Phase::Ready).await;
    assert_eq!((web.asked().len(), world.runtime.builds()), (2, 1));
    // What is there is not fetched again.
    running.host.ahead(vec![ahead("/Dockerfile")]);
    world.change(&running, |slice| slice.nodes.clear()).await;
    running.until("gone", |slice| slice.nodes.is_empty()).await;
    // What could not be fetched is tried again for whoever asks, who is told.
    world.change(&running, |slice| slice.nodes = nodes("/nowhere")).await;
    let seen = running.until_phase(Phase::Failed).await;
    assert!(seen.nodes[0].problem.as_ref().unwrap().contains("404"), "{seen:#?}");
    assert_eq!(web.asked().len(), 3);
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_keeps_what_it_has_when_the_url_changes() {
    let web = web(&[("/Dockerfile", "FROM debian:12\nRUN one\n")]);
    let mut world = world(2, &web.url("/Dockerfile"));
    let second = world.slice.nodes.pop().unwrap();
    let mut running = world.start().await;
    let first = running.until_phase(Phase::Ready).await.nodes[0].image.clone();
    web.put("/Dockerfile", "FROM debian:12\nRUN two\n");
    // A node that comes later, and a reload, are like what is there; so after the agent has been away.
    world.change(&running, |slice| slice.nodes.push(second)).await;
    let seen = running
        .until("both", |slice| {
            slice.nodes.len() == 2 && slice.nodes.iter().all(|node| node.phase == Phase::Ready)
        })
        .await;
    assert_eq!(seen.nodes[1].image, first);
    running.shut_down().await;
    let mut running = world.start().await;
    world.change(&running, |slice| slice.nodes[1].disk += 1).await;
    let seen = running
        .until("reloaded", |slice| {
            slice.nodes.iter().all(|node| node.phase == Phase::Ready)
                && slice.nodes.get(1).is_some_and(|node| node.disk == 1)
        })
        .await;
    assert_eq!(seen.nodes[1].image, first);
    assert_eq!((web.asked().len(), world.runtime.builds()), (1, 1));
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_is_said_once_for_all() {
    let digest = "0".repeat(64);
    let big = "x".repeat(2 << 20);
    let web = web(&[
        ("/fails", "FROM debian:12\nRUN echo so far\nRUN false\n"),
        ("/adds", "FROM debian:12\nADD http://169.254.169.254/x /\n"),
        ("/page", "<html>"),
        ("/big", &big),
    ]);
    for (url, why) in [
        (
            web.url("/fails"),
            "step 2/2: RUN false: returned a non-zero code: 1; its output ends with:\nRUN echo so far\nRUN false",
        ),
        (web.url("/adds"), "its Dockerfile is not taken: line 2: ADD: URLs are not fetched"),
        (web.url("/page"), "it is a web page"),
        (web.url("/big"), "it has more than the 1048576 bytes that may be downloaded"),
        (web.url("/nowhere"), "127.0.0.1 answers with status 404"),
        (format!("{}#sha256={digest}", web.url("/page")), "which is not what the URL asks for"),
        (
            format!("http://127.0.0.2:{}/page", web.port()),
            "127.0.0.2 is at 127.0.0.2, which is not a public address",
        ),
    ] {
        let world = world(3, &url);
        let mut running = world.start().await;
        let before = web.asked().len();
        let seen = running.until_phase(Phase::Failed).await;
        for node in &seen.nodes {
            let problem = node.problem.as_deref().unwrap_or_default();
            assert!(
                problem.contains(why) && problem.starts_with(&format!("image {url}: ")),
                "{url}: {problem}"
            );
            assert!(problem.ends_with("geni_restart tries it again"), "{problem}");
        }
        assert!(web.asked().len() - before <= 1, "{url}: {:?}", web.asked());
        assert_eq!(world.runtime.made_images(), []);
        assert_eq!(world.fabric.attachments(), [], "{url}");
        running.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_nobody_wants_any_more_ends() {
    let web = web(&[("/Dockerfile", "FROM debian:12\nRUN wait\n")]);
    let mut world = world(2, &web.url("/Dockerfile"));
    let mut running = world.start().await;
    let builds = |slice: &testyard_agent::observed::Slice| {
        slice.nodes.iter().any(|node| node.making.as_deref().is_some_and(|step| step.contains("RUN wait")))
    };
    running.until("building", builds).await;
    assert_eq!(world.fabric.attachments().len(), 1, "in the place of a node");
    world.change(&running, |slice| slice.nodes.clear()).await;
    running.until("gone", |slice| slice.nodes.is_empty()).await;
    until(|| world.fabric.attachments().is_empty()).await;
    assert_eq!(world.runtime.made_images(), []);
    world.assert_nothing_left();
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_slice_does_not_end_its_build() {
    let web = web(&[("/Dockerfile", "FROM debian:12\nRUN wait\n")]);
    let mut world = world(2, &web.url("/Dockerfile"));
    let mut running = world.start().await;
    running
        .until("building", |slice| {
            slice
                .nodes
                .iter()
                .any(|node| node.making.as_deref().is_some_and(|step| step.contains("RUN wait")))
        })
        .await;
    world.change(&running, |slice| slice.nodes.iter_mut().for_each(|node| node.accounts_revision += 1)).await;
    running.until("told", |slice| slice.revision.0 >= 2).await;
    world.runtime.release_builds();
    running.until_phase(Phase::Ready).await;
    assert_eq!((web.asked().len(), world.runtime.builds()), (1, 1));
    running.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_has_so_many_and_no_more() {
    let files: Vec<(String, String)> =
        (0..4).map(|number| (format!("/{number}"), format!("FROM debian:12\nRUN {number}\n"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let web = web(&files);
    let mut world = World::new(4);
    for (number, node) in world.slice.nodes.iter_mut().enumerate() {
        node.image = web.url(&format!("/{number}")).parse().unwrap();
    }
    let mut running = world.start().await;
    let ended = |node: &testyard_agent::observed::Node| matches!(node.phase, Phase::Ready | Phase::Failed);
    let seen =
        running.until("all ended", |slice| slice.nodes.len() == 4 && slice.nodes.iter().all(ended)).await;
    let failed: Vec<_> = seen.nodes.iter().filter(|node| node.phase == Phase::Failed).collect();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0].problem.as_deref().unwrap().contains("has 3 images of URLs"),
        "{:?}",
        failed[0].problem
    );
    running.shut_down().await;
}

/// Waits for what happens in the background and tells nobody.
async fn until(mut is: impl FnMut() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect("in time");
}

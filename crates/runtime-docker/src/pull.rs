//! Pulls: one per image at a time, shared by all who want it, bounded in time, remembered for a moment when failed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;
use testyard_model::image::ImageName;
use testyard_runtime::{ImageError, PullProgress};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::DockerConfig;
use crate::engine::{Engine, Fault};
use crate::login;

/// The pulls under way, and those that failed a moment ago.
#[derive(Default)]
pub(crate) struct Pulls {
    under_way: Mutex<HashMap<String, watch::Receiver<State>>>,
}

#[derive(Clone, Default)]
struct State {
    progress: PullProgress,
    ended: Option<Ended>,
}

#[derive(Clone)]
struct Ended {
    at: Instant,
    result: Result<(), ImageError>,
}

impl Pulls {
    /// Pulls an image, or waits for the pull of it that is under way.
    pub(crate) async fn pull(
        &self,
        engine: &Arc<Engine>,
        config: &DockerConfig,
        name: &ImageName,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<(), ImageError> {
        let mut state = self.join(engine, config, name);
        loop {
            let now = state.borrow_and_update().clone();
            progress.send_replace(now.progress);
            if let Some(ended) = now.ended {
                return ended.result;
            }
            if state.changed().await.is_err() {
                return Err(Fault::Unreachable("the pull has been given up".to_owned()).of_image(name));
            }
        }
    }

    fn join(&self, engine: &Arc<Engine>, config: &DockerConfig, name: &ImageName) -> watch::Receiver<State> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // What has worked need not be remembered: the image is there, or has been removed since.
        under_way.retain(|_, state| {
            // A sender that is gone without a result has been given up (its task's runtime has ended).
            let given_up = state.has_changed().is_err();
            match &state.borrow().ended {
                None => !given_up,
                Some(Ended { result: Ok(()), .. }) => false,
                Some(Ended { at, .. }) => at.elapsed() < config.pull_memory,
            }
        });
        if let Some(state) = under_way.get(&name.pinned()) {
            return state.clone();
        }
        let (sender, receiver) = watch::channel(State::default());
        under_way.insert(name.pinned(), receiver.clone());
        let (engine, config, name) = (Arc::clone(engine), config.clone(), name.clone());
        tokio::spawn(async move {
            let pull = run(&engine, &config, &name, &sender);
            let result = match tokio::time::timeout(config.pull_timeout, pull).await {
                Ok(result) => result,
                Err(_) => Err(gave_up(&name, "it is not here after", config.pull_timeout)),
            };
            if let Err(error) = &result {
                tracing::warn!(image = %name, %error, "pull failed");
            }
            sender.send_modify(|state| state.ended = Some(Ended { at: Instant::now(), result }));
        });
        receiver
    }
}

async fn run(
    engine: &Engine,
    config: &DockerConfig,
    name: &ImageName,
    state: &watch::Sender<State>,
) -> Result<(), ImageError> {
    let client = engine.client().await.map_err(|fault| fault.of_image(name))?;
    // The engine takes a name without a tag for all its tags.
    let options = CreateImageOptionsBuilder::new().from_image(&name.pinned()).build();
    let mut messages = client.create_image(Some(options), None, login::of(&config.registries, name)?);
    let mut layers = Layers::default();
    let mut broken_off = false;
    let mut deadline = Instant::now() + config.pull_first_sign;
    loop {
        let message = match tokio::time::timeout_at(deadline, messages.next()).await {
            Err(_) if layers.is_empty() => {
                return Err(gave_up(name, "its registry has not answered within", config.pull_first_sign));
            }
            Err(_) if broken_off => {
                return Err(gave_up(
                    name,
                    "its registry breaks off while it sends the image, for",
                    config.pull_silence,
                ));
            }
            Err(_) => return Err(gave_up(name, "its registry has sent nothing for", config.pull_silence)),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => return Err(Fault::from(error).of_image(name)),
            Ok(Some(Ok(message))) => message,
        };
        broken_off |= message.status.as_deref().is_some_and(|status| status.starts_with("Retrying"));
        if layers.update(&message) {
            // What is here must still be checked and unpacked, which is silent and takes its time on slow disks.
            let patience = if layers.all_here() { 6 } else { 1 };
            deadline = Instant::now() + config.pull_silence * patience;
            state.send_modify(|state| state.progress = layers.progress());
        }
    }
}

fn gave_up(name: &ImageName, what: &str, limit: Duration) -> ImageError {
    let detail = format!(
        "{what} {} s: load the image with `docker load`, or configure a registry that answers",
        limit.as_secs_f32()
    );
    ImageError::NotFound { name: name.clone(), detail }
}

/// The layers of an image that is being pulled.
#[derive(Default)]
struct Layers {
    layers: HashMap<String, Layer>,
}

#[derive(Default)]
struct Layer {
    progress: PullProgress,
    here: bool,
}

impl Layers {
    fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    fn all_here(&self) -> bool {
        !self.is_empty() && self.layers.values().all(|layer| layer.here)
    }

    fn progress(&self) -> PullProgress {
        self.layers.values().fold(PullProgress::default(), |sum, layer| PullProgress {
            done: sum.done + layer.progress.done,
            total: sum.total + layer.progress.total,
        })
    }

    /// Takes in what the engine says; gives whether it is progress.
    fn update(&mut self, message: &CreateImageInfo) -> bool {
        let status = message.status.as_deref().unwrap_or_default();
        // The engine counts down the seconds to its next try.
        if status.starts_with("Retrying") {
            return false;
        }
        let Some(id) = message.id.clone().filter(|_| !status.starts_with("Pulling from")) else {
            return true;
        };
        let layer = self.layers.entry(id).or_default();
        match status {
            "Downloading" => {
                let number =
                    |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
                let detail = message.progress_detail.clone().unwrap_or_default();
                let done = number(detail.current);
                layer.progress = PullProgress { done, total: number(detail.total).max(done) };
            }
            "Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete"
            | "Already exists" => {
                layer.here = true;
                layer.progress.done = layer.progress.total;
            }
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    fn message(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn progress_is_the_sum_of_the_layers() {
        let mut layers = Layers::default();
        layers.update(&message("12", "Pulling from library/debian", 0, 0));
        assert!(layers.is_empty(), "a tag is no layer");
        layers.update(&message("a", "Pulling fs layer", 0, 0));
        layers.update(&message("b", "Downloading", 10, 100));
        layers.update(&message("a", "Downloading", 5, 50));
        assert_eq!(layers.progress(), PullProgress { done: 15, total: 150 });
        assert!(!layers.all_here());
        layers.update(&message("a", "Download complete", 0, 0));
        layers.update(&message("b", "Extracting", 1, 999));
        assert_eq!(layers.progress(), PullProgress { done: 150, total: 150 });
        assert!(layers.all_here());
    }

    #[test]
    fn counting_down_is_no_progress() {
        assert!(!Layers::default().update(&message("a", "Retrying in 5 seconds", 0, 0)));
    }
}

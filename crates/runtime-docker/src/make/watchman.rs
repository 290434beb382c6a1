//! Bounds that the engine's builds do not have: processes, and what is written.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use bollard::models::ContainerUpdateBody;
use bollard::query_parameters::InspectContainerOptions;
use testyard_model::image::Content;
use testyard_runtime::{MakeError, MakeLimits};

use super::failed;
use crate::runtime::DockerRuntime;
use crate::usage;

/// How often it looks. What is written in between is beyond the bound.
const ROUND: Duration = Duration::from_millis(250);

/// The most files of one step that are counted.
const MOST_FILES: usize = 500_000;

/// Watches the steps of a build, for ever; ends with why it must end.
pub(super) async fn watch(runtime: &DockerRuntime, content: &Content, limits: MakeLimits) -> MakeError {
    let traces = runtime.traces();
    let mut steps: HashMap<String, Step> = HashMap::new();
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let Ok(builders) = traces.builders(Some(content)).await else { continue };
        for builder in builders {
            if !steps.contains_key(&builder.id)
                && let Some(step) = Step::of(runtime, &builder.id).await
            {
                steps.insert(builder.id.clone(), step);
            }
            let Some(step) = steps.get_mut(&builder.id) else { continue };
            if builder.runs && !step.is_bounded {
                step.is_bounded = bound(runtime, &builder.id, limits.pids).await;
            }
            let places = step.places.clone();
            let count = move || places.iter().map(|place| usage::count(place, MOST_FILES)).sum();
            if let Ok(written) = tokio::task::spawn_blocking(count).await {
                step.written = step.written.max(written);
            }
        }
        let written: u64 = steps.values().map(|step| step.written).sum();
        if written > limits.disk {
            return MakeError::Failed(format!(
                "its steps write more than the allowed {} MiB",
                limits.disk >> 20
            ));
        }
    }
}

/// One step: a container of the engine's.
struct Step {
    places: Vec<PathBuf>,
    written: u64,
    is_bounded: bool,
}

impl Step {
    async fn of(runtime: &DockerRuntime, id: &str) -> Option<Self> {
        let inspected = runtime
            .engine
            .call(async |docker| docker.inspect_container(id, None::<InspectContainerOptions>).await)
            .await;
        let places = usage::places(&inspected.ok()?);
        Some(Self { places, written: 0, is_bounded: false })
    }
}

async fn bound(runtime: &DockerRuntime, id: &str, pids: u32) -> bool {
    let body = ContainerUpdateBody { pids_limit: Some(pids.into()), ..ContainerUpdateBody::default() };
    let bounded = runtime.engine.call(async |docker| docker.update_container(id, body).await).await;
    match bounded {
        Ok(_) => true,
        Err(fault) => {
            // It has ended already, perhaps.
            tracing::debug!(id, reason = %failed(fault), "a step of a build has no bound of processes yet");
            false
        }
    }
}

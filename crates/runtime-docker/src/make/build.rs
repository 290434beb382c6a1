//! Building from a context, by the engine's builder.

use bollard::body_try_stream;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion};
use futures_util::StreamExt as _;
use testyard_model::image::ImageName;
use testyard_runtime::{MakeError, MakeLimits, MakeLog, Order, Recipe};
use tokio_util::io::ReaderStream;

use super::holder::Holder;
use super::{failed, watchman};
use crate::engine::Fault;
use crate::mark;
use crate::runtime::DockerRuntime;

const CHUNK: usize = 256 << 10;

/// How the engine counts processor time, in microseconds.
const PERIOD: i32 = 100_000;

/// Builds it. Gives the number of the image.
pub(super) async fn run(runtime: &DockerRuntime, order: Order<'_>) -> Result<String, MakeError> {
    let Order { content, recipe, limits, place, name_servers, log, archive } = order;
    log.step("preparing the build");
    if let Recipe::Build { bases } = recipe {
        for base in bases {
            without_triggers(runtime, base).await?;
        }
    }
    let holder = Holder::start(runtime, content, name_servers).await?;
    let result = async {
        place.furnish(&holder.netns).await.map_err(|reason| {
            MakeError::Failed(format!("the build gets no network: {reason}"))
        })?;
        let archive = ReaderStream::with_capacity(tokio::fs::File::from_std(archive), CHUNK);
        let client = runtime.engine.client().await.map_err(failed)?.with_timeout(limits.time);
        let mut messages =
            std::pin::pin!(client.build_image(options(&holder.id, limits), None, Some(body_try_stream(archive))));
        let mut told = Told::new(log);
        let build = async {
            while let Some(message) = messages.next().await {
                match message {
                    Ok(message) => {
                        told.text(&message.stream.unwrap_or_default());
                        told.id = message.aux.and_then(|aux| aux.id).or(told.id.take());
                    }
                    Err(error) => {
                        return Err(match Fault::from(error) {
                            // Of a step that failed the engine says which.
                            Fault::Answer { text, .. } => MakeError::Failed(text),
                            other => failed(other),
                        });
                    }
                }
            }
            told.id.take().ok_or_else(|| MakeError::Failed("the engine ended the build without an image".to_owned()))
        };
        // What loses is dropped: an engine whose client is gone ends the build.
        tokio::select! {
            built = build => built,
            why = watchman::watch(runtime, content, limits) => Err(why),
            () = tokio::time::sleep(limits.time) => {
                Err(MakeError::Failed(format!("it takes longer than the allowed {} s", limits.time.as_secs())))
            }
        }
    }
    .await;
    place.leave().await;
    holder.end().await;
    if let Err(error) = &result {
        tracing::info!(%content, %error, "a build failed");
        runtime.traces().settle(content).await;
    }
    result
}

/// Refuses an image that brings instructions of its own into a build: they could have the engine fetch something in the host's
/// network, which nobody has read.
async fn without_triggers(runtime: &DockerRuntime, base: &ImageName) -> Result<(), MakeError> {
    let inspected = runtime.engine.call(async |docker| docker.inspect_image(&base.pinned()).await).await;
    let triggers = inspected.map_err(failed)?.config.and_then(|config| config.on_build).unwrap_or_default();
    match triggers.first() {
        None => Ok(()),
        Some(_) => Err(MakeError::Failed(format!(
            "{base} has ONBUILD instructions, which are not followed: begin with an image without any"
        ))),
    }
}

fn options(holder: &str, limits: MakeLimits) -> BuildImageOptions {
    // The engine's API has more, its client not.
    let memory = i32::try_from(limits.memory).unwrap_or(i32::MAX);
    let quota = i64::from(limits.millicores) * i64::from(PERIOD) / 1000;
    BuildImageOptionsBuilder::new()
        .dockerfile("Dockerfile")
        .networkmode(&format!("container:{holder}"))
        .memory(memory)
        .memswap(memory)
        .cpuperiod(PERIOD)
        .cpuquota(i32::try_from(quota).unwrap_or(i32::MAX))
        .rm(true)
        .forcerm(true)
        .version(BuilderVersion::BuilderV1)
        .build()
}

/// What the engine says, as people want to read it.
struct Told<'l> {
    log: &'l MakeLog,
    /// A line whose end has not come yet.
    open: String,
    id: Option<String>,
}

impl<'l> Told<'l> {
    fn new(log: &'l MakeLog) -> Self {
        Self { log, open: String::new(), id: None }
    }

    fn text(&mut self, text: &str) {
        const LONGEST: usize = 4096;
        for part in text.split_inclusive(['\n', '\r']) {
            self.open.push_str(part);
            if part.ends_with(['\n', '\r']) || self.open.len() > LONGEST {
                let line = std::mem::take(&mut self.open);
                self.line(line.trim_end_matches(['\n', '\r']));
            }
        }
    }

    fn line(&self, line: &str) {
        if let Some((number, instruction)) =
            line.strip_prefix("Step ").and_then(|rest| rest.split_once(" : "))
        {
            // Our own mark is nobody's step.
            if !instruction.starts_with(&format!("LABEL {}=", mark::BUILD)) {
                self.log.step(format!("step {number}: {}", shortened(instruction)));
                self.log.line(line);
            }
        } else if !is_noise(line) {
            self.log.line(line);
        }
    }
}

/// What only those who know the engine's insides can use.
fn is_noise(line: &str) -> bool {
    line.is_empty()
        || line.starts_with(" ---> ")
        || line.starts_with("Removing intermediate container ")
        || line.starts_with("Successfully built ")
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read() {
        let log = MakeLog::default();
        let mut told = Told::new(&log);
        for text in [
            "Step 1/3 : FROM debian:12",
            "\n",
            " ---> 9d4bfdc4a7fd\n",
            "Step 2/3 : LABEL testyard.build=main:00",
            "\n",
            "Step 3/3 : RUN make",
            "\n",
            " ---> Running in 0ad743a9f214\n",
            "com",
            "piling\r\ndone\n",
            "Removing intermediate container 0ad743a9f214\n",
        ] {
            told.text(text);
        }
        assert_eq!(log.text(), "Step 1/3 : FROM debian:12\nStep 3/3 : RUN make\ncompiling\ndone\n");
        assert_eq!(log.current(), "step 3/3: RUN make");
    }

    #[test]
    fn bounds_reach_the_engine() {
        let limits = MakeLimits {
            time: std::time::Duration::from_secs(1),
            memory: 8 << 30,
            millicores: 1500,
            pids: 10,
            disk: 1,
        };
        let options = options("abc", limits);
        assert_eq!((options.memory, options.memswap), (Some(i32::MAX), Some(i32::MAX)));
        assert_eq!((options.cpuperiod, options.cpuquota), (Some(100_000), Some(150_000)));
        assert_eq!(options.networkmode.as_deref(), Some("container:abc"));
    }
}

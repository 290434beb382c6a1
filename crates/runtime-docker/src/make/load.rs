//! Loading an archive.

use bollard::query_parameters::ImportImageOptionsBuilder;
use futures_util::StreamExt as _;
use testyard_runtime::{MakeError, Order};
use tokio_util::io::ReaderStream;

use super::failed;
use crate::engine::Fault;
use crate::runtime::DockerRuntime;

const CHUNK: usize = 256 << 10;

/// Loads it. Gives the number of the image.
pub(super) async fn run(runtime: &DockerRuntime, order: Order<'_>) -> Result<String, MakeError> {
    order.log.step("loading");
    let time = order.limits.time;
    let load = async {
        let client = runtime.engine.client().await.map_err(failed)?.with_timeout(time);
        let archive = ReaderStream::with_capacity(tokio::fs::File::from_std(order.archive), CHUNK);
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let mut messages = std::pin::pin!(client.import_image_stream(options, archive, None));
        let mut id = None;
        while let Some(message) = messages.next().await {
            let text = message.map_err(|error| failed(Fault::from(error)))?.stream.unwrap_or_default();
            text.lines().for_each(|line| order.log.line(line));
            if let Some((_, number)) = text.split_once("Loaded image ID: ") {
                id = Some(number.trim().to_owned());
            }
        }
        id.ok_or_else(|| MakeError::Failed("the engine has not said which image it has loaded".to_owned()))
    };
    match tokio::time::timeout(time, load).await {
        Ok(result) => result,
        Err(_) => Err(MakeError::Failed(format!("the engine has not loaded it within {} s", time.as_secs()))),
    }
}

//! Images made from a root file system.

use bollard::body_try_stream;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::TryStreamExt as _;
use testyard_model::image::ImageName;
use testyard_runtime::{Image, ImageError};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use crate::engine::{Engine, Fault};
use crate::image;

/// A root file system did not become an image.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The image cannot have this name.
    #[error("{0} cannot be the name of an imported image: use a name with a tag and without a digest")]
    Name(ImageName),
    /// The engine did not take it.
    #[error("import of {name} failed: {detail}")]
    Engine {
        /// The image.
        name: ImageName,
        /// What the engine said.
        detail: String,
    },
    /// It was taken, but is not there.
    #[error("import failed")]
    Image(#[from] ImageError),
}

pub(crate) async fn rootfs(
    engine: &Engine,
    name: &ImageName,
    tar: impl AsyncRead + Send + 'static,
    changes: &[&str],
) -> Result<Image, ImportError> {
    let pinned = name.pinned();
    if pinned.contains('@') {
        return Err(ImportError::Name(name.clone()));
    }
    let (repo, tag) = pinned.rsplit_once(':').ok_or_else(|| ImportError::Name(name.clone()))?;
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(repo)
        .tag(tag)
        .changes(changes.iter().map(ToString::to_string).collect())
        .build();
    let failed = |fault: Fault| ImportError::Engine { name: name.clone(), detail: fault.text() };
    // The engine answers when it has taken everything, however long that is.
    let client = engine.client().await.map_err(failed)?.with_timeout(std::time::Duration::from_secs(30 * 60));
    let body = body_try_stream(ReaderStream::with_capacity(tar, 64 << 10));
    client
        .create_image(Some(options), Some(body), None)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
        .map_err(|error| failed(error.into()))?;
    let found = image::look(engine, name).await?;
    let missing = || failed(Fault::Odd("it is not there afterwards".to_owned()));
    Ok(found.ok_or_else(missing)?.image)
}

//! Images from URLs: what has been fetched is looked at, judged and made ready for an engine, within limits. Blocking; nothing
//! here asks a network or an engine.
//!
//! ```text
//! a file ─► sort ─┬─ a Dockerfile ───────────────────────────────┐
//!                 └─ tar, tar.gz, zip ─► contents ─┬─ a Dockerfile in it ─► dockerfile ─► Recipe::Build, a context
//!                                                  └─ a saved image ──────► saved ──────► Recipe::Load, an archive
//! ```
//!
//! Nothing of an archive is ever written under a name of its own: contents go into one file without a name, and what the engine
//! gets is written anew from what was understood.

#![forbid(unsafe_code)]

mod contents;
mod context;
mod dockerfile;
#[doc(hidden)]
pub mod fuzzing;
mod ignore;
mod saved;
mod sort;

use std::fs::File;
use std::io;
use std::path::PathBuf;

use testyard_fetch::archive::ArchiveError;
use testyard_model::image::ImageName;

pub use dockerfile::{DockerfileError, MOST_INSTRUCTIONS};
pub use ignore::IgnoreError;
pub use saved::SavedError;

use contents::Contents;
use sort::Sort;

/// What of a fetched file may be taken, and where to work on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes that an archive, or the layers of an image, may unpack to.
    pub unpacked: u64,
    /// A folder for files without names.
    pub folder: PathBuf,
}

/// What an engine is to do with a tar archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// To build what its `Dockerfile` says.
    Build {
        /// The images that it begins with, or copies from: they must be there first.
        bases: Vec<ImageName>,
    },
    /// To load the one image in it, which has no name there.
    Load,
}

/// What is ready for an engine.
#[derive(Debug)]
pub struct Prepared {
    /// What to do.
    pub recipe: Recipe,
    /// With what: a tar archive, to be read from its beginning.
    pub archive: File,
}

/// Nothing can be made of a file.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It is something else.
    #[error(
        "it is {0}: give the URL of a Dockerfile, of a zip or tar archive that has one, or of an image saved as a tar archive"
    )]
    Kind(String),
    /// Its archive is bad, or too much.
    #[error("its archive is not taken")]
    Archive(#[from] ArchiveError),
    /// There is no Dockerfile in it, or not one alone.
    #[error("{0}")]
    Layout(String),
    /// Its Dockerfile is not for us.
    #[error("its Dockerfile is not taken")]
    Dockerfile(#[from] DockerfileError),
    /// Its `.dockerignore` is none.
    #[error("its .dockerignore is not taken")]
    Ignore(#[from] IgnoreError),
    /// Its image is not for us.
    #[error("the image that is saved in it is not taken")]
    Saved(#[from] SavedError),
    /// There is no room to work.
    #[error("there is no room on the host")]
    Room(#[source] io::Error),
}

/// Makes a fetched file ready for an engine.
///
/// `label` is one that everything made by the way gets, `name=value`; `architecture` is the host's, in the words of images.
///
/// # Errors
/// [`PrepareError`].
pub fn prepare(
    file: &mut File,
    limits: &Limits,
    label: &str,
    architecture: &str,
) -> Result<Prepared, PrepareError> {
    match sort::sort(file).map_err(PrepareError::Room)? {
        Sort::Text(text) => context::of_dockerfile(&text, label, limits),
        Sort::Archive(kind) => {
            let contents = Contents::unpack(kind, file, limits)?;
            if saved::is_one(&contents) {
                let archive = saved::normalised(&contents, limits, architecture)?;
                return Ok(Prepared { recipe: Recipe::Load, archive });
            }
            context::of_archive(&contents, label, limits)
        }
        Sort::Other(what) => Err(PrepareError::Kind(what)),
    }
}

/// A file without a name.
fn draft(limits: &Limits) -> Result<File, PrepareError> {
    tempfile::tempfile_in(&limits.folder).map_err(PrepareError::Room)
}

#[cfg(test)]
mod tests;

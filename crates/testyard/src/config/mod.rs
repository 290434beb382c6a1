//! The configuration: a TOML file, read at start and on SIGHUP, never written after `testyard init`.
//!
//! ```text
//! text ─ toml ─► spanned tables ─ sections ─► Settings          (typed; every rule has been checked)
//!                     │              └──────► Vec<Diagnostic>   (all that is wrong, with line, column and key)
//! ```
//!
//! Nothing else of the program sees TOML. A file with a mistake is refused whole, with every mistake in it.

mod hosts;
mod reader;
mod sections;
mod settings;
mod sliver_types;
pub mod template;
mod value;

use std::fmt;
use std::path::{Path, PathBuf};

use testyard_model::diagnostic::Diagnostic;

pub use settings::{
    Agent, Agents, DEFAULT_IMAGE, Host, Leases, Limits, Location, Network, Paths, Pool, Settings, Testbed,
    Tls,
};
pub use value::{format_duration, parse_duration};

/// The name of the file in Testyard's folder.
pub const FILE_NAME: &str = "testyard.toml";

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}{}", path.display(), if source.kind() == std::io::ErrorKind::NotFound {
        "; `testyard init` writes one, --config names another"
    } else { "" })]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{0}")]
    Invalid(Mistakes),
}

/// Everything that is wrong in one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// Which file.
    pub path: PathBuf,
    /// What, where; at least one.
    pub found: Vec<Diagnostic>,
}

impl fmt::Display for Mistakes {
    /// A line each, in the form that editors jump to: `FILE:LINE:COLUMN: KEY: what is wrong`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.found.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            let gap = if mistake.position.is_some() { ":" } else { ": " };
            write!(f, "{separator}{}{gap}{mistake}", self.path.display())?;
        }
        Ok(())
    }
}

/// Reads a configuration file.
///
/// # Errors
/// [`ConfigError`] if the file cannot be read, or with everything that is wrong in it.
pub fn load(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    parse(path, &text)
}

/// Reads the text of a configuration; `path` is what errors name, and where relative paths in it begin.
///
/// # Errors
/// [`ConfigError::Invalid`] with everything that is wrong in it.
pub fn parse(path: &Path, text: &str) -> Result<Settings, ConfigError> {
    let invalid = |found| ConfigError::Invalid(Mistakes { path: path.to_owned(), found });
    let tables = reader::parse(text).map_err(|mistake| invalid(vec![mistake]))?;
    let mistakes = reader::Mistakes::new(text);
    let folder = path.parent().unwrap_or(Path::new("."));
    let settings = sections::read(&reader::Section::root(&tables, &mistakes), folder);
    match (settings, mistakes.into_inner()) {
        (Some(settings), found) if found.is_empty() => Ok(settings),
        (_, found) => Err(invalid(found)),
    }
}

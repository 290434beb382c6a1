//! A topology in any language as what a testbed is asked: an RSpec by its API, the own format over its local socket.

use std::path::Path;

use testyard_formats::export::{export, export_for};
use testyard_formats::language::Language;

use super::file::Source;
use super::reading::{Reading, told};
use super::testbed::{Surroundings, Testbed};
use super::{file, remarks};
use crate::cli::ConfigArgument;
use crate::exit::Failure;

/// The RSpec of a file. One that is an RSpec already is handed on as it is: its testbed is the one to judge it. Remarks go to
/// the standard error.
///
/// # Errors
/// If the file cannot be read, is in no language, or is refused.
pub(crate) fn request(path: &Path, config: &ConfigArgument) -> Result<String, Failure> {
    let source = file::open(path, None)?;
    if source.language == Language::Rspec {
        return Ok(source.text);
    }
    let testbed = Testbed::load(config, &[])?;
    let around = testbed.surroundings();
    let import = match Reading::plain(config.clone()).read(&source, &around)? {
        Ok(import) => import,
        Err(refused) => return Err(told(&source, &refused.diagnostics)),
    };
    remarks::print(&source.name, Some(&source.text), &import.diagnostics);
    let written = export_for(&import.topology, Language::Rspec, around.site.sliver_types.first())
        .map_err(Failure::usage)?;
    remarks::print(&format!("{} as rspec", source.name), None, &written.losses);
    Ok(written.text)
}

/// A file in the own format, read for a testbed that was asked what it has. Remarks go to the standard error.
///
/// # Errors
/// If the file cannot be read, is in no language, or is refused.
pub(crate) fn own_format(
    path: &Path,
    reading: &Reading,
    testbed: &testyard_web::api::Testbed,
) -> Result<serde_json::Value, Failure> {
    let source = file::open(path, reading.language)?;
    own_format_of(&source, reading, &Surroundings::of(testbed)?)
}

/// The same for a file that is open.
pub(super) fn own_format_of(
    source: &Source,
    reading: &Reading,
    around: &Surroundings,
) -> Result<serde_json::Value, Failure> {
    let import = match reading.read(source, around)? {
        Ok(import) => import,
        Err(refused) => return Err(told(source, &refused.diagnostics)),
    };
    remarks::print(&source.name, Some(&source.text), &import.diagnostics);
    let written = export(&import.topology, Language::Json).map_err(Failure::usage)?;
    serde_json::from_str(&written.text).map_err(Failure::failed)
}

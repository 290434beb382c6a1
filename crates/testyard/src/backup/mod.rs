//! `testyard backup` and `testyard restore`: what a testbed cannot be made again without, as one file.
//!
//! ```text
//! backup:   store (a copy of one instant) + state/hosts.pem + Testyard's folder ─► archive ─► FILE
//! restore:  FILE ─► archive ─► judged, compared with what is there ─► STATE/restored ─► taken when serve opens its rooms
//! ```

mod archive;
mod files;
mod restore;

use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use testyard_controller::{copy_store, inspect_store};

use self::archive::{Contents, Manifest};
pub use self::restore::{Arguments as Restore, run as restore};
use crate::cli::ConfigArgument;
use crate::config;
use crate::exit::{Failure, Outcome};
use crate::progress;
use crate::serve::{DATABASE, hosts};

/// `testyard backup`
#[derive(Debug, Args)]
#[command(after_help = "Example: testyard backup /srv/backup/testyard-$(date +%F).tar\n\
    It may be made while the testbed runs. Private keys are in it: keep it as you keep those. What is on the disks of nodes is \
    not in it.")]
pub struct Arguments {
    /// The file to make, which must not be there yet; - is the standard output
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArgument,
}

/// Makes a backup.
///
/// # Errors
/// If there is no configuration or no store, or the file cannot be written; nothing is left of it then.
pub fn run(arguments: &Arguments) -> Outcome {
    let settings = config::load(&arguments.config.path())?;
    let standard = arguments.file == Path::new("-");
    if standard && io::stdout().is_terminal() {
        return Err(Failure::usage("private keys are in a backup: it is not printed on a terminal"));
    }
    let folder = tempfile::Builder::new().prefix("testyard-backup-").tempdir().map_err(Failure::failed)?;
    let (state, copy) = (&settings.paths.state, folder.path().join(DATABASE));
    let contents = progress::during("copying the store", || -> Result<Contents, Failure> {
        copy_store(&state.join(DATABASE), &copy).map_err(told)?;
        let mut contents = Contents::default();
        contents.add_store(copy);
        contents.add_key(state.join(hosts::AUTHORITY));
        contents.add_folder(arguments.config.folder().path()).map_err(Failure::failed)?;
        if arguments.config.is_named() {
            contents.add_configuration(arguments.config.path());
        }
        Ok(contents)
    })?;
    let summary = inspect_store(contents.store()).map_err(told)?;
    let manifest = Manifest::new(&settings.testbed, summary.schema, Timestamp::now());
    let write = |into: &mut dyn Write| contents.write(manifest, into).map_err(Failure::failed);
    if standard {
        write(&mut io::stdout().lock())?;
    } else {
        into_file(&arguments.file, write)?;
    }
    let slivers: u32 = summary.slices.values().sum();
    remark!("backed up: {} slices with {slivers} slivers, {} files", summary.slices.len(), contents.files());
    for outside in contents.outside(&settings) {
        remark!("not in it, since it is not in {}: {outside}", arguments.config.folder().path().display());
    }
    Ok(())
}

/// Writes a new file that appears whole or not at all, and that only its owner can read.
fn into_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Outcome) -> Outcome {
    let failed = |error: io::Error| Failure::failed(format!("{}: {error}", path.display()));
    if path.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!(
            "{} is there already: a backup is never written over",
            path.display()
        )));
    }
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let written = (|| {
        let options =
            || std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).clone();
        let mut file = io::BufWriter::new(options().open(&part).map_err(failed)?);
        write(&mut file)?;
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        // Not a rename: what somebody else has made meanwhile stays.
        std::fs::hard_link(&part, path).map_err(failed)
    })();
    let _ = std::fs::remove_file(&part);
    written
}

/// An error with what is behind it.
fn told(error: impl Into<anyhow::Error>) -> Failure {
    Failure::from(error.into())
}

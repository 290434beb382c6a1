//! `testyard restore`: a backup is judged, compared with what is there, and put in its place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use testyard_controller::{StoreSummary, inspect_store, make_ready};
use testyard_model::time;
use testyard_model::urn::{Urn, UserUrn};
use testyard_web::Client;

use super::archive::{self, Opened};
use super::told;
use crate::cli::ConfigArgument;
use crate::config::{self, Settings};
use crate::daemon::lock;
use crate::exit::{Failure, Kind, Outcome};
use crate::progress::{self, Screen};
use crate::serve::{DATABASE, hosts, restored};
use crate::{local, print};

/// `testyard restore`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    testyard restore testyard.tar --dry-run         what would become of each slice\n  \
    testyard restore testyard.tar --yes             without asking, while the testbed runs or not\n  \
    testyard restore testyard.tar --configuration   on a new machine: Testyard's folder too\n\
    What was there is kept, in the folder `replaced` of the state. Nodes that run and are in the backup run on, with their SSH \
    sessions; nodes that are not in it are removed.")]
pub struct Arguments {
    /// The backup; - is the standard input
    file: PathBuf,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write the files of Testyard's folder, too, that are not there
    #[arg(long)]
    configuration: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgument,
}

/// How long a server gets to begin anew.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is asked whether it has.
const ASK: Duration = Duration::from_millis(100);

/// What becomes of slices.
#[derive(Debug, Serialize)]
struct Effect {
    /// When the backup was made.
    taken: Timestamp,
    /// Slices that are only in the backup, with their slivers.
    come_back: BTreeMap<String, u32>,
    /// Slices that are only here.
    removed: BTreeMap<String, u32>,
    /// Slices that are in both: as they were.
    as_they_were: BTreeMap<String, u32>,
    /// Files that were written to Testyard's folder.
    written: Vec<PathBuf>,
    /// Files of it that stay as they are, though the backup has others.
    kept: Vec<PathBuf>,
    /// Whether a server runs with it now.
    serving: bool,
}

/// Restores a backup.
///
/// # Errors
/// If it is none, is another testbed's, nobody agrees, or the server does not come back; what was there is in its place then,
/// or told where it is.
pub fn run(arguments: &Arguments) -> Outcome {
    let folder = tempfile::Builder::new().prefix("testyard-restore-").tempdir().map_err(Failure::failed)?;
    let copy = folder.path().join(DATABASE);
    let opened = progress::during("reading the backup", || read(&arguments.file, &copy))?;
    let mut effect = Effect::new(&opened);
    let config = &arguments.config;
    if arguments.configuration && !arguments.dry_run {
        effect.write_folder(&opened, config)?;
    }
    let settings = config::load(&config.path()).map_err(|error| {
        let mut failure = Failure::from(error);
        if !arguments.configuration {
            failure.message += "; on a new machine, --configuration writes what the backup has";
        }
        failure
    })?;
    let (configured, stored) = (settings.testbed.authority.to_string(), &opened.manifest.authority);
    if configured != *stored {
        return Err(Failure::failed(format!(
            "the backup is of {stored}, and the configuration says {configured}: slivers would change their names"
        )));
    }
    let there = settings.paths.state.join(DATABASE);
    let here = if there.exists() { Some(inspect_store(&there)) } else { None };
    // A damaged store is what a backup is for.
    effect.compare(&inspect_store(&copy).map_err(told)?, here.as_ref().and_then(|here| here.as_ref().ok()));
    if arguments.dry_run {
        return effect.tell(arguments.json, true);
    }
    if !arguments.yes {
        effect.tell(false, true)?;
        agree(&opened.manifest.taken)?;
    }
    let detail = format!("backup of {}", time::format(opened.manifest.taken));
    let by = operator(&settings)?;
    let event_loop =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    event_loop.block_on(make_ready(&copy, &there, &by, Timestamp::now(), detail)).map_err(told)?;
    put_ready(&settings.paths.state, &copy, opened.key.as_deref())?;
    effect.serving = match lock::take(&settings.paths.run) {
        Ok(_held) => {
            restored::take_up(&settings.paths.state).map_err(Failure::failed)?;
            false
        }
        Err(_) => {
            event_loop.block_on(reopen(config))?;
            true
        }
    };
    effect.tell(arguments.json, false)
}

fn read(path: &Path, copy: &Path) -> Result<Opened, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
    if path == Path::new("-") {
        return archive::open(io::stdin().lock(), copy).map_err(|error| failed(&error));
    }
    let file = File::open(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    archive::open(BufReader::new(file), copy).map_err(|error| failed(&error))
}

fn agree(taken: &Timestamp) -> Outcome {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("this replaces the testbed's store; --yes says that you mean it"));
    }
    let question = format!("go back to the state of {}? [y/N] ", time::format(*taken));
    let _ = io::stderr().write_all(question.as_bytes());
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(Failure::failed)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was restored")),
    }
}

/// Who does this, for the audit trail: the user of this machine.
fn operator(settings: &Settings) -> Result<UserUrn, Failure> {
    let uid = nix::unistd::Uid::effective();
    let name = nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| format!("uid-{uid}"), |user| user.name);
    let by_sudo = std::env::var("SUDO_USER").ok().filter(|name| uid.is_root() && !name.is_empty());
    let urn = Urn::new(&settings.testbed.authority, "user", by_sudo.as_deref().unwrap_or(&name));
    urn.and_then(UserUrn::try_from).map_err(Failure::failed)
}

/// Puts what is restored where the server takes it from, all at once.
fn put_ready(state: &Path, copy: &Path, key: Option<&[u8]>) -> Outcome {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| Failure::failed(format!("{path}: {error}"))
    };
    std::fs::create_dir_all(state).map_err(failed(state))?;
    let (part, ready) = (state.join(format!("{}.part", restored::READY)), state.join(restored::READY));
    if ready.exists() {
        return Err(Failure::failed(format!(
            "{} waits to be taken by `testyard serve`: start it first, or remove that folder",
            ready.display()
        )));
    }
    match std::fs::remove_dir_all(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&part)(error)),
        _ => {}
    }
    std::fs::DirBuilder::new().mode(0o700).create(&part).map_err(failed(&part))?;
    // A server that is not root's must be able to use what root has restored.
    let owner = std::fs::metadata(state).map_err(failed(state))?;
    let give = |path: &Path| {
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())).map_err(failed(path))
    };
    let write = |name: &str, from: &mut dyn io::Read| -> Outcome {
        let path = part.join(name);
        let options = || std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).clone();
        let mut file = options().open(&path).map_err(failed(&path))?;
        io::copy(from, &mut file).and_then(|_| file.sync_all()).map_err(failed(&path))?;
        give(&path)
    };
    write(DATABASE, &mut File::open(copy).map_err(failed(copy))?)?;
    if let Some(mut key) =
        key.filter(|key| std::fs::read(state.join(hosts::AUTHORITY)).ok().as_deref() != Some(*key))
    {
        write(hosts::AUTHORITY, &mut key)?;
    }
    let when: String = Timestamp::now().to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    write(restored::WHEN, &mut when.as_bytes())?;
    give(&part)?;
    File::open(&part).and_then(|folder| folder.sync_all()).map_err(failed(&part))?;
    std::fs::rename(&part, &ready).map_err(failed(&ready))
}

/// Has the server that runs take it, and waits until it serves again.
async fn reopen(config: &ConfigArgument) -> Outcome {
    let client: Client = local::Session::open(&local::Connection::of(config.clone())).client;
    let before = client.testbed().await?.since;
    client.reopen().await?;
    let mut screen = Screen::new(1);
    screen.update("", "the testbed begins anew".to_owned());
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        // It does not listen for a moment; that it does again is nothing that it could tell anybody.
        tokio::time::sleep(ASK).await;
        if client.testbed().await.is_ok_and(|testbed| testbed.since != before) {
            screen.finish();
            return Ok(());
        }
        if tokio::time::Instant::now() > until {
            screen.finish();
            let message = "the testbed does not serve again; its log says why".to_owned();
            return Err(Failure { kind: Kind::Unreachable, message });
        }
    }
}

impl Effect {
    fn new(opened: &Opened) -> Self {
        Self {
            taken: opened.manifest.taken,
            come_back: BTreeMap::new(),
            removed: BTreeMap::new(),
            as_they_were: BTreeMap::new(),
            written: Vec::new(),
            kept: Vec::new(),
            serving: false,
        }
    }

    fn compare(&mut self, backup: &StoreSummary, here: Option<&StoreSummary>) {
        let none = BTreeMap::new();
        let here = here.map_or(&none, |here| &here.slices);
        for (slice, slivers) in &backup.slices {
            let to = if here.contains_key(slice) { &mut self.as_they_were } else { &mut self.come_back };
            to.insert(slice.clone(), *slivers);
        }
        let only_here = here.iter().filter(|(slice, _)| !backup.slices.contains_key(*slice));
        self.removed = only_here.map(|(slice, slivers)| (slice.clone(), *slivers)).collect();
    }

    /// Writes what is not there. What is there stays: it may be newer.
    fn write_folder(&mut self, opened: &Opened, config: &ConfigArgument) -> Outcome {
        let folder = config.folder().path().to_owned();
        let failed = |path: &Path, error: &io::Error| Failure::failed(format!("{}: {error}", path.display()));
        let mut all: Vec<(PathBuf, u32, &[u8])> =
            opened.folder.iter().map(|file| (folder.join(&file.path), file.mode, &*file.bytes)).collect();
        all.extend(opened.configuration.iter().map(|text| (config.path(), 0o600, text.as_slice())));
        for (path, mode, bytes) in all {
            match std::fs::read(&path) {
                Ok(there) if there == bytes => continue,
                Ok(_) => {
                    self.kept.push(path);
                    continue;
                }
                Err(_) => {}
            }
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
            }
            let options = || std::fs::OpenOptions::new().create_new(true).write(true).mode(mode).clone();
            let written = options().open(&path).and_then(|mut file| file.write_all(bytes));
            written.map_err(|error| failed(&path, &error))?;
            self.written.push(path);
        }
        Ok(())
    }

    fn tell(&self, json: bool, before: bool) -> Outcome {
        if json {
            return print::json(self);
        }
        say!("backup of {}", time::format(self.taken));
        let mut table = print::table(&["slice", "slivers", "what becomes of it"]);
        for (slices, what) in [
            (&self.as_they_were, "as it was then; nodes that run, run on"),
            (&self.come_back, "comes back; nodes that a host still has are kept"),
            (&self.removed, "removed: the backup does not know it"),
        ] {
            for (slice, slivers) in slices {
                table.add_row([slice, &slivers.to_string(), what]);
            }
        }
        if !(self.as_they_were.is_empty() && self.come_back.is_empty() && self.removed.is_empty()) {
            print::show(&table);
        }
        for path in &self.written {
            say!("written: {}", path.display());
        }
        for path in &self.kept {
            say!("kept, though the backup has another: {}", path.display());
        }
        match (before, self.serving) {
            (true, _) => {}
            (false, true) => say!("restored; the testbed serves with it"),
            (false, false) => say!("restored; the next `testyard serve` takes it"),
        }
        Ok(())
    }
}

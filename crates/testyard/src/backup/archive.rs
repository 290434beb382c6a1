//! The file of a backup: a tar archive whose first member says what is in it, with the digest of each.
//!
//! ```text
//! testyard-backup.json     what it is of, and the SHA-256 of every other member
//! state/testyard.sqlite    the store
//! state/hosts.pem          the authority over hosts, where there is one
//! folder/…                 Testyard's folder: configuration, authority, users, trusted roots
//! configuration.toml       the configuration, where it is not in that folder
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::files::{self, Taken};
use crate::config::{self, Settings};
use crate::serve::{DATABASE, hosts};

const MANIFEST: &str = "testyard-backup.json";
const STATE: &str = "state";
const FOLDER: &str = "folder";
const CONFIGURATION: &str = "configuration.toml";

/// The form of the archive.
const FORMAT: u32 = 1;

/// The largest manifest, the most members, and the most bytes of what is neither.
const LARGEST_MANIFEST: u64 = 16 << 20;
const MOST_MEMBERS: usize = 60_000;
const LARGEST_FILE: u64 = 256 << 20;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The program that made it.
    pub(super) program: String,
    /// When.
    pub(super) taken: Timestamp,
    /// Whose slivers are in it.
    pub(super) authority: String,
    /// The mark on what that testbed makes.
    pub(super) instance: String,
    /// The version of the store's schema.
    pub(super) schema: i32,
    /// SHA-256 of each member, in hexadecimal.
    pub(super) files: BTreeMap<String, String>,
}

impl Manifest {
    pub(super) fn new(testbed: &config::Testbed, schema: i32, taken: Timestamp) -> Self {
        Self {
            format: FORMAT,
            program: crate::serve::hosts::PROGRAM.to_owned(),
            taken,
            authority: testbed.authority.to_string(),
            instance: testbed.instance.to_string(),
            schema,
            files: BTreeMap::new(),
        }
    }
}

/// An archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is no backup of a testbed: {0}")]
    NotOne(String),
    #[error("it is of a newer Testyard ({program}, form {format}): use that one")]
    Newer { program: String, format: u32 },
    #[error("{0} in it is damaged: use another backup")]
    Damaged(String),
}

/// What goes into a backup.
#[derive(Debug, Default)]
pub(super) struct Contents {
    store: PathBuf,
    key: Option<PathBuf>,
    configuration: Option<PathBuf>,
    folder: PathBuf,
    taken: Vec<Taken>,
}

// === impl Contents ===

impl Contents {
    pub(super) fn add_store(&mut self, path: PathBuf) {
        self.store = path;
    }

    pub(super) fn add_key(&mut self, path: PathBuf) {
        self.key = Some(path).filter(|path| path.exists());
    }

    pub(super) fn add_configuration(&mut self, path: PathBuf) {
        self.configuration = Some(path);
    }

    pub(super) fn add_folder(&mut self, folder: &Path) -> Result<(), String> {
        folder.clone_into(&mut self.folder);
        self.taken = if folder.is_dir() { files::all(folder)? } else { Vec::new() };
        Ok(())
    }

    pub(super) fn store(&self) -> &Path {
        &self.store
    }

    /// How many files are in it.
    pub(super) fn files(&self) -> usize {
        1 + usize::from(self.key.is_some()) + usize::from(self.configuration.is_some()) + self.taken.len()
    }

    /// What the configuration names and the folder does not have.
    pub(super) fn outside(&self, settings: &Settings) -> Vec<String> {
        let named = [
            ("tls.certificate", &settings.tls.certificate),
            ("tls.key", &settings.tls.key),
            ("paths.trusted", &settings.paths.trusted),
        ];
        let outside = named.into_iter().filter(|(_, path)| !path.starts_with(&self.folder));
        outside.map(|(key, path)| format!("{} ({key})", path.display())).collect()
    }

    /// Writes the archive.
    pub(super) fn write(&self, mut manifest: Manifest, into: &mut dyn Write) -> io::Result<()> {
        let read = |path: &Path| std::fs::read(path);
        let mut small: Vec<(String, u32, Vec<u8>)> = Vec::new();
        if let Some(key) = &self.key {
            small.push((format!("{STATE}/{}", hosts::AUTHORITY), 0o600, read(key)?));
        }
        if let Some(configuration) = &self.configuration {
            small.push((CONFIGURATION.to_owned(), 0o600, read(configuration)?));
        }
        for file in &self.taken {
            let name = file.path.to_str().ok_or_else(|| io::Error::other("a name that is not UTF-8"))?;
            small.push((format!("{FOLDER}/{name}"), file.mode, file.bytes.clone()));
        }
        let store = format!("{STATE}/{DATABASE}");
        manifest.files.insert(store.clone(), digest(&mut File::open(&self.store)?)?);
        for (name, _, bytes) in &small {
            manifest.files.insert(name.clone(), digest(&mut bytes.as_slice())?);
        }
        let mut archive = tar::Builder::new(into);
        let taken = u64::try_from(manifest.taken.as_second()).unwrap_or_default();
        let header = |size: u64, mode: u32| {
            let mut header = tar::Header::new_gnu();
            header.set_size(size);
            header.set_mode(mode);
            header.set_mtime(taken);
            header
        };
        let mut text = serde_json::to_vec_pretty(&manifest)?;
        text.push(b'\n');
        archive.append_data(&mut header(text.len() as u64, 0o600), MANIFEST, text.as_slice())?;
        let file = File::open(&self.store)?;
        archive.append_data(&mut header(file.metadata()?.len(), 0o600), store, file)?;
        for (name, mode, bytes) in &small {
            archive.append_data(&mut header(bytes.len() as u64, *mode), name, bytes.as_slice())?;
        }
        archive.finish()?;
        archive.into_inner()?.flush()
    }
}

/// A backup, read: the store is a file, the rest is here.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) manifest: Manifest,
    /// The authority over hosts.
    pub(super) key: Option<Vec<u8>>,
    /// The configuration, where it was not in the folder.
    pub(super) configuration: Option<Vec<u8>>,
    /// Testyard's folder.
    pub(super) folder: Vec<Taken>,
}

/// Reads an archive, of which every member is what its manifest says. The store is written to `store`, a new file.
pub(super) fn open(archive: impl Read, store: &Path) -> Result<Opened, ArchiveError> {
    let mut archive = tar::Archive::new(archive);
    let mut members = archive.entries()?;
    let not_one = |why: &str| ArchiveError::NotOne(why.to_owned());
    let first =
        members.next().ok_or_else(|| not_one("it is empty"))?.map_err(|_| not_one("it is no tar archive"))?;
    let manifest = read_manifest(first)?;
    let mut opened = Opened { manifest, key: None, configuration: None, folder: Vec::new() };
    let mut missing: BTreeMap<String, String> = opened.manifest.files.clone();
    for (number, member) in members.enumerate() {
        let mut member = member?;
        let path = member.path()?.into_owned();
        let name = path.to_str().ok_or_else(|| not_one("a member's name is not UTF-8"))?.to_owned();
        if number >= MOST_MEMBERS || !member.header().entry_type().is_file() {
            return Err(ArchiveError::NotOne(format!("{name} does not belong into one")));
        }
        let expected = missing.remove(&name).ok_or_else(|| ArchiveError::Damaged(name.clone()))?;
        let damaged = || ArchiveError::Damaged(name.clone());
        if name == format!("{STATE}/{DATABASE}") {
            let options =
                || std::fs::OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).clone();
            let mut file = options().open(store)?;
            io::copy(&mut member, &mut file)?;
            file.sync_all()?;
            let found = digest(&mut File::open(store)?)?;
            (found == expected).then_some(()).ok_or_else(damaged)?;
            continue;
        }
        let mode = member.header().mode()? & 0o777;
        let bytes = bounded(&mut member, LARGEST_FILE).map_err(|_| damaged())?;
        (digest(&mut bytes.as_slice())? == expected).then_some(()).ok_or_else(damaged)?;
        if name == format!("{STATE}/{}", hosts::AUTHORITY) {
            opened.key = Some(bytes);
        } else if name == CONFIGURATION {
            opened.configuration = Some(bytes);
        } else if let Some(below) = below_folder(&path) {
            opened.folder.push(Taken { path: below, mode, bytes });
        } else {
            return Err(ArchiveError::NotOne(format!("{name} does not belong into one")));
        }
    }
    match missing.into_keys().next() {
        None => Ok(opened),
        Some(name) => Err(ArchiveError::Damaged(name)),
    }
}

fn read_manifest(mut member: tar::Entry<'_, impl Read>) -> Result<Manifest, ArchiveError> {
    /// What every form has.
    #[derive(Deserialize)]
    struct Form {
        format: u32,
        program: String,
    }
    let not_one = |why: String| ArchiveError::NotOne(why);
    if member.path()?.as_ref() != Path::new(MANIFEST) {
        return Err(not_one(format!("it does not begin with {MANIFEST}")));
    }
    let text = bounded(&mut member, LARGEST_MANIFEST)?;
    let form: Form = serde_json::from_slice(&text).map_err(|error| not_one(error.to_string()))?;
    if form.format != FORMAT {
        return Err(ArchiveError::Newer { program: form.program, format: form.format });
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| not_one(error.to_string()))?;
    if !manifest.files.contains_key(&format!("{STATE}/{DATABASE}")) {
        return Err(not_one("there is no store in it".to_owned()));
    }
    Ok(manifest)
}

/// The rest of a path in the folder's part, if it leads nowhere else.
fn below_folder(path: &Path) -> Option<PathBuf> {
    let below = path.strip_prefix(FOLDER).ok()?;
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    (below.components().next().is_some() && below.components().all(is_plain)).then(|| below.to_owned())
}

fn bounded(from: &mut impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a member is too large"));
    }
    Ok(bytes)
}

fn digest(from: &mut impl Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(from, &mut digest)?;
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            program: "testyard 1".to_owned(),
            taken: Timestamp::UNIX_EPOCH,
            authority: "lab.example.net".to_owned(),
            instance: "main".to_owned(),
            schema: 5,
            files: BTreeMap::new(),
        }
    }

    /// A backup of a folder with two files, and that folder.
    fn made() -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("etc");
        std::fs::create_dir_all(inside.join("trusted")).unwrap();
        std::fs::write(inside.join("testyard.toml"), "x = 1\n").unwrap();
        std::fs::write(inside.join("trusted/root.pem"), "pem").unwrap();
        std::os::unix::fs::symlink("/nonexistent", inside.join("dangling")).unwrap();
        std::fs::write(folder.path().join("store"), vec![7; 100_000]).unwrap();
        std::fs::write(folder.path().join("hosts.pem"), "key").unwrap();
        let mut contents = Contents::default();
        contents.add_store(folder.path().join("store"));
        contents.add_key(folder.path().join("hosts.pem"));
        contents.add_folder(&inside).unwrap();
        assert_eq!(contents.files(), 4);
        let mut bytes = Vec::new();
        contents.write(manifest(), &mut bytes).unwrap();
        (folder, bytes)
    }

    fn read(folder: &Path, bytes: &[u8]) -> Result<Opened, ArchiveError> {
        let store = folder.join("again");
        let _ = std::fs::remove_file(&store);
        open(bytes, &store)
    }

    #[test]
    fn what_goes_in_comes_out() {
        let (folder, bytes) = made();
        let opened = read(folder.path(), &bytes).unwrap();
        let names: Vec<_> = opened.folder.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(names, ["testyard.toml", "trusted/root.pem"]);
        assert_eq!(opened.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(std::fs::read(folder.path().join("again")).unwrap(), vec![7; 100_000]);
        assert_eq!((opened.manifest.schema, opened.manifest.files.len()), (5, 4));
    }

    #[test]
    fn whatever_is_changed_in_it_is_noticed() {
        let (folder, bytes) = made();
        // Cut off anywhere but in the zeros at its end.
        for end in (0..bytes.len() - 1024).step_by(997) {
            assert!(read(folder.path(), &bytes[..end]).is_err(), "cut off at {end}");
        }
        for at in (0..bytes.len() - 2048).step_by(211) {
            let mut other = bytes.clone();
            other[at] ^= 0x41;
            if let Ok(opened) = read(folder.path(), &other) {
                // In a head's owner, or in the manifest's own words.
                assert_eq!(opened.folder.len(), 2, "{at}");
                assert_eq!(std::fs::read(folder.path().join("again")).unwrap(), vec![7; 100_000], "{at}");
            }
        }
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |members: &[(&str, &[u8])]| {
            let mut archive = tar::Builder::new(Vec::new());
            for (name, bytes) in members {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o600);
                // As a stranger writes it: the library would refuse some of them.
                header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
                header.set_cksum();
                archive.append(&header, *bytes).unwrap();
            }
            read(folder.path(), &archive.into_inner().unwrap()).unwrap_err().to_string()
        };
        let with = |files: &[&str], format: u32| {
            let mut manifest = manifest();
            manifest.format = format;
            let none = digest(&mut &b""[..]).unwrap();
            manifest.files = files.iter().map(|name| ((*name).to_owned(), none.clone())).collect();
            serde_json::to_vec(&manifest).unwrap()
        };
        let store = "state/testyard.sqlite";
        assert!(refused(&[]).contains("it is empty"));
        assert!(refused(&[("etc/passwd", b"x")]).contains("does not begin with"));
        assert!(refused(&[(MANIFEST, b"{}")]).contains("no backup"));
        assert!(refused(&[(MANIFEST, &with(&[store], 2))]).contains("newer Testyard"));
        assert!(refused(&[(MANIFEST, &with(&[], 1))]).contains("no store"));
        assert!(
            refused(&[(MANIFEST, &with(&[store], 1))]).contains("state/testyard.sqlite in it is damaged")
        );
        for evil in ["folder/../../etc/passwd", "/etc/passwd", "elsewhere", "folder/", "folder"] {
            let manifest = with(&[store, evil], 1);
            let told = refused(&[(MANIFEST, &manifest), (store, b""), (evil, b"")]);
            assert!(told.contains("does not belong") || told.contains("damaged"), "{evil}: {told}");
        }
        assert!(read(folder.path(), &[0x1f; 4096]).unwrap_err().to_string().contains("no backup"));
    }
}

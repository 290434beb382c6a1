//! What a Dockerfile is built with.

use std::fs::File;
use std::io::{self, Seek as _};

use tar::{Builder, EntryType, Header};
use testyard_fetch::text::printable;

use crate::contents::{Contents, Entry};
use crate::dockerfile::{self, LONGEST};
use crate::ignore::{self, Ignore, IgnoreError};
use crate::{Limits, PrepareError, Prepared, Recipe, draft};

/// What a Dockerfile is called, in the order in which it is looked for.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// A Dockerfile alone.
pub(crate) fn of_dockerfile(text: &str, label: &str, limits: &Limits) -> Result<Prepared, PrepareError> {
    let judged = dockerfile::judge(text, label)?;
    let mut archive = Archive::new(limits)?;
    archive.text(NAMES[0], &judged.text).map_err(PrepareError::Room)?;
    archive.finish(Recipe::Build { bases: judged.bases })
}

/// An archive with a Dockerfile at its root, or in one folder: then that folder is the context.
pub(crate) fn of_archive(
    contents: &Contents,
    label: &str,
    limits: &Limits,
) -> Result<Prepared, PrepareError> {
    let (folder, name) = place(contents)?;
    let path = format!("{folder}{name}");
    let bytes = contents.read(&path, LONGEST as u64).ok_or_else(|| {
        PrepareError::Layout(format!("its {path} is no file, or longer than {LONGEST} bytes"))
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| PrepareError::Layout(format!("its {path} is no text in UTF-8")))?;
    let judged = dockerfile::judge(&text, label)?;
    let mut archive = Archive::new(limits)?;
    archive.text(NAMES[0], &judged.text).map_err(PrepareError::Room)?;
    let ignore = ignore(contents, &folder, name)?;
    for (path, entry) in &contents.entries {
        let Some(inside) = path.strip_prefix(folder.as_bytes()) else { continue };
        if inside.is_empty() || inside == NAMES[0].as_bytes() || ignore.excludes(inside) {
            continue;
        }
        archive.entry(contents, path, inside, entry).map_err(PrepareError::Room)?;
    }
    archive.finish(Recipe::Build { bases: judged.bases })
}

/// What is no part of the context: as the Dockerfile's own `.dockerignore` says, or the folder's.
fn ignore(contents: &Contents, folder: &str, name: &str) -> Result<Ignore, PrepareError> {
    let paths = [format!("{folder}{name}.dockerignore"), format!("{folder}.dockerignore")];
    let Some(path) = paths.iter().find(|path| contents.entries.contains_key(path.as_bytes())) else {
        return Ok(Ignore::default());
    };
    let bytes = contents.read(path, ignore::LONGEST).ok_or(IgnoreError::Text)?;
    let text = String::from_utf8(bytes).map_err(|_| IgnoreError::Text)?;
    Ok(Ignore::parse(&text)?)
}

/// The folder of the Dockerfile, with a slash or empty, and its name.
fn place(contents: &Contents) -> Result<(String, &'static str), PrepareError> {
    for name in NAMES {
        if contents.entries.contains_key(name.as_bytes()) {
            return Ok((String::new(), name));
        }
    }
    let mut found = Vec::new();
    for path in contents.entries.keys() {
        let Ok(path) = std::str::from_utf8(path) else { continue };
        if let Some((folder, name)) = path.split_once('/')
            && let Some(name) = NAMES.into_iter().find(|known| *known == name)
            && found.iter().all(|(other, _)| *other != folder)
        {
            found.push((folder, name));
        }
    }
    match &found[..] {
        [(folder, name)] => Ok((format!("{folder}/"), name)),
        [] => {
            let mut top: Vec<&[u8]> =
                contents.entries.keys().filter_map(|path| path.split(|byte| *byte == b'/').next()).collect();
            top.dedup();
            let shown: Vec<String> = top.iter().take(5).map(|name| printable(name, 40)).collect();
            let more = if top.len() > 5 { ", …" } else { "" };
            Err(PrepareError::Layout(format!(
                "its archive has no Dockerfile, neither at its root nor in a folder there (there is: {}{more})",
                shown.join(", ")
            )))
        }
        several => {
            let folders: Vec<String> =
                several.iter().take(5).map(|(folder, _)| printable(folder.as_bytes(), 40)).collect();
            Err(PrepareError::Layout(format!(
                "its archive has {} Dockerfiles, in {}: put the one that counts at the root",
                several.len(),
                folders.join(", ")
            )))
        }
    }
}

/// A tar archive that is being written.
pub(crate) struct Archive(Builder<io::BufWriter<File>>);

impl Archive {
    pub(crate) fn new(limits: &Limits) -> Result<Self, PrepareError> {
        let mut builder = Builder::new(io::BufWriter::new(draft(limits)?));
        builder.mode(tar::HeaderMode::Deterministic);
        Ok(Self(builder))
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.file(name.as_bytes(), 0o644, text.len() as u64, text.as_bytes())
    }

    pub(crate) fn file(
        &mut self,
        name: &[u8],
        mode: u32,
        length: u64,
        contents: impl io::Read,
    ) -> io::Result<()> {
        let mut header = header(EntryType::Regular, mode, length);
        self.0.append_data(&mut header, path(name), contents)
    }

    fn entry(&mut self, contents: &Contents, from: &[u8], name: &[u8], entry: &Entry) -> io::Result<()> {
        match entry {
            Entry::Folder { mode } => {
                let mut header = header(EntryType::Directory, *mode, 0);
                self.0.append_data(&mut header, path(name), io::empty())
            }
            Entry::File { length, mode, .. } => match contents.open(from) {
                Some(part) => self.file(name, *mode, *length, part),
                None => Ok(()),
            },
            Entry::Link(target) => {
                let mut header = header(EntryType::Symlink, 0o777, 0);
                self.0.append_link(&mut header, path(name), path(target))
            }
        }
    }

    pub(crate) fn finish(self, recipe: Recipe) -> Result<Prepared, PrepareError> {
        let finish = || -> io::Result<File> {
            let mut file = self.0.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            Ok(file)
        };
        Ok(Prepared { recipe, archive: finish().map_err(PrepareError::Room)? })
    }
}

fn path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt as _;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// The same for the same contents: engines know by it what they have built before.
fn header(kind: EntryType, mode: u32, length: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(length);
    header.set_mtime(0);
    header
}

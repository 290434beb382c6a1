//! One install: downloaded whole, then unpacked or saved.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use testyard_fetch::archive::{self, Budget, Kind};
use testyard_fetch::download::{self, Limits, Network, Url};
use testyard_guest_protocol::{Desired, Install, Resolver};

use super::checksum;
use super::log::{Files, NoFolder};
use super::registry::state_folder;
use crate::node::Node;
use crate::unpacked::{Place, PlaceError};
use crate::walk::{Folder, names};
use crate::{files, names as node_names, sys, text};

/// The longest time for one download.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// An install that can begin, if it has files to write to.
pub(super) struct Run<'a> {
    node: &'a Node,
    desired: &'a Desired,
    number: u32,
    install: &'a Install,
    files: Result<Files, NoFolder>,
}

/// Why an install failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The reason alone, for those who know of which install.
    pub(super) reason: String,
    /// The same for the whole node: which install, and what to do.
    pub(super) told: String,
}

impl<'a> Run<'a> {
    pub(super) fn new(node: &'a Node, desired: &'a Desired, index: u32, install: &'a Install) -> Self {
        let number = index + 1;
        let files = Files::new(&node.root, format!("install-{number}"));
        Self { node, desired, number, install, files }
    }

    /// The folder of its files, if it is not /tmp; else empty.
    pub(super) fn folder(&self) -> &'static str {
        self.files.as_ref().map_or("", Files::elsewhere)
    }

    /// Runs it. What was done, or why it was not: both for people.
    pub(super) fn run(self) -> Result<String, Failure> {
        let Self { node, desired, number, install, files } = self;
        let shown = Url::parse(&install.url)
            .map_or_else(|_| text::printable(install.url.as_bytes(), 200), |url| url.to_string());
        let named = |reason: String| Failure {
            told: format!(
                "install {number} ({shown} into {}): {reason}; no execute begins; geni_restart tries it again",
                install.path
            ),
            reason,
        };
        let files = files.map_err(|error| named(text::chain(&error)))?;
        let mut log = files
            .remove("status")
            .and_then(|()| files.create("txt", 0o644))
            .map_err(|error| named(format!("its log {} cannot be written: {error}", files.path("txt"))))?;
        let mut note = |line: &str| {
            // The log is a service to people in the node; what counts is in the report.
            let _ = writeln!(log, "{line}");
        };
        note(&format!("fetching {shown}"));
        let result = fetch_and_place(node, desired, install, &mut note);
        note(result.as_ref().map_or_else(String::as_str, String::as_str));
        let _ = files.status(i32::from(result.is_err()));
        sys::return_memory();
        result.map_err(named)
    }
}

fn fetch_and_place(
    node: &Node,
    desired: &Desired,
    install: &Install,
    note: &mut impl FnMut(&str),
) -> Result<String, String> {
    let path = Path::new(&install.path);
    if !path.is_absolute() || install.path.contains('\0') {
        return Err("the install path is not absolute".into());
    }
    let mut download = draft(&node.root).map_err(|error| format!("no room for the download: {error}"))?;
    let network = network(&node.root, desired);
    let limits = Limits { bytes: install.max_download, time: DEADLINE };
    let length = download::download(&install.url, limits, &network, &mut download, note)
        .map_err(|error| text::chain(&error))?;
    note(&format!("{length} bytes"));
    if let Some(wanted) = &install.checksum {
        checksum::verify(&mut download, wanted)?;
        note(&format!("its checksum is {wanted}"));
    }

    let name =
        Url::parse(&install.url).ok().and_then(|url| url.file_name()).unwrap_or_else(|| "download".into());
    let mut head = Vec::new();
    download
        .rewind()
        .and_then(|()| (&mut download).take(4096).read_to_end(&mut head))
        .map_err(|error| format!("the download cannot be read: {error}"))?;
    let kind = archive::kind(&name, &head).map_err(|expected| {
        let begins = text::printable(&head, 40);
        let what = if head.is_empty() { "is empty".to_owned() } else { format!("begins with {begins:?}") };
        format!("what came is not {expected}; it {what}")
    })?;

    let folder = Folder::root(&node.root)
        .map_err(PlaceError::from)
        .and_then(|root| Ok(root.walk(names(path), true)?))
        .map_err(|error| format!("the folder cannot be used: {}", text::chain(&error)))?;
    if kind == Kind::File {
        save(&mut download, &folder, &name, install.max_unpacked)?;
        return Ok(format!(
            "saved as {} (only tar, tar.gz, tgz and zip are unpacked)",
            path.join(&name).display()
        ));
    }
    let mut budget = Budget::new(install.max_unpacked, Budget::MAX_ENTRIES);
    archive::unpack(kind, &mut download, &mut Place::new(folder), &mut budget)
        .map_err(|error| format!("the archive cannot be unpacked: {}", text::chain(&error)))?;
    Ok(format!("unpacked, {} entries", budget.used_entries()))
}

/// A file without a name for the download: whatever ends us, nothing stays behind.
fn draft(root: &Path) -> io::Result<File> {
    let folder = state_folder(root);
    std::fs::create_dir_all(&folder)?;
    let folder = File::open(folder)?;
    let name = std::ffi::OsStr::new("download");
    let file = files::create(&folder, name, 0o600)?;
    files::remove(&folder, name)?;
    Ok(file)
}

fn save(download: &mut File, folder: &Folder, name: &str, limit: u64) -> Result<(), String> {
    let mut save = || -> io::Result<()> {
        if download.metadata()?.len() > limit {
            return Err(io::Error::other(format!("it has more than the allowed {limit} bytes")));
        }
        download.rewind()?;
        let mut file = files::create(folder, std::ffi::OsStr::new(name), 0o644)?;
        io::copy(download, &mut file)?;
        Ok(())
    };
    save().map_err(|error| format!("it cannot be saved as {name:?}: {error}"))
}

/// What the node knows of names: the agent's word first, then the image's files.
fn network(root: &Path, desired: &Desired) -> Network {
    let read = |name: &str| {
        let bytes = files::read(&root.join("etc").join(name)).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let resolver = if desired.resolver.servers.is_empty() {
        node_names::read_resolver(&read("resolv.conf"))
    } else {
        desired.resolver.clone()
    };
    let Resolver { servers, search } = resolver;
    Network::new(&servers, search, read("hosts"), root)
}

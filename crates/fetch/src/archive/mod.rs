//! Archives of strangers, unpacked so that they can neither leave their folder nor fill the node.
//!
//! | module | what |
//! | --- | --- |
//! | [`entry`] | paths of entries, checked when they are made; budgets |
//! | [`tar`], [`zip`] | the formats, read as streams: memory does not grow with the archive |
//!
//! Owners are root, modes lose setuid, setgid and sticky bits, devices and FIFOs are refused. Symbolic links are made
//! last, so that no entry of the archive goes through one of them.

pub(crate) mod entry;
pub(crate) mod tar;
pub(crate) mod zip;

pub use entry::{About, Budget, EntryPath, Sink};

use std::ffi::OsString;
use std::io::{self, Read as _};

use flate2::read::MultiGzDecoder;

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no archive of its kind.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It cannot be read to its end.
    #[error("it cannot be read to its end")]
    Read(#[source] io::Error),
    /// A path leads out of the folder.
    #[error("its entry {0:?} has a path that leads out of the folder")]
    Path(String),
    /// A path is too long or too deep.
    #[error("its entry {0:?} has a path that is too long")]
    LongPath(String),
    /// An entry is neither a file, nor a folder, nor a link.
    #[error("its entry {path:?} is a {kind}, which is not unpacked")]
    Kind {
        /// Which.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// It unpacks to more bytes than may be.
    #[error("it unpacks to more than the allowed {0} bytes")]
    TooLarge(u64),
    /// It has more entries than may be.
    #[error("it has more than {0} entries")]
    TooMany(u64),
    /// The sink did not take an entry.
    #[error("its entry {path:?} cannot be unpacked")]
    Place {
        /// Which.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// An entry is packed in a way that is not known.
    #[error("its entry {0:?} is packed in a way that is not known here")]
    Method(String),
}

/// What a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tar archive.
    Tar,
    /// The same, packed by gzip.
    TarGz,
    /// A zip archive.
    Zip,
    /// To be saved as it is.
    File,
}

/// What a file of this name with this beginning is. Its name decides if it has an extension; the contents must agree
/// with it.
///
/// # Errors
/// What the name says, if the contents say otherwise.
pub fn kind(name: &str, head: &[u8]) -> Result<Kind, &'static str> {
    let gzip = head.starts_with(&[0x1f, 0x8b]);
    let zip = head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06");
    let name = name.to_ascii_lowercase();
    if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        // Browsers and proxies unpack on the way at times, and leave the name.
        if gzip {
            Ok(Kind::TarGz)
        } else if tar::begins(head) {
            Ok(Kind::Tar)
        } else {
            Err("a tar.gz archive")
        }
    } else if name.ends_with(".tar") {
        if tar::begins(head) {
            Ok(Kind::Tar)
        } else if gzip {
            Ok(Kind::TarGz)
        } else {
            Err("a tar archive")
        }
    } else if name.ends_with(".zip") {
        if zip { Ok(Kind::Zip) } else { Err("a zip archive") }
    } else if name.contains('.') {
        Ok(Kind::File)
    } else if zip {
        Ok(Kind::Zip)
    } else if tar::begins(head) {
        Ok(Kind::Tar)
    } else if gzip {
        let mut inner = vec![0; 512];
        let mut decoder = MultiGzDecoder::new(head);
        let mut filled = 0;
        while let Ok(length @ 1..) = decoder.read(&mut inner[filled..]) {
            filled += length;
        }
        Ok(if tar::begins(&inner[..filled]) { Kind::TarGz } else { Kind::File })
    } else {
        Ok(Kind::File)
    }
}

/// Whether these bytes begin a tar archive: the checksum of the first header is right. A kilobyte tells.
#[must_use]
pub fn is_tar(head: &[u8]) -> bool {
    tar::begins(head)
}

/// Unpacks an archive, from its beginning, into a sink.
///
/// # Errors
/// The first [`ArchiveError`].
pub fn unpack(
    kind: Kind,
    file: &mut (impl io::Read + io::Seek),
    sink: &mut dyn Sink,
    budget: &mut Budget,
) -> Result<(), ArchiveError> {
    file.rewind().map_err(ArchiveError::Read)?;
    let mut reader = io::BufReader::with_capacity(64 << 10, file);
    match kind {
        Kind::Tar => tar::unpack(reader, sink, budget)?,
        Kind::TarGz => tar::unpack(MultiGzDecoder::new(reader), sink, budget)?,
        Kind::Zip => zip::unpack(&mut reader, sink, budget)?,
        Kind::File => return Ok(()),
    }
    sink.finish()
}

/// The path of an entry as a text for people.
fn shown(path: &[u8]) -> String {
    crate::text::printable(path, 200)
}

fn os(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

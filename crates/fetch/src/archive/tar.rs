//! Tar archives: ustar, GNU's long names, pax paths. Extension headers are read with a limit; the format's library
//! would read them whole, and one header may claim gigabytes.

use std::io::{Read, copy, sink};

use tar::{Archive, EntryType, Header};

use super::entry::{About, Paid};
use super::{ArchiveError, Budget, EntryPath, Sink};

/// The longest extension header in bytes.
const MAX_EXTENSION: u64 = 64 << 10;

/// Whether these bytes begin a tar archive: the checksum of the first header is right.
pub(crate) fn begins(head: &[u8]) -> bool {
    let Some(block) = head.get(..512) else { return false };
    // An archive of nothing is two blocks of zeros.
    if block.iter().all(|byte| *byte == 0) {
        return head.get(512..1024).is_some_and(|block| block.iter().all(|byte| *byte == 0));
    }
    let header = Header::from_byte_slice(block);
    let sum: u32 =
        block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
    header.cksum().is_ok_and(|expected| expected == sum)
}

/// What extension headers say about the next entry.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    modified: Option<i64>,
    /// A size that the plain header cannot hold.
    size: Option<u64>,
    sparse: bool,
}

/// Unpacks all entries.
pub(crate) fn unpack(reader: impl Read, out: &mut dyn Sink, budget: &mut Budget) -> Result<(), ArchiveError> {
    // Padding, headers and what belongs to no file are passed over, but not for ever.
    let mut archive = Archive::new(reader.take(budget.max_bytes().saturating_mul(3).saturating_add(1 << 20)));
    let mut extension = Extension::default();
    for entry in archive.entries().map_err(ArchiveError::Read)?.raw(true) {
        let mut entry = entry.map_err(ArchiveError::Read)?;
        budget.entry()?;
        let header = entry.header().clone();
        match header.entry_type() {
            EntryType::GNULongName => extension.path = Some(long_text(&mut entry)?),
            EntryType::GNULongLink => extension.link = Some(long_text(&mut entry)?),
            EntryType::XHeader => extension.read_pax(&bounded(&mut entry)?)?,
            // For all entries that follow: archives of git carry a comment in one.
            EntryType::XGlobalHeader => drop(bounded(&mut entry)?),
            _ => {
                let about = std::mem::take(&mut extension);
                place(&header, about, entry, out, budget)?;
            }
        }
    }
    Ok(())
}

fn place(
    header: &Header,
    extension: Extension,
    mut entry: impl Read,
    out: &mut dyn Sink,
    budget: &mut Budget,
) -> Result<(), ArchiveError> {
    let raw_path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let path = EntryPath::parse(&raw_path)?;
    let other = |kind| Err(ArchiveError::Kind { path: path.shown(), kind });
    let mode = header.mode().map_or(0o644, |mode| mode & 0o777);
    let size = header.entry_size().map_err(ArchiveError::Read)?;
    if extension.sparse {
        return other("sparse file");
    }
    if extension.size.is_some_and(|own| own != size) {
        return Err(ArchiveError::Damaged("two headers of an entry give different sizes"));
    }
    let kind = header.entry_type();
    // Old archives mark a folder by a slash at the end of a file's name.
    if kind.is_dir() || (kind.is_file() && raw_path.ends_with(b"/")) {
        return out.folder(&path, mode);
    }
    let link = || extension.link.clone().or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
    match kind {
        EntryType::Regular | EntryType::Continuous => {
            let modified =
                extension.modified.or_else(|| header.mtime().ok().and_then(|time| time.try_into().ok()));
            let mut contents = Paid { contents: &mut entry, budget };
            out.file(&path, About { mode, modified }, &mut contents)?;
            // What the sink left unread counts as well.
            copy(&mut contents, &mut sink()).map_err(ArchiveError::Read)?;
            Ok(())
        }
        EntryType::Symlink => out.symbolic_link(&path, &link().unwrap_or_default()),
        EntryType::Link => out.hard_link(&path, &EntryPath::parse(&link().unwrap_or_default())?),
        EntryType::Char | EntryType::Block => other("device"),
        EntryType::Fifo => other("named pipe"),
        EntryType::GNUSparse => other("sparse file"),
        _ => other("thing of unknown kind"),
    }
}

fn bounded(entry: &mut impl Read) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    entry.take(MAX_EXTENSION + 1).read_to_end(&mut bytes).map_err(ArchiveError::Read)?;
    if bytes.len() as u64 > MAX_EXTENSION {
        return Err(ArchiveError::Damaged("an extension header is too long"));
    }
    Ok(bytes)
}

fn long_text(entry: &mut impl Read) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = bounded(entry)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

impl Extension {
    /// Reads pax records: `<length> <key>=<value>\n`.
    fn read_pax(&mut self, mut bytes: &[u8]) -> Result<(), ArchiveError> {
        const DAMAGED: ArchiveError = ArchiveError::Damaged("a pax header is unreadable");
        while !bytes.is_empty() {
            let space = bytes.iter().position(|b| *b == b' ').ok_or(DAMAGED)?;
            let length: usize = std::str::from_utf8(&bytes[..space])
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or(DAMAGED)?;
            let record =
                bytes.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n")).ok_or(DAMAGED)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or(DAMAGED)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let number = || std::str::from_utf8(value).ok();
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number().and_then(|text| text.parse().ok()).ok_or(DAMAGED)?),
                b"mtime" => {
                    self.modified = number().and_then(|text| text.split('.').next()?.parse().ok());
                }
                _ if key.starts_with(b"GNU.sparse") => self.sparse = true,
                _ => {}
            }
            bytes = &bytes[length..];
        }
        Ok(())
    }
}

//! Zip archives (APPNOTE 6.3): stored and deflated entries, ZIP64 sizes. The directory at the end is read entry by
//! entry, so memory does not grow with it, and what it says about sizes is checked against what is unpacked.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::entry::{About, Paid};
use super::{ArchiveError, Budget, EntryPath, Sink, shown};

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const DIRECTORY: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// The end record may be followed by a comment of so many bytes.
const MAX_COMMENT: u64 = 0xffff;
const END_LENGTH: u64 = 22;

const KIND: u32 = 0o170_000;
const SYMBOLIC_LINK: u32 = 0o120_000;
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// The longest target of a symbolic link.
const MAX_TARGET: u64 = 4095;

/// An entry as the directory has it.
struct Entry {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    /// Unix mode with the kind, 0 if made on another system.
    mode: u32,
    offset: u64,
}

/// Unpacks all entries.
pub(crate) fn unpack<R: BufRead + Seek>(
    reader: &mut R,
    out: &mut dyn Sink,
    budget: &mut Budget,
) -> Result<(), ArchiveError> {
    let (count, mut at) = find_directory(reader)?;
    for _ in 0..count {
        budget.entry()?;
        reader.seek(SeekFrom::Start(at)).map_err(ArchiveError::Read)?;
        let (entry, length) = read_entry(reader)?;
        at = at.checked_add(length).ok_or(ArchiveError::Damaged("its directory is too long"))?;
        place(reader, &entry, out, budget)?;
    }
    Ok(())
}

/// The number of entries and where their directory begins.
fn find_directory(reader: &mut (impl Read + Seek)) -> Result<(u64, u64), ArchiveError> {
    const NO_END: ArchiveError = ArchiveError::Damaged("it has no end record");
    let length = reader.seek(SeekFrom::End(0)).map_err(ArchiveError::Read)?;
    let start = length.saturating_sub(MAX_COMMENT + END_LENGTH);
    reader.seek(SeekFrom::Start(start)).map_err(ArchiveError::Read)?;
    let mut tail = Vec::new();
    reader.take(MAX_COMMENT + END_LENGTH).read_to_end(&mut tail).map_err(ArchiveError::Read)?;
    let position = (0..=tail.len().saturating_sub(22))
        .rev()
        .find(|at| {
            let comment = tail.get(at + 20..at + 22).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])));
            tail[*at..].starts_with(&END) && comment.is_some_and(|comment| at + 22 + comment == tail.len())
        })
        .ok_or(NO_END)?;
    let mut end = Fields(&tail[position + 4..position + 22]);
    let (disk, directory_disk) = (end.u16()?, end.u16()?);
    end.u16()?;
    let (count, size, offset) = (end.u16()?, end.u32()?, end.u32()?);
    if disk != directory_disk {
        return Err(ArchiveError::Damaged("it is one part of several"));
    }
    let (mut count, mut size, mut offset) = (u64::from(count), u64::from(size), u64::from(offset));
    let mut end_at = start + position as u64;
    if (count == 0xffff || size == 0xffff_ffff || offset == 0xffff_ffff)
        && let Some(locator_at) = end_at.checked_sub(20)
    {
        let mut locator = [0; 20];
        read_at(reader, locator_at, &mut locator)?;
        if locator.starts_with(&LOCATOR_64) {
            end_at = Fields(&locator[8..16]).u64()?;
            let mut record = [0; 56];
            read_at(reader, end_at, &mut record)?;
            if !record.starts_with(&END_64) {
                return Err(NO_END);
            }
            let mut fields = Fields(&record[32..56]);
            (count, size, offset) = (fields.u64()?, fields.u64()?, fields.u64()?);
        }
    }
    if offset.checked_add(size).is_none_or(|end| end > end_at) || count > size / 46 + 1 {
        return Err(ArchiveError::Damaged("its directory is not where it should be"));
    }
    Ok((count, offset))
}

fn read_at(reader: &mut (impl Read + Seek), at: u64, buffer: &mut [u8]) -> Result<(), ArchiveError> {
    reader.seek(SeekFrom::Start(at)).and_then(|_| reader.read_exact(buffer)).map_err(ArchiveError::Read)
}

/// The directory's next entry and its length there.
fn read_entry(reader: &mut impl Read) -> Result<(Entry, u64), ArchiveError> {
    let mut fixed = [0; 46];
    reader.read_exact(&mut fixed).map_err(ArchiveError::Read)?;
    if !fixed.starts_with(&DIRECTORY) {
        return Err(ArchiveError::Damaged("its directory is unreadable"));
    }
    let made_by = fixed[5];
    let mut fields = Fields(&fixed[8..]);
    let (flags, method) = (fields.u16()?, fields.u16()?);
    fields.u32()?;
    let (crc, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let (name_length, extra_length, comment_length) = (fields.u16()?, fields.u16()?, fields.u16()?);
    fields.u32()?;
    let (attributes, offset) = (fields.u32()?, fields.u32()?);
    let mut read = |length: u16| -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = vec![0; usize::from(length)];
        reader.read_exact(&mut bytes).map_err(ArchiveError::Read)?;
        Ok(bytes)
    };
    let (name, extra) = (read(name_length)?, read(extra_length)?);
    let mut entry = Entry {
        name,
        flags,
        method,
        crc,
        packed: packed.into(),
        size: size.into(),
        // 3 is Unix, 19 is macOS.
        mode: if matches!(made_by, 3 | 19) { attributes >> 16 } else { 0 },
        offset: offset.into(),
    };
    entry.read_extra(&extra)?;
    Ok((entry, 46 + u64::from(name_length) + u64::from(extra_length) + u64::from(comment_length)))
}

fn place<R: BufRead + Seek>(
    reader: &mut R,
    entry: &Entry,
    out: &mut dyn Sink,
    budget: &mut Budget,
) -> Result<(), ArchiveError> {
    // Some archives of Windows have backslashes; a name of Unix may hold one.
    let name: Vec<u8> = if entry.mode == 0 {
        entry.name.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
    } else {
        entry.name.clone()
    };
    let path = EntryPath::parse(&name)?;
    let permissions = entry.mode & 0o777;
    if name.ends_with(b"/") || entry.mode & KIND == FOLDER {
        return out.folder(&path, if permissions == 0 { 0o755 } else { permissions });
    }
    if entry.flags & 1 != 0 {
        return Err(ArchiveError::Encrypted);
    }
    let mut local = [0; 30];
    read_at(reader, entry.offset, &mut local)?;
    if !local.starts_with(&LOCAL) {
        return Err(ArchiveError::Damaged("an entry is not where the directory says"));
    }
    let mut lengths = Fields(&local[26..30]);
    let skip = i64::from(lengths.u16()?) + i64::from(lengths.u16()?);
    reader.seek_relative(skip).map_err(ArchiveError::Read)?;
    let packed = reader.take(entry.packed);
    match entry.method {
        0 => place_contents(packed, entry, &path, out, budget),
        8 => place_contents(DeflateDecoder::new(packed), entry, &path, out, budget),
        _ => Err(ArchiveError::Method(shown(&entry.name))),
    }
}

fn place_contents(
    contents: impl Read,
    entry: &Entry,
    path: &EntryPath,
    out: &mut dyn Sink,
    budget: &mut Budget,
) -> Result<(), ArchiveError> {
    let mut contents = Checked { contents: Paid { contents, budget }, crc: Crc::new(), length: 0 };
    match entry.mode & KIND {
        SYMBOLIC_LINK => {
            let mut target = Vec::new();
            (&mut contents).take(MAX_TARGET + 1).read_to_end(&mut target).map_err(ArchiveError::Read)?;
            out.symbolic_link(path, &target)?;
        }
        0 | REGULAR => {
            let permissions = entry.mode & 0o777;
            let about = About { mode: if permissions == 0 { 0o644 } else { permissions }, modified: None };
            out.file(path, about, &mut contents)?;
        }
        _ => return Err(ArchiveError::Kind { path: path.shown(), kind: "device or named pipe" }),
    }
    io::copy(&mut contents, &mut io::sink()).map_err(ArchiveError::Read)?;
    if contents.length != entry.size || contents.crc.sum() != entry.crc {
        return Err(ArchiveError::Damaged("the checksum of an entry is wrong"));
    }
    Ok(())
}

impl Entry {
    /// Sizes and the offset that 32 bits cannot hold are in the ZIP64 field, in this order.
    fn read_extra(&mut self, extra: &[u8]) -> Result<(), ArchiveError> {
        let mut fields = Fields(extra);
        while fields.0.len() >= 4 {
            let (id, length) = (fields.u16()?, fields.u16()?);
            let Some((data, rest)) = fields.0.split_at_checked(usize::from(length)) else { break };
            fields.0 = rest;
            if id == 1 {
                let mut data = Fields(data);
                for field in [&mut self.size, &mut self.packed, &mut self.offset] {
                    if *field == 0xffff_ffff {
                        *field = data.u64()?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Contents with their checksum.
struct Checked<R> {
    contents: R,
    crc: Crc,
    length: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.contents.read(buffer)?;
        self.crc.update(&buffer[..length]);
        self.length += length as u64;
        Ok(length)
    }
}

/// Little-endian numbers one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let (head, rest) =
            self.0.split_first_chunk().ok_or(ArchiveError::Damaged("a record is too short"))?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, ArchiveError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ArchiveError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ArchiveError> {
        self.take().map(u64::from_le_bytes)
    }
}

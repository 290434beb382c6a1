//! `scp -f`: gives files.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::{DEPTH, Options, ScpError, Wire};

const CHUNK: usize = 64 << 10;

pub(super) fn serve<R: Read, W: Write>(options: &Options, wire: &mut Wire<R, W>) -> Result<(), ScpError> {
    wire.agreed()?;
    for path in &options.paths {
        give(options, wire, path, 0)?;
    }
    Ok(())
}

fn give<R: Read, W: Write>(
    options: &Options,
    wire: &mut Wire<R, W>,
    path: &Path,
    depth: usize,
) -> Result<(), ScpError> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) => return wire.warn(path, &error),
    };
    // `.` and `/` have no name of their own.
    let whole = fs::canonicalize(path).unwrap_or_default();
    let name = path.file_name().or(whole.file_name()).unwrap_or(std::ffi::OsStr::new("root")).as_bytes();
    let encoded;
    let name = if name.contains(&b'\n') {
        encoded = on_one_line(name);
        encoded.as_slice()
    } else {
        name
    };
    if found.is_dir() {
        if !options.recursive {
            return wire.warn(path, &io::Error::other("not a regular file"));
        }
        if depth >= DEPTH {
            return wire.warn(path, &io::Error::other("too deep"));
        }
        folder(options, wire, path, &found, name, depth)
    } else if found.is_file() {
        file(options, wire, path, name)
    } else {
        wire.warn(path, &io::Error::other("not a regular file"))
    }
}

fn folder<R: Read, W: Write>(
    options: &Options,
    wire: &mut Wire<R, W>,
    path: &Path,
    found: &Metadata,
    name: &[u8],
    depth: usize,
) -> Result<(), ScpError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return wire.warn(path, &error),
    };
    if !times(options, wire, found)? {
        return Ok(());
    }
    wire.say(&head(b'D', found, 0, name))?;
    if !wire.agreed()? {
        return Ok(());
    }
    for entry in entries {
        match entry {
            Ok(entry) => give(options, wire, &entry.path(), depth + 1)?,
            Err(error) => wire.warn(path, &error)?,
        }
    }
    wire.say(b"E\n")?;
    wire.agreed().map(drop)
}

fn file<R: Read, W: Write>(
    options: &Options,
    wire: &mut Wire<R, W>,
    path: &Path,
    name: &[u8],
) -> Result<(), ScpError> {
    let opened = fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let (mut file, found) = match opened.and_then(|file| file.metadata().map(|found| (file, found))) {
        Ok(opened) => opened,
        Err(error) => return wire.warn(path, &error),
    };
    if !times(options, wire, &found)? {
        return Ok(());
    }
    wire.say(&head(b'C', &found, found.len(), name))?;
    if !wire.agreed()? {
        return Ok(());
    }
    match send(wire, &mut file, found.len())? {
        None => wire.confirm()?,
        Some(error) => wire.warn(path, &error)?,
    }
    wire.agreed().map(drop)
}

/// Sends as many bytes as were announced, zeros where the file has become shorter.
fn send<R: Read, W: Write>(
    wire: &mut Wire<R, W>,
    file: &mut File,
    size: u64,
) -> Result<Option<io::Error>, ScpError> {
    let mut buffer = vec![0; CHUNK];
    let mut left = size;
    let mut failure = None;
    while left > 0 {
        let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let read = match &failure {
            Some(_) => most,
            None => match file.read(&mut buffer[..most]) {
                Ok(read) if read > 0 => read,
                ended => {
                    failure =
                        Some(ended.err().unwrap_or_else(|| io::Error::other("the file became shorter")));
                    buffer.fill(0);
                    most
                }
            },
        };
        wire.output.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    Ok(failure)
}

fn times<R: Read, W: Write>(
    options: &Options,
    wire: &mut Wire<R, W>,
    found: &Metadata,
) -> Result<bool, ScpError> {
    if !options.preserve {
        return Ok(true);
    }
    wire.say(format!("T{} 0 {} 0\n", found.mtime().max(0), found.atime().max(0)).as_bytes())?;
    wire.agreed()
}

/// A name with line breaks as OpenSSH's scp says it: every byte that is no visible ASCII character or blank is written as
/// strnvis(3) does (`\^J`, `\M-C`), and a backslash is doubled. The copy gets that name.
pub(super) fn on_one_line(name: &[u8]) -> Vec<u8> {
    let mut line = Vec::new();
    for byte in name {
        let low = byte & 0x7f;
        match byte {
            b'\\' => line.extend(b"\\\\"),
            b' ' | b'\t' | b'!'..=b'~' => line.push(*byte),
            0xa0 => line.extend(b"\\240"),
            _ => {
                line.push(b'\\');
                if *byte >= 0x80 {
                    line.push(b'M');
                }
                match low {
                    0x7f => line.extend(b"^?"),
                    0..0x20 => line.extend([b'^', low + b'@']),
                    _ => line.extend([b'-', low]),
                }
            }
        }
    }
    line
}

fn head(kind: u8, found: &Metadata, size: u64, name: &[u8]) -> Vec<u8> {
    let mut line = vec![kind];
    line.extend(format!("{:04o} {size} ", found.mode() & 0o7777).into_bytes());
    line.extend(name);
    line.push(b'\n');
    line
}

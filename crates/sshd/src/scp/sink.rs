//! `scp -t`: takes files.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::{Control, DEPTH, Options, ScpError, Wire};

const CHUNK: usize = 64 << 10;

type Times = Option<(i64, i64)>;

/// A folder that is being filled, and what is set once it is full.
struct Level {
    path: PathBuf,
    mode: Option<u32>,
    times: Times,
}

pub(super) fn serve<R: Read, W: Write>(options: &Options, wire: &mut Wire<R, W>) -> Result<(), ScpError> {
    let target = &options.paths[0];
    if options.folder && !target.is_dir() {
        return Err(ScpError::Other(format!("{}: not a directory", target.display())));
    }
    wire.confirm()?;
    let mut levels = Vec::<Level>::new();
    let mut times = None;
    while let Some(control) = wire.control()? {
        match control {
            Control::Times { change, access } => {
                times = Some((change, access));
                wire.confirm()?;
            }
            Control::File { mode, size, name } => {
                let path = place(target, &levels, &name);
                file(options, wire, &path, mode, size, times.take())?;
            }
            Control::Folder { mode, name } => {
                if !options.recursive || levels.len() >= DEPTH {
                    return Err(ScpError::Protocol);
                }
                let path = place(target, &levels, &name);
                let level = folder(options, path, mode, times.take())?;
                levels.push(level);
                wire.confirm()?;
            }
            Control::End => {
                let level = levels.pop().ok_or(ScpError::Protocol)?;
                finish(&level.path, level.mode, level.times)?;
                wire.confirm()?;
            }
            Control::Warning(_) => wire.failed = true,
            Control::Fatal(text) => return Err(ScpError::Other(text)),
        }
    }
    if levels.is_empty() { Ok(()) } else { Err(ScpError::Protocol) }
}

/// Where `name` goes: into the folder that is being filled, into the target if it is a folder, or it is the target.
fn place(target: &Path, levels: &[Level], name: &std::ffi::OsStr) -> PathBuf {
    match levels.last() {
        Some(level) => level.path.join(name),
        None if target.is_dir() => target.join(name),
        None => target.to_owned(),
    }
}

fn folder(options: &Options, path: PathBuf, mode: u32, times: Times) -> Result<Level, ScpError> {
    let made = if path.is_dir() {
        false
    } else {
        // Writable until it is full.
        let made = fs::DirBuilder::new().mode(mode & 0o777 | 0o700).create(&path);
        made.map_err(|error| ScpError::Other(format!("{}: {error}", path.display())))?;
        true
    };
    let mode = (options.preserve || (made && mode & 0o700 != 0o700)).then_some(mode);
    Ok(Level { path, mode, times })
}

fn file<R: Read, W: Write>(
    options: &Options,
    wire: &mut Wire<R, W>,
    path: &Path,
    mode: u32,
    size: u64,
    times: Times,
) -> Result<(), ScpError> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(mode & 0o777).open(path);
    let mut opened = match opened {
        Ok(file) => file,
        // Said instead of the agreement: the other side does not send it.
        Err(error) => return wire.warn(path, &error),
    };
    wire.confirm()?;
    let failure = receive(wire, &mut opened, size)?;
    // The other side says whether its file was whole.
    wire.agreed()?;
    let done = match failure {
        Some(error) => Err(error),
        None => opened.set_len(size).or_else(|error| {
            // A device or pipe has no length.
            if opened.metadata().is_ok_and(|found| found.is_file()) { Err(error) } else { Ok(()) }
        }),
    };
    drop(opened);
    let done = done.and_then(|()| finish(path, options.preserve.then_some(mode), times));
    match done {
        Ok(()) => wire.confirm(),
        Err(error) => wire.warn(path, &error),
    }
}

/// Takes all of the data, also if it cannot be written, so that both sides stay in step.
fn receive<R: Read, W: Write>(
    wire: &mut Wire<R, W>,
    file: &mut File,
    size: u64,
) -> Result<Option<io::Error>, ScpError> {
    let mut buffer = vec![0; CHUNK];
    let mut left = size;
    let mut failure = None;
    while left > 0 {
        let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let read = match wire.input.read(&mut buffer[..most]) {
            Ok(0) => return Err(ScpError::Protocol),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        left -= read as u64;
        if failure.is_none() {
            failure = file.write_all(&buffer[..read]).err();
        }
    }
    Ok(failure)
}

fn finish(path: &Path, mode: Option<u32>, times: Times) -> io::Result<()> {
    if let Some(mode) = mode {
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if let Some((change, access)) = times {
        let at = |seconds: i64| TimeSpec::new(seconds, 0);
        utimensat(AT_FDCWD, path, &at(access), &at(change), UtimensatFlags::FollowSymlink)?;
    }
    Ok(())
}

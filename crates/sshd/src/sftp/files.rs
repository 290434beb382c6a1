//! Requests carried out on the node's files. The kernel decides what the user may do.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::libc;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::statvfs::{FsFlags, Statvfs, fstatvfs, statvfs};
use nix::sys::time::TimeSpec;

use super::folder::Folder;
use super::wire::{self, Answers, Attributes, Request};

/// Files and folders that may be open at once.
const HANDLES: usize = 512;

/// What is open.
#[derive(Default)]
pub(super) struct Files {
    open: HashMap<u32, Open>,
    last: u32,
}

enum Open {
    File(File),
    Folder(Folder),
}

/// How a request ended, other than well.
enum Refusal {
    Io(io::Error),
    /// The end of a file or folder.
    End,
    NoHandle,
    Unsupported,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

type Done = Result<(), Refusal>;

fn path(bytes: &[u8]) -> &Path {
    // An empty name is where one is.
    if bytes.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(bytes)) }
}

// === impl Files ===

impl Files {
    /// Carries `request` out and adds its answer.
    pub(super) fn answer(&mut self, id: u32, request: Request<'_>, answers: &mut Answers) {
        let (code, text) = match self.carry_out(id, request, answers) {
            Ok(true) => return,
            Ok(false) => (wire::OK, String::new()),
            Err(Refusal::End) => (wire::EOF, "end of file".to_owned()),
            Err(Refusal::NoHandle) => (wire::FAILURE, "no such handle".to_owned()),
            Err(Refusal::Unsupported) => (wire::UNSUPPORTED, "not supported".to_owned()),
            Err(Refusal::Io(error)) => (code(&error), error.to_string()),
        };
        answers.status(id, code, &text);
    }

    /// True if the answer is there already, false if a status is still to be said.
    fn carry_out(&mut self, id: u32, request: Request<'_>, answers: &mut Answers) -> Result<bool, Refusal> {
        match request {
            Request::Init => greet(answers),
            Request::Open { path: name, flags, attributes } => {
                let file = open(path(name), flags, &attributes)?;
                self.hold(Open::File(file), id, answers)?;
            }
            Request::OpenDir(name) => {
                let folder = Folder::open(path(name).to_owned())?;
                self.hold(Open::Folder(folder), id, answers)?;
            }
            Request::Close(handle) => {
                self.open.remove(&handle).ok_or(Refusal::NoHandle)?;
                return Ok(false);
            }
            Request::Read { handle, offset, length } => {
                read(self.file(handle)?, id, offset, length, answers)?
            }
            Request::Write { handle, offset, data } => {
                self.file(handle)?.write_all_at(data, offset)?;
                return Ok(false);
            }
            Request::ReadDir(handle) => match self.open.get_mut(&handle) {
                Some(Open::Folder(folder)) => {
                    if !folder.list(id, answers)? {
                        return Err(Refusal::End);
                    }
                }
                _ => return Err(Refusal::NoHandle),
            },
            Request::Stat { path: name, follow } => {
                let found =
                    if follow { fs::metadata(path(name))? } else { fs::symlink_metadata(path(name))? };
                answers.begin(105, id).attributes(&attributes_of(&found));
            }
            Request::HandleStat(handle) => {
                let found = match self.open.get(&handle).ok_or(Refusal::NoHandle)? {
                    Open::File(file) => file.metadata()?,
                    Open::Folder(folder) => fs::metadata(folder.path())?,
                };
                answers.begin(105, id).attributes(&attributes_of(&found));
            }
            Request::RealPath(name) => name_answer(id, real(path(name))?, answers),
            Request::ExpandPath(name) => name_answer(id, real(&expand(name))?, answers),
            Request::ReadLink(name) => name_answer(id, fs::read_link(path(name))?, answers),
            Request::Space(name) => space(id, &statvfs(path(name))?, answers),
            Request::HandleSpace(handle) => space(id, &fstatvfs(self.file(handle)?)?, answers),
            Request::Limits => {
                let mut answer = answers.begin(201, id);
                for limit in [wire::PACKET as u64, wire::CHUNK.into(), wire::CHUNK.into(), HANDLES as u64] {
                    answer.u64(limit);
                }
            }
            Request::Unknown => return Err(Refusal::Unsupported),
            other => {
                self.change(other)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The requests that have nothing to say but how they ended.
    fn change(&mut self, request: Request<'_>) -> Done {
        match request {
            Request::SetStat { path: name, attributes, follow } => set(path(name), &attributes, follow)?,
            Request::HandleSetStat { handle, attributes } => set_open(self.file(handle)?, &attributes)?,
            Request::Remove(name) => nix::unistd::unlink(path(name))?,
            Request::MakeDir { path: name, attributes } => {
                fs::DirBuilder::new().mode(attributes.mode.unwrap_or(0o777) & 0o7777).create(path(name))?;
            }
            Request::RemoveDir(name) => fs::remove_dir(path(name))?,
            Request::Rename { from, to, replace: true } => fs::rename(path(from), path(to))?,
            Request::Rename { from, to, replace: false } => rename_new(path(from), path(to))?,
            Request::SymLink { target, link } => {
                std::os::unix::fs::symlink(OsStr::from_bytes(target), path(link))?
            }
            Request::HardLink { target, link } => fs::hard_link(path(target), path(link))?,
            Request::Sync(handle) => self.file(handle)?.sync_all()?,
            _ => return Err(Refusal::Unsupported),
        }
        Ok(())
    }

    fn file(&self, handle: u32) -> Result<&File, Refusal> {
        match self.open.get(&handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(Refusal::NoHandle),
        }
    }

    fn hold(&mut self, open: Open, id: u32, answers: &mut Answers) -> Done {
        if self.open.len() >= HANDLES {
            return Err(Errno::EMFILE.into());
        }
        loop {
            self.last = self.last.wrapping_add(1);
            // The last number stands for what no client was given.
            if self.last != u32::MAX && !self.open.contains_key(&self.last) {
                break;
            }
        }
        self.open.insert(self.last, open);
        answers.begin(102, id).text(&self.last.to_be_bytes());
        Ok(())
    }
}

fn greet(answers: &mut Answers) {
    let mut answer = answers.begin(2, 3);
    let extensions = [
        ("posix-rename@openssh.com", "1"),
        ("statvfs@openssh.com", "2"),
        ("fstatvfs@openssh.com", "2"),
        ("hardlink@openssh.com", "1"),
        ("fsync@openssh.com", "1"),
        ("lsetstat@openssh.com", "1"),
        ("limits@openssh.com", "1"),
        ("expand-path@openssh.com", "1"),
    ];
    for (name, version) in extensions {
        answer.text(name.as_bytes());
        answer.text(version.as_bytes());
    }
}

fn open(path: &Path, flags: u32, attributes: &Attributes) -> io::Result<File> {
    let flag = |bit: u32| flags & bit != 0;
    let (append, create, truncate, exclusive) = (flag(4), flag(8), flag(16), flag(32));
    let mut options = OpenOptions::new();
    options.read(flag(1)).write(flag(2)).append(append);
    // What the standard library would refuse (creating a file to read only) the kernel allows.
    let mut custom = 0;
    for (on, bit) in [(create, libc::O_CREAT), (create && exclusive, libc::O_EXCL), (truncate, libc::O_TRUNC)]
    {
        custom |= if on { bit } else { 0 };
    }
    options.custom_flags(custom | libc::O_NOCTTY).mode(attributes.mode.unwrap_or(0o666) & 0o7777);
    options.open(path)
}

fn read(file: &File, id: u32, offset: u64, length: u32, answers: &mut Answers) -> Done {
    let length = length.min(wire::CHUNK) as usize;
    let mut answer = answers.begin(103, id);
    let read = answer.data(length, |buffer| {
        loop {
            match file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        }
    });
    match read {
        Ok(0) if length > 0 => {
            answer.forget();
            Err(Refusal::End)
        }
        Ok(_) => Ok(()),
        Err(error) => {
            answer.forget();
            Err(error.into())
        }
    }
}

fn name_answer(id: u32, path: PathBuf, answers: &mut Answers) {
    let name = path.into_os_string().into_vec();
    let mut answer = answers.begin(104, id);
    answer.u32(1);
    answer.text(&name);
    answer.text(&name);
    answer.attributes(&Attributes::default());
}

fn space(id: u32, found: &Statvfs, answers: &mut Answers) {
    let flags = found.flags();
    let told =
        u64::from(flags.contains(FsFlags::ST_RDONLY)) | u64::from(flags.contains(FsFlags::ST_NOSUID)) << 1;
    let mut answer = answers.begin(201, id);
    for number in [
        found.block_size(),
        found.fragment_size(),
        found.blocks(),
        found.blocks_free(),
        found.blocks_available(),
        found.files(),
        found.files_free(),
        found.files_available(),
        found.filesystem_id(),
        told,
        found.name_max(),
    ] {
        answer.u64(number);
    }
}

pub(super) fn attributes_of(found: &Metadata) -> Attributes {
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    Attributes {
        size: Some(found.size()),
        owner: Some((found.uid(), found.gid())),
        mode: Some(found.mode()),
        times: Some((seconds(found.atime()), seconds(found.mtime()))),
    }
}

fn set(path: &Path, attributes: &Attributes, follow: bool) -> Done {
    let Attributes { size, owner, mode, times } = *attributes;
    if let Some(size) = size {
        nix::unistd::truncate(path, size.try_into().map_err(|_| Errno::EFBIG)?)?;
    }
    if let Some((user, group)) = owner {
        let chown = if follow { std::os::unix::fs::chown } else { std::os::unix::fs::lchown };
        chown(path, Some(user), Some(group))?;
    }
    if let Some(mode) = mode {
        if !follow && fs::symlink_metadata(path)?.is_symlink() {
            // A link's own mode cannot be set, and nobody looks at it.
            return Err(Refusal::Unsupported);
        }
        fs::set_permissions(path, Permissions::from_mode(mode & 0o7777))?;
    }
    if let Some((access, change)) = times {
        let flags = if follow { UtimensatFlags::FollowSymlink } else { UtimensatFlags::NoFollowSymlink };
        utimensat(AT_FDCWD, path, &TimeSpec::new(access.into(), 0), &TimeSpec::new(change.into(), 0), flags)?;
    }
    Ok(())
}

fn set_open(file: &File, attributes: &Attributes) -> Done {
    let Attributes { size, owner, mode, times } = *attributes;
    if let Some(size) = size {
        file.set_len(size)?;
    }
    if let Some((user, group)) = owner {
        std::os::unix::fs::fchown(file, Some(user), Some(group))?;
    }
    if let Some(mode) = mode {
        file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
    }
    if let Some((access, change)) = times {
        let at = |seconds: u32| UNIX_EPOCH + Duration::from_secs(seconds.into());
        file.set_times(fs::FileTimes::new().set_accessed(at(access)).set_modified(at(change)))?;
    }
    Ok(())
}

/// Version 3's rename, which replaces nothing: a link has no moment in which the target could be lost.
fn rename_new(from: &Path, to: &Path) -> Done {
    if fs::symlink_metadata(from)?.is_file() {
        match fs::hard_link(from, to) {
            Ok(()) => return Ok(nix::unistd::unlink(from)?),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error.into()),
            // A file system without links.
            Err(_) => {}
        }
    }
    match fs::symlink_metadata(to) {
        Ok(_) => Err(Errno::EEXIST.into()),
        Err(_) => Ok(fs::rename(from, to)?),
    }
}

/// The whole path; its last part need not be there.
fn real(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Err(error) };
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(fs::canonicalize(parent)?.join(name))
        }
        done => done,
    }
}

/// `~` and `~/…` are the home; another user's are not known here.
fn expand(name: &[u8]) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| OsString::from("/")));
    match name {
        b"~" => home(),
        [b'~', b'/', rest @ ..] => home().join(OsStr::from_bytes(rest)),
        name => path(name).to_owned(),
    }
}

/// The statuses that version 3 has, as OpenSSH maps errors to them.
fn code(error: &io::Error) -> u32 {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::EBADF | Errno::ELOOP) => wire::NO_SUCH_FILE,
        Some(Errno::EPERM | Errno::EACCES | Errno::EFAULT) => wire::PERMISSION_DENIED,
        Some(Errno::ENAMETOOLONG | Errno::EINVAL) => wire::BAD_MESSAGE,
        Some(Errno::ENOSYS | Errno::EOPNOTSUPP) => wire::UNSUPPORTED,
        _ => wire::FAILURE,
    }
}

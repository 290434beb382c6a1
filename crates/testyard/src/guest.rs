//! Finding the guest, the static program that is process 1 of every node, and putting it where nodes can see it.
//!
//! Nodes keep the guest that they were made with: each content has a folder of its own under the state folder, named
//! by its hash, mounted read-only. An upgrade of Testyard adds a folder and takes none away.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The name of the guest's program.
pub const PROGRAM: &str = "testyard-guest";

/// Where the guest may be, beside the program at `program`: in the same folder, as installed or as cargo lays it out
/// for a static build, and in the package's library folder.
#[must_use]
pub fn candidates(program: &Path) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(folder) = program.parent() {
        places.push(folder.join(PROGRAM));
        // target/release/testyard → target/<triple>/release/testyard-guest, made by scripts/build-guest.
        if let (Some(profile), Some(target)) = (folder.file_name(), folder.parent()) {
            let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
            // Tests run in target/debug/deps, and the guest is always a release build.
            for base in [Some(target), target.parent()].into_iter().flatten() {
                places.push(base.join(&triple).join(profile).join(PROGRAM));
                places.push(base.join(&triple).join("release").join(PROGRAM));
            }
        }
    }
    places.push(Path::new("/usr/lib/testyard").join(PROGRAM));
    places
}

/// The guest's program.
///
/// # Errors
/// `NotFound` with the places that were looked at.
pub fn find() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let places = candidates(&program);
    places.iter().find(|place| is_static_program(place)).cloned().ok_or_else(|| {
        let looked = places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("the guest program is missing; scripts/build-guest makes it (looked at {looked})"),
        )
    })
}

/// Whether this is a program that runs in any image: an ELF file that names no interpreter.
fn is_static_program(path: &Path) -> bool {
    let Ok(program) = fs::read(path) else { return false };
    program.starts_with(b"\x7fELF")
        && program_headers(&program).is_some_and(|kinds| !kinds.contains(&PT_INTERP))
}

const PT_INTERP: u32 = 3;

/// The kinds of the program headers of a 64-bit little-endian ELF file.
fn program_headers(elf: &[u8]) -> Option<Vec<u32>> {
    let word =
        |at: usize| elf.get(at..at + 2).map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let start = usize::try_from(u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?)).ok()?;
    let (size, count) = (word(54)?, word(56)?);
    (0..count)
        .map(|index| {
            let at = start.checked_add(index * size)?;
            elf.get(at..at.checked_add(4)?)
                .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        })
        .collect()
}

/// Puts the guest into its folder below `state` and returns that folder.
///
/// # Errors
/// What the system says.
pub fn install(guest: &Path, state: &Path) -> io::Result<PathBuf> {
    let mut content = Vec::new();
    fs::File::open(guest)?.read_to_end(&mut content)?;
    let hash = Sha256::digest(&content).iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let all = state.join("guest");
    fs::create_dir_all(&all)?;
    // One of the files gives root to whoever runs it where nobody has told it otherwise: on the host, nobody may.
    fs::set_permissions(&all, fs::Permissions::from_mode(0o700))?;
    let folder = all.join(hash);
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    LINKS.iter().try_for_each(|name| link(&folder, name))?;
    put(&folder, SUDO, &content, if nix::unistd::geteuid().is_root() { 0o4755 } else { 0o755 })?;
    put(&folder, PROGRAM, &content, 0o755)?;
    Ok(folder)
}

/// The guest as sudo, for images that have none: a file of its own, since it is setuid root.
const SUDO: &str = "sudo";

/// Puts a file in place, complete or not at all; one that is there with this mode is complete.
fn put(folder: &Path, name: &str, content: &[u8], mode: u32) -> io::Result<()> {
    let path = folder.join(name);
    if fs::symlink_metadata(&path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o7777 == mode)
    {
        return Ok(());
    }
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut temporary, content)?;
    temporary.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    temporary.as_file().sync_all()?;
    temporary.persist(&path)?;
    Ok(())
}

/// Other names of the guest's program, beside it: called by one of them, it is that program.
const LINKS: &[&str] = &["geni-get"];

fn link(folder: &Path, name: &str) -> io::Result<()> {
    match std::os::unix::fs::symlink(PROGRAM, folder.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    #[test]
    fn installed_once_per_content() {
        let state = tempfile::tempdir().unwrap();
        let source = state.path().join("source");
        fs::write(&source, "one").unwrap();
        let first = install(&source, state.path()).unwrap();
        assert_eq!(install(&source, state.path()).unwrap(), first);
        assert_eq!(fs::metadata(first.join(PROGRAM)).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read(first.join("geni-get")).unwrap(), b"one", "another name of the same");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let setuid = if nix::unistd::geteuid().is_root() { 0o4755 } else { 0o755 };
        assert_eq!(mode(&first.join(SUDO)), setuid);
        // A file that was left without its right is replaced.
        fs::set_permissions(first.join(SUDO), fs::Permissions::from_mode(0o755)).unwrap();
        install(&source, state.path()).unwrap();
        assert_eq!(mode(&first.join(SUDO)), setuid);
        fs::write(&source, "two").unwrap();
        let second = install(&source, state.path()).unwrap();
        assert_ne!(first, second);
        assert_eq!(fs::read(first.join(PROGRAM)).unwrap(), b"one");
    }

    #[test]
    fn nobody_on_the_host_reaches_what_is_setuid() {
        assert!(nix::unistd::geteuid().is_root(), "NEEDS root: only its files are setuid root");
        let state = tempfile::tempdir().unwrap();
        // As wide open as an operator can have made it.
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::create_dir(state.path().join("guest")).unwrap();
        fs::set_permissions(state.path().join("guest"), fs::Permissions::from_mode(0o777)).unwrap();
        let source = state.path().join("source");
        fs::copy("/bin/true", &source).unwrap();
        let sudo = install(&source, state.path()).unwrap().join(SUDO);
        // Another test that has just forked may still hold the file as it was written, and then nobody runs it.
        let ran = loop {
            match Command::new(&sudo).status() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                ran => break ran,
            }
        };
        assert!(ran.unwrap().success());
        let refused = Command::new(&sudo).uid(65_534).gid(65_534).status().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_program_that_needs_an_interpreter_is_no_guest() {
        let own = std::env::current_exe().unwrap();
        assert!(!is_static_program(&own), "tests are linked dynamically");
        assert!(!is_static_program(Path::new("/etc/passwd")));
    }
}

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
    let folder = state.join("guest").join(hash);
    let program = folder.join(PROGRAM);
    if program.exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(&folder)?;
    io::Write::write_all(&mut temporary, &content)?;
    temporary.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
    temporary.as_file().sync_all()?;
    temporary.persist(&program)?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_once_per_content() {
        let state = tempfile::tempdir().unwrap();
        let source = state.path().join("source");
        fs::write(&source, "one").unwrap();
        let first = install(&source, state.path()).unwrap();
        assert_eq!(install(&source, state.path()).unwrap(), first);
        assert_eq!(fs::metadata(first.join(PROGRAM)).unwrap().permissions().mode() & 0o777, 0o755);
        fs::write(&source, "two").unwrap();
        let second = install(&source, state.path()).unwrap();
        assert_ne!(first, second);
        assert_eq!(fs::read(first.join(PROGRAM)).unwrap(), b"one");
    }

    #[test]
    fn a_program_that_needs_an_interpreter_is_no_guest() {
        let own = std::env::current_exe().unwrap();
        assert!(!is_static_program(&own), "tests are linked dynamically");
        assert!(!is_static_program(Path::new("/etc/passwd")));
    }
}

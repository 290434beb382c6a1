//! Why the image's program was not started or did not go on, for people: what it is, the cause, the remedy.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use testyard_guest_protocol::{GUEST_BIN, Program};

use super::{PATH, find};
use crate::services::trouble_of_script;
use crate::{files, text};

/// How much of a name of the image is told, in characters.
const MAX_NAME: usize = 200;

/// How much of a script is looked at.
const MAX_SCRIPT: u64 = 64 << 10;

/// Why the image's program was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    #[error(
        "it is to run as USER {0:?}, who is not in the image's /etc/passwd; add the user, or name another"
    )]
    User(String),
    #[error(
        "its USER names the group {0:?}, which is not in the image's /etc/group; add the group, or name another"
    )]
    Group(String),
    #[error("the image's accounts are not known")]
    Accounts(#[source] files::FileError),
    #[error("its WORKDIR {0:?} cannot be made")]
    Workdir(PathBuf, #[source] io::Error),
    #[error("it is an SSH server, and the root is read-only: it would know none of the users")]
    Strangers,
    #[error("the name of the program is empty; give the image an ENTRYPOINT or CMD, or none at all")]
    Unnamed,
    #[error("it is in no folder of PATH ({0}); correct the name, or the image's PATH")]
    NotInPath(String),
    #[error("{why}")]
    Start { why: String, number: i32 },
}

impl ProgramError {
    /// That a program of this name is in none of the folders.
    pub(super) fn not_found(name: &str, path: &str) -> Self {
        if name.is_empty() {
            return Self::Unnamed;
        }
        let path = path.strip_suffix(GUEST_BIN).map_or(path, |path| path.trim_end_matches(':'));
        Self::NotInPath(text::printable(path.as_bytes(), MAX_NAME))
    }

    /// What the system's error means for `file`.
    pub(super) fn start(root: &Path, file: &Path, error: &io::Error) -> Self {
        let number = error.raw_os_error().unwrap_or(libc::EIO);
        Self::Start { why: why(root, file, number, error), number }
    }

    /// The number for those who want one.
    pub(super) fn number(&self) -> i32 {
        match self {
            Self::User(_) | Self::Group(_) => libc::EINVAL,
            Self::Accounts(_) => libc::EIO,
            Self::Strangers => libc::EROFS,
            Self::Unnamed | Self::NotInPath(_) => libc::ENOENT,
            Self::Workdir(_, error) => error.raw_os_error().unwrap_or(libc::EIO),
            Self::Start { number, .. } => *number,
        }
    }

    /// All of it: the program, the cause, the remedy.
    pub(super) fn note(&self, name: &str) -> String {
        format!("{:?}: {}", text::printable(name.as_bytes(), MAX_NAME), text::chain(self))
    }
}

fn why(root: &Path, file: &Path, number: i32, error: &io::Error) -> String {
    let found = std::fs::metadata(file).ok();
    match (number, found) {
        (libc::ENOENT | libc::ENOTDIR, None) => {
            "there is no such file in the image; correct its ENTRYPOINT or CMD".to_owned()
        }
        (libc::ENOENT, Some(_)) => {
            let inside = Path::new("/").join(file.strip_prefix(root).unwrap_or(file));
            trouble_of_script(root, &inside.to_string_lossy()).unwrap_or_else(|| {
                "it is there, but not the loader that it asks for; put its C library into the image, or link it statically"
                    .to_owned()
            })
        }
        (libc::EACCES, Some(found)) if found.is_dir() => {
            "it is a folder; correct the image's ENTRYPOINT or CMD".to_owned()
        }
        (libc::EACCES, Some(found)) if found.permissions().mode() & 0o111 == 0 => {
            "it may not be executed; set its mode in the image (chmod +x)".to_owned()
        }
        (libc::EACCES, _) => {
            "the image's USER may not execute it; set its mode and those of the folders above it".to_owned()
        }
        (libc::ENOEXEC, _) => {
            "it is no program for this machine's processor, and no script with a first line that begins with #!"
                .to_owned()
        }
        (libc::E2BIG, _) => "its arguments and environment are too long".to_owned(),
        _ => text::why_not_started(error),
    }
}

// === programs that start an SSH server ===

/// Where the program starts an SSH server of its own, as far as its words and scripts show it. Such a one finds port 22
/// taken, and ends.
pub(super) fn starts_ssh(root: &Path, program: &Program) -> Option<String> {
    let workdir = Path::new(if program.workdir.is_empty() { "/" } else { &program.workdir });
    let path = program.env.iter().rev().find_map(|line| line.strip_prefix("PATH=")).unwrap_or(PATH);
    let (first, rest) = program.argv.split_first()?;
    let scripts = find(root, workdir, path, first).map(|file| (first, file)).into_iter();
    let further = rest.iter().filter(|word| word.contains('/') && !word.contains(char::is_whitespace));
    let further = further.filter_map(|word| Some((word, find(root, workdir, path, word)?)));
    if program.argv.iter().any(|word| names_ssh(word)) {
        return Some("in its arguments".to_owned());
    }
    scripts
        .chain(further)
        .find(|(_, file)| script(file).is_some_and(|text| names_ssh(&text)))
        .map(|(word, _)| format!("in {}", text::printable(word.as_bytes(), MAX_NAME)))
}

/// What to tell about a program that has ended and starts an SSH server there.
pub(super) fn port_taken(place: &str) -> String {
    format!(
        "it starts an SSH server ({place}) and port 22 is taken, because Testyard has started one for the node's users \
         already; leave that out of the image's program, or let the program be sshd itself"
    )
}

/// Whether some commands, comments left out, start an SSH server.
fn names_ssh(commands: &str) -> bool {
    commands.lines().map(str::trim_start).filter(|line| !line.starts_with('#')).any(|line| {
        let words = || line.split(|c: char| c.is_whitespace() || ";&|()\"'`".contains(c));
        let is_server = |word: &str| matches!(word.rsplit('/').next(), Some("sshd" | "dropbear"));
        words().any(|word| is_server(word) || word.ends_with("init.d/ssh"))
            || words().zip(words().skip(1)).any(|pair| matches!(pair, ("service", "ssh" | "sshd")))
    })
}

/// The text of a script.
fn script(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    files::open(file).ok()?.take(MAX_SCRIPT).read_to_end(&mut bytes).ok()?;
    (!bytes.contains(&0)).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn told(root: &Path, name: &str, number: i32) -> String {
        ProgramError::start(root, &root.join(name), &io::Error::from_raw_os_error(number)).note(name)
    }

    #[test]
    fn each_cause_has_its_remedy() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for (name, text) in [("loader", "\x7fELF"), ("script", "#!/opt/none\n"), ("plain", "x")] {
            fs::write(root.join(name), text).unwrap();
        }
        for (name, number, expected) in [
            ("none", libc::ENOENT, "\"none\": there is no such file"),
            ("script", libc::ENOENT, "asks for /opt/none, which the image does not have"),
            ("loader", libc::ENOENT, "not the loader"),
            ("", libc::EACCES, "it is a folder"),
            ("plain", libc::EACCES, "chmod +x"),
            ("plain", libc::ENOEXEC, "no program for this machine"),
            ("plain", libc::EAGAIN, "limit of processes"),
        ] {
            assert!(told(root, name, number).contains(expected), "{}", told(root, name, number));
        }
        let told = ProgramError::not_found("x", "/nowhere:/.testyard/bin").note("x");
        assert!(told.starts_with("\"x\": it is in no folder of PATH (/nowhere);"), "{told}");
        assert!(matches!(ProgramError::not_found("", "/bin"), ProgramError::Unnamed));
        assert!(ProgramError::Strangers.note(&"x".repeat(100_000)).len() < 500);
    }

    #[test]
    fn programs_that_start_an_ssh_server_are_known() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let put = |name: &str, text: &str| fs::write(root.join(name), text).unwrap();
        put("start.sh", "#!/bin/sh\n# all of it\n/usr/sbin/sshd -D\n");
        put("quiet.sh", "#!/bin/sh\n  # no sshd here\necho mysshd sshd_config\n");
        put("elf", "\x7fELF\0 /usr/sbin/sshd ");
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let of = |words: &[&str]| {
            let argv = words.iter().map(|word| (*word).to_owned()).collect();
            starts_ssh(root, &Program { argv, ..Program::default() })
        };
        assert_eq!(of(&["/start.sh"]).as_deref(), Some("in /start.sh"));
        assert_eq!(of(&["sh", "/start.sh"]).as_deref(), Some("in /start.sh"));
        for words in [&["sh", "-c", "service ssh start; wait"][..], &["/init", "/usr/sbin/sshd", "-D"]] {
            assert_eq!(of(words).as_deref(), Some("in its arguments"), "{words:?}");
        }
        for words in [&["/quiet.sh"][..], &["/elf"], &["/pipe"], &["/none"], &["sleep", "/etc/ssh"], &[]] {
            assert_eq!(of(words), None, "{words:?}");
        }
    }
}

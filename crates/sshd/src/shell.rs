//! Which program serves a request. Pure but for the look whether files are there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::settings::Account;
use crate::words;

/// Shells that an image may have, the best first; the second is the name that the program is called by.
const SHELLS: [(&str, &str); 7] = [
    ("/bin/bash", "bash"),
    ("/usr/bin/bash", "bash"),
    ("/bin/sh", "sh"),
    ("/usr/bin/sh", "sh"),
    ("/bin/ash", "ash"),
    ("/bin/busybox", "sh"),
    ("/usr/bin/busybox", "sh"),
];

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Shell,
    Command(Vec<u8>),
    Sftp,
}

/// A program with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    /// The first argument, the name.
    pub(crate) name: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// A request that cannot be served: a line for the client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoProgram {
    #[error(
        "this node has no shell: 'ssh NODE PROGRAM ARGUMENTS' starts a program, and sftp and scp copy files"
    )]
    NoShell,
    #[error("{0}")]
    Words(#[from] words::WordsError),
}

/// The image, as far as this module looks at it.
pub(crate) trait Files {
    fn is_program(&self, path: &Path) -> bool;
    /// Where this program is, as others can start it.
    fn own_path(&self) -> Option<PathBuf>;
}

/// The image as it is for this process's user.
pub(crate) struct Image;

impl Files for Image {
    fn is_program(&self, path: &Path) -> bool {
        path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
    }

    fn own_path(&self) -> Option<PathBuf> {
        std::env::current_exe().ok().filter(|path| self.is_program(path))
    }
}

/// The user's shell, and the name to call it by.
pub(crate) fn shell(account: &Account, files: &impl Files) -> Option<(PathBuf, String)> {
    let own = account.shell.as_ref().map(|path| {
        let name = path.file_name().unwrap_or(OsStr::new("sh")).to_string_lossy().into_owned();
        (path.clone(), name)
    });
    let known = SHELLS.iter().map(|(path, name)| (PathBuf::from(path), (*name).to_owned()));
    own.into_iter().chain(known).find(|(path, _)| files.is_program(path))
}

/// The program for `wanted`.
pub(crate) fn plan(
    wanted: &Wanted,
    shell: Option<&(PathBuf, String)>,
    files: &impl Files,
) -> Result<Launch, NoProgram> {
    match (wanted, shell) {
        (Wanted::Sftp, _) => Ok(applet("sftp", [])),
        (Wanted::Shell, Some((program, name))) => {
            Ok(Launch { program: program.clone(), name: format!("-{name}").into(), arguments: Vec::new() })
        }
        (Wanted::Command(command), Some((program, name))) => {
            let mut line = command.clone();
            if is_scp(command) {
                // The shell expands what the client meant it to, then starts this program.
                if let Some(own) = files.own_path() {
                    line = [
                        words::quote(own.as_os_str().as_bytes()).as_slice(),
                        crate::COMMAND.as_bytes(),
                        command,
                    ]
                    .join(&b' ');
                }
            }
            let arguments = vec!["-c".into(), OsString::from_vec(line)];
            Ok(Launch { program: program.clone(), name: name.into(), arguments })
        }
        (Wanted::Shell, None) => Err(NoProgram::NoShell),
        (Wanted::Command(command), None) => {
            let words = words::split(command)?;
            let mut words = words.into_iter().map(OsString::from_vec);
            let name = words.next().ok_or(NoProgram::NoShell)?;
            if is_scp(command) {
                return Ok(applet("scp", words));
            }
            Ok(Launch { program: name.clone().into(), name, arguments: words.collect() })
        }
    }
}

fn applet(name: &str, arguments: impl IntoIterator<Item = OsString>) -> Launch {
    let words = [crate::COMMAND.into(), name.into()];
    Launch {
        program: "/proc/self/exe".into(),
        name: crate::COMMAND.into(),
        arguments: words.into_iter().chain(arguments).collect(),
    }
}

/// Whether `command` is the far side of an old scp. It is always served by this program: the image may have none, and
/// OpenSSH's refuses users that /etc/passwd does not know.
fn is_scp(command: &[u8]) -> bool {
    let mut words = command.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    words.next() == Some(b"scp")
        && words.take_while(|word| word.starts_with(b"-")).any(|word| matches!(word, b"-t" | b"-f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(&'static [&'static str]);

    impl Files for Fake {
        fn is_program(&self, path: &Path) -> bool {
            self.0.iter().any(|own| Path::new(own) == path)
        }

        fn own_path(&self) -> Option<PathBuf> {
            Some("/own tools/guest".into())
        }
    }

    fn account(shell: Option<&str>) -> Account {
        Account {
            login: "ann".into(),
            uid: 1,
            gid: 1,
            groups: Vec::new(),
            home: "/".into(),
            shell: shell.map(PathBuf::from),
            keys: Vec::new(),
        }
    }

    fn planned(wanted: &Wanted, files: &Fake) -> Result<(String, String, Vec<String>), NoProgram> {
        let shell = shell(&account(None), files);
        let text = |text: &OsStr| text.to_string_lossy().into_owned();
        plan(wanted, shell.as_ref(), files).map(|launch| {
            (
                text(launch.program.as_os_str()),
                text(&launch.name),
                launch.arguments.iter().map(|word| text(word)).collect(),
            )
        })
    }

    #[test]
    fn the_first_shell_that_is_there_is_taken() {
        let both = Fake(&["/bin/sh", "/bin/bash", "/opt/fish"]);
        assert_eq!(shell(&account(Some("/opt/fish")), &both), Some(("/opt/fish".into(), "fish".into())));
        assert_eq!(shell(&account(Some("/bin/zsh")), &both), Some(("/bin/bash".into(), "bash".into())));
        assert_eq!(
            shell(&account(None), &Fake(&["/bin/busybox"])),
            Some(("/bin/busybox".into(), "sh".into()))
        );
        assert_eq!(shell(&account(None), &Fake(&[])), None);
    }

    #[test]
    fn a_shell_is_a_login_shell_and_gets_the_line_as_it_is() {
        let files = Fake(&["/bin/busybox"]);
        assert_eq!(planned(&Wanted::Shell, &files), Ok(("/bin/busybox".into(), "-sh".into(), vec![])));
        let line = "echo $HOME | wc -c";
        let made = planned(&Wanted::Command(line.into()), &files).unwrap();
        assert_eq!(made, ("/bin/busybox".into(), "sh".into(), vec!["-c".into(), line.into()]));
    }

    #[test]
    fn without_a_shell_words_are_a_program() {
        let files = Fake(&[]);
        let made = planned(&Wanted::Command(b"ls -l 'a b'".to_vec()), &files).unwrap();
        assert_eq!(made, ("ls".into(), "ls".into(), vec!["-l".into(), "a b".into()]));
        assert_eq!(planned(&Wanted::Shell, &files), Err(NoProgram::NoShell));
        assert_eq!(planned(&Wanted::Command(b"  ".to_vec()), &files), Err(NoProgram::NoShell));
        assert!(matches!(planned(&Wanted::Command(b"a | b".to_vec()), &files), Err(NoProgram::Words(_))));
    }

    #[test]
    fn scp_is_served_here() {
        let command = Wanted::Command(b"scp -r -t /tmp/x*".to_vec());
        let made = planned(&command, &Fake(&[])).unwrap();
        assert_eq!(
            made,
            (
                "/proc/self/exe".into(),
                "ssh-session".into(),
                ["ssh-session", "scp", "-r", "-t", "/tmp/x*"].map(String::from).to_vec()
            )
        );
        let made = planned(&command, &Fake(&["/bin/sh"])).unwrap();
        assert_eq!(made.2, ["-c", "'/own tools/guest' ssh-session scp -r -t /tmp/x*"]);
        let other = planned(&Wanted::Command(b"scp a b".to_vec()), &Fake(&["/bin/sh"])).unwrap();
        assert_eq!(other.2, ["-c", "scp a b"]);
    }
}

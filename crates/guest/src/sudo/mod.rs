//! sudo for images that have none: a command line as people and tools write it, and a policy with one question.
//!
//! ```text
//! caller's real uid ──► record of process 1 ──► may / may not
//! arguments ──► options ──► target, environment ──► the process becomes the target ──► execve
//! ```
//!
//! The program is setuid root, so everything that it is given is the caller's: arguments, environment, open files,
//! limits, working folder. It reads three things: what process 1 shows to root ([`crate::sealed`]), and the image's
//! passwd and group, which are root's. No shell but with `-i` and `-s`, no library of the image, no password: the
//! policy is the testbed's, all or nothing.

mod environment;
mod options;
mod record;
mod target;

pub(crate) use record::publish;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, getegid, geteuid, getgid, getuid, setgroups, setresgid, setresuid};

use crate::program::{PATH, find, with_own_folder};
use crate::sealed::Text;
use crate::table::Table;
use crate::{files, sys, text};
use environment::{Own, environment};
use options::{OptionError, Request, Run, Shell};
use record::{Record, RecordError, Verdict};
use target::{Known, Target, TargetError};

const HELP: &str = "usage: sudo [-bEHnPS] [-u user] [-g group] [-D folder] [-C number] [NAME=value …] [--] command [argument …]
       sudo -i | -s [command [argument …]]
       sudo -l [command] | -v | -k | -K | -V
This is the sudo of Testyard for images that have none. Nobody is asked for a password.
";

/// How much of a command's line SUDO_COMMAND holds, in bytes.
const MAX_LINE: usize = 4096;

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
enum SudoError {
    #[error(
        "this program is not setuid root here: it is called by a copy, or the folder of Testyard's guest lies on a \
         file system that is mounted with nosuid"
    )]
    NotSetuid,
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Options(#[from] OptionError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("{0} may not become root here: the testbed gives this account no sudo")]
    Forbidden(String),
    #[error("user number {0} is no account of the testbed, and only these may become root here")]
    Unknown(u32),
    #[error("cannot read the image's accounts")]
    Accounts(#[from] files::FileError),
    #[error("the image has no shell; name a program: sudo PROGRAM ARGUMENTS")]
    NoShell,
    #[error("{0}: command not found")]
    NotFound(String),
    #[error("cannot change to {0:?}")]
    Folder(PathBuf, #[source] io::Error),
    #[error("cannot become {0}")]
    Become(String, #[source] io::Error),
    #[error("cannot run {0:?}")]
    Start(PathBuf, #[source] io::Error),
}

/// Puts what a caller gives through everything that reads it; for [`crate::fuzzing`].
pub(crate) fn check(data: &[u8]) {
    use std::os::unix::ffi::OsStrExt as _;
    let words: Vec<OsString> =
        data.split(|b| *b == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect();
    let (arguments, rest) =
        words.split_at(words.iter().position(|word| word.is_empty()).unwrap_or(words.len()));
    let variables: Vec<(OsString, OsString)> = rest
        .get(1..)
        .unwrap_or_default()
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect();
    let Ok(Request::Run(run)) = options::parse(arguments.to_vec()) else { return };
    assert!(arguments.ends_with(&run.command), "a command is the end of the arguments");
    assert!(!options::line(&run.command).as_encoded_bytes().starts_with(b" "));
    let own = Own {
        login: "root",
        home: "/root",
        shell: "/bin/sh",
        path: PATH,
        caller: "ann",
        caller_ids: (1000, 1000),
        command: OsString::new(),
    };
    let env = environment(variables, &run.keep, run.set_home, &own, &[]);
    assert!(env.iter().filter(|(name, _)| name == "PATH").eq([&("PATH".into(), PATH.into())]));
    assert!(!env.iter().any(|(name, _)| name.as_bytes().starts_with(b"LD_")));
    let record = Record::default();
    let known = Known { passwd: &Table::parse(data), group: &Table::parse(data), record: &record };
    for name in [&run.user, &run.group].into_iter().flatten() {
        assert!(
            known.user(name).is_err()
                || known.user(name).is_ok_and(|who| who.uid != u32::MAX && who.gid != u32::MAX)
        );
        assert!(known.group(name).is_err() || known.group(name).is_ok_and(|gid| gid != u32::MAX));
    }
}

/// Who called.
struct Caller {
    login: String,
    uid: u32,
    gid: u32,
}

/// Runs sudo with these arguments (without the program's own name).
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    match perform(arguments) {
        Ok(code) => code,
        Err(error) => {
            say(&format!("sudo: {}\n", text::printable(text::chain(&error).as_bytes(), 1000)), true);
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: Vec<OsString>) -> Result<ExitCode, SudoError> {
    let request = options::parse(arguments);
    // What nobody needs a right for.
    match &request {
        Ok(Request::Help) => return Ok(say(HELP, false)),
        Ok(Request::Version) => {
            return Ok(say(concat!("sudo of testyard-guest ", env!("CARGO_PKG_VERSION"), "\n"), false));
        }
        Ok(Request::Forget) => return Ok(ExitCode::SUCCESS),
        _ => {}
    }
    let (uid, gid) = (getuid(), getgid());
    if !geteuid().is_root() {
        return Err(SudoError::NotSetuid);
    }
    // The kernel shows process 1's files to those who have its group too.
    let root = Gid::from_raw(0);
    if getegid() != root || gid != root {
        setresgid(root, root, root).map_err(|error| SudoError::Become("root".into(), error.into()))?;
    }
    let record = Record::read(&Text::Sudo.path());
    // Root needs nobody's leave.
    let record = if uid.is_root() { record.unwrap_or_default() } else { record? };
    let login = match record.verdict(uid.as_raw()) {
        Verdict::May(login) => login,
        Verdict::Forbidden(login) => return Err(SudoError::Forbidden(login)),
        Verdict::Unknown => return Err(SudoError::Unknown(uid.as_raw())),
    };
    let caller = Caller { login, uid: uid.as_raw(), gid: gid.as_raw() };
    match request? {
        Request::Run(run) => {
            let read = |name: &str| -> Result<Table, files::FileError> {
                Ok(Table::parse(&files::read(&Path::new("/etc").join(name))?.unwrap_or_default()))
            };
            let (passwd, group) = (read("passwd")?, read("group")?);
            let known = Known { passwd: &passwd, group: &group, record: &record };
            start(&run, &caller, &known)
        }
        Request::List(command) => Ok(list(&caller, &command)?),
        Request::Validate | Request::Forget | Request::Help | Request::Version => Ok(ExitCode::SUCCESS),
    }
}

fn list(caller: &Caller, command: &[OsString]) -> Result<ExitCode, SudoError> {
    let Some((name, rest)) = command.split_first() else {
        let host = nix::unistd::gethostname().unwrap_or_default();
        let (login, host) = (&caller.login, host.to_string_lossy());
        return Ok(say(
            &format!(
                "User {login} may run the following commands on {host}:\n    (ALL : ALL) NOPASSWD: ALL\n"
            ),
            false,
        ));
    };
    let mut line = locate(name)?.into_os_string();
    for word in rest {
        line.push(" ");
        line.push(word);
    }
    line.push("\n");
    Ok(say(&line.to_string_lossy(), false))
}

/// Becomes the target and runs the command in this process.
fn start(run: &Run, caller: &Caller, known: &Known<'_>) -> Result<ExitCode, SudoError> {
    let mut target = match (&run.user, &run.group) {
        (Some(user), _) => known.user(user)?,
        (None, Some(_)) => known.by_uid(caller.uid).map_or_else(|| known.user(&number(caller.uid)), Ok)?,
        (None, None) => known.user(OsStr::new("root"))?,
    };
    if let Some(group) = &run.group {
        target.gid = known.group(group)?;
    }
    if run.keep_groups {
        target.groups = nix::unistd::getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
    }
    // Before the identity changes, so that a folder that only root sees can be found; checked as the target below.
    let (program, words, name) = program(run, caller, known, &target)?;
    let mut told = program.clone().into_os_string();
    for word in run.command.iter().skip(usize::from(run.shell == Shell::No)) {
        told.push(" ");
        told.push(word);
    }
    let told = shortened(told);
    let shell = target.shell.clone().unwrap_or_else(|| "/bin/sh".into());
    let own = Own {
        login: &target.login,
        home: &target.home,
        shell: &shell,
        path: &with_own_folder(PATH),
        caller: &caller.login,
        caller_ids: (caller.uid, caller.gid),
        command: told,
    };
    let login_shell = run.shell == Shell::Login;
    let env =
        environment(std::env::vars_os(), &run.keep, run.set_home || login_shell, &own, &run.assignments);

    umask(umask(Mode::empty()) | Mode::from_bits_truncate(0o022));
    sys::close_on_exec(run.close_from.unwrap_or(3));
    become_target(&target).map_err(|error| SudoError::Become(target.login.clone(), error))?;
    if login_shell && std::env::set_current_dir(&target.home).is_err() {
        say(&format!("sudo: cannot change to {}\n", target.home), true);
        let _ = std::env::set_current_dir("/");
    }
    if let Some(folder) = &run.folder {
        std::env::set_current_dir(folder).map_err(|error| SudoError::Folder(PathBuf::from(folder), error))?;
    }
    execute(&program, &name, &words, &env, run.background)
}

/// The file to run, its arguments, and the name that it is called by.
fn program(
    run: &Run,
    caller: &Caller,
    known: &Known<'_>,
    target: &Target,
) -> Result<(PathBuf, Vec<OsString>, OsString), SudoError> {
    let wanted = match run.shell {
        Shell::No => {
            let (name, rest) = run.command.split_first().ok_or(OptionError::NoCommand)?;
            return Ok((locate(name)?, rest.to_vec(), name.clone()));
        }
        Shell::Login => target.shell.clone().map(PathBuf::from),
        Shell::Callers => std::env::var_os("SHELL")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute() && path.is_file())
            .or_else(|| known.by_uid(caller.uid)?.shell.map(PathBuf::from)),
    };
    let usual = ["/bin/bash", "/bin/sh", "/usr/bin/sh", "/bin/ash"].map(PathBuf::from);
    let shell = wanted.into_iter().chain(usual).find(|path| path.is_file()).ok_or(SudoError::NoShell)?;
    let mut words = Vec::new();
    if !run.command.is_empty() {
        words = vec!["-c".into(), options::line(&run.command)];
    }
    let mut name = OsString::new();
    if run.shell == Shell::Login {
        name.push("-");
        name.push(shell.file_name().unwrap_or_default());
    } else {
        name.push(&shell);
    }
    Ok((shell, words, name))
}

fn locate(name: &OsStr) -> Result<PathBuf, SudoError> {
    let not_found = || SudoError::NotFound(name.to_string_lossy().into_owned());
    if name.as_encoded_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let text = name.to_str().filter(|text| !text.is_empty()).ok_or_else(not_found)?;
    find(Path::new("/"), Path::new("/"), &with_own_folder(PATH), text).ok_or_else(not_found)
}

/// For good: real, effective and saved ids, and nothing of the caller's groups.
fn become_target(target: &Target) -> io::Result<()> {
    let mut groups: Vec<Gid> = target.groups.iter().copied().map(Gid::from_raw).collect();
    if !groups.contains(&Gid::from_raw(target.gid)) {
        groups.push(Gid::from_raw(target.gid));
    }
    setgroups(&groups)?;
    let (uid, gid) = (Uid::from_raw(target.uid), Gid::from_raw(target.gid));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    if !uid.is_root() && setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("root could be regained"));
    }
    Ok(())
}

fn execute(
    program: &Path,
    name: &OsStr,
    words: &[OsString],
    env: &[(OsString, OsString)],
    background: bool,
) -> Result<ExitCode, SudoError> {
    let command = |file: &Path, name: &OsStr, words: &mut dyn Iterator<Item = &OsStr>| {
        let mut command = Command::new(file);
        command.arg0(name).args(words).env_clear().envs(env.iter().map(|(name, value)| (name, value)));
        command
    };
    let run = |mut command: Command| -> Result<ExitCode, io::Error> {
        if background { command.spawn().map(|_| ExitCode::SUCCESS) } else { Err(command.exec()) }
    };
    let mut plain = words.iter().map(OsString::as_os_str);
    let error = match run(command(program, name, &mut plain)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
            // A script without a first line that names its shell.
            let shell = Path::new("/bin/sh");
            let mut script =
                std::iter::once(program.as_os_str()).chain(words.iter().map(OsString::as_os_str));
            run(command(shell, OsStr::new("sh"), &mut script))
        }
        other => other,
    };
    match error {
        Ok(code) => Ok(code),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(SudoError::NotFound(program.display().to_string()))
        }
        Err(error) => Err(SudoError::Start(program.to_owned(), error)),
    }
}

fn number(uid: u32) -> OsString {
    format!("#{uid}").into()
}

fn shortened(line: OsString) -> OsString {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = line.into_vec();
    bytes.truncate(MAX_LINE);
    OsString::from_vec(bytes)
}

fn say(words: &str, error: bool) -> ExitCode {
    // Whoever has closed the stream does not want to hear it.
    let _ = if error {
        io::stderr().write_all(words.as_bytes())
    } else {
        io::stdout().write_all(words.as_bytes()).and_then(|()| io::stdout().flush())
    };
    ExitCode::SUCCESS
}

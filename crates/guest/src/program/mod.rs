//! The image's own program: ENTRYPOINT and CMD, as the engine would have run them.

mod trouble;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use testyard_guest_protocol::{GUEST_BIN, Program, ProgramState};

use crate::children::Process;
use crate::node::Node;
use crate::ssh::{Ssh, is_sshd};
use crate::sys::{End, Identity};
use crate::table::Table;
use crate::{files, sys, text};
use trouble::ProgramError;

/// Where programs are looked for if the image does not say.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The same, with the guest's own programs at its end: what the image has goes first.
pub(crate) fn with_own_folder(path: &str) -> String {
    if path.split(':').any(|folder| folder == GUEST_BIN) {
        return path.to_owned();
    }
    format!("{}:{GUEST_BIN}", path.trim_end_matches(':'))
}

/// Starts the program. Returns it if it is the SSH server itself; it is not started if it would be and port 22 is
/// `claimed` already.
pub(crate) fn start(node: &'static Node, ssh: &Ssh, program: &Program, claimed: bool) -> Option<Process> {
    node.stop_signal.store(stop_signal(&program.stop_signal), Ordering::SeqCst);
    let (first, rest) = program.argv.split_first()?;
    let own_ssh = is_sshd(first);
    let mut arguments = rest.to_vec();
    if own_ssh {
        ssh.prepare(&node.root);
        arguments.extend(ssh.enforced());
    }
    let command = if own_ssh && claimed {
        Err(ProgramError::Strangers)
    } else {
        command(&node.root, program, first, &arguments)
    };
    let started = command.and_then(|(mut command, file)| {
        let start = |error| ProgramError::start(&node.root, &file, &error);
        // Held over the start, so that a signal that comes now finds the program.
        let mut slot = node.program.lock().unwrap_or_else(PoisonError::into_inner);
        if node.stopping() {
            return Err(start(std::io::ErrorKind::Interrupted.into()));
        }
        let process = node.children.spawn(&mut command).map_err(start)?;
        *slot = Some(process.clone());
        Ok(process)
    });
    match started {
        Ok(process) => {
            node.board.set_program(ProgramState::Running, None);
            // Looked at now: what the node's users make of the script later says nothing about this run.
            let taken = (!own_ssh).then(|| trouble::starts_ssh(&node.root, program)).flatten();
            process.then(move |end| {
                let state = match end {
                    End::Exited(status) => ProgramState::Exited(status),
                    End::Signalled(signal) => ProgramState::Signalled(signal),
                };
                let taken = taken.filter(|_| matches!(state, ProgramState::Exited(status) if status != 0));
                node.board.set_program(state, taken.map(|place| trouble::port_taken(&place)));
            });
            own_ssh.then_some(process)
        }
        Err(error) => {
            let note = error.note(first);
            text::log(&format!("cannot start the image's program: {note}"));
            node.board.set_program(ProgramState::NotStarted(error.number()), Some(note));
            None
        }
    }
}

/// The command, and the file that it runs.
fn command(
    root: &Path,
    program: &Program,
    first: &str,
    arguments: &[String],
) -> Result<(Command, PathBuf), ProgramError> {
    let read = |name: &str| {
        let bytes = files::read(&root.join("etc").join(name)).map_err(ProgramError::Accounts)?;
        Ok(Table::parse(&bytes.unwrap_or_default()))
    };
    let (identity, home) = identity(&program.user, &read("passwd")?, &read("group")?)?;
    let workdir = PathBuf::from(if program.workdir.is_empty() { "/" } else { &program.workdir });
    if !workdir.is_dir() {
        std::fs::create_dir_all(&workdir).map_err(|error| ProgramError::Workdir(workdir.clone(), error))?;
    }
    let env = environment(&program.env, &[("HOME", &home)]);
    let path = env.iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, path)| path);
    let file = find(root, &workdir, path, first).ok_or_else(|| ProgramError::not_found(first, path))?;
    let mut command = Command::new(&file);
    command.arg0(first).args(arguments).env_clear().envs(env).current_dir(&workdir).stdin(Stdio::null());
    sys::detach(&mut command, Some(&identity));
    Ok((command, file))
}

/// The environment: the image's, and what it leaves unsaid.
pub(crate) fn environment(image: &[String], unsaid: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in image.iter().filter_map(|line| line.split_once('=')) {
        if !name.is_empty() {
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    for (name, value) in [("PATH", PATH)].iter().chain(unsaid) {
        if !env.iter().any(|(known, _)| known == name) {
            env.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    if let Some((_, path)) = env.iter_mut().find(|(name, _)| name == "PATH") {
        *path = with_own_folder(path);
    }
    env
}

/// The file that a program's name stands for.
pub(crate) fn find(root: &Path, workdir: &Path, path: &str, name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let at = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    if name.contains('/') {
        // Whether it can be run is the kernel's to say, with the right error.
        return Some(if name.starts_with('/') { at(Path::new(name)) } else { at(workdir).join(name) });
    }
    path.split(':')
        .filter(|folder| folder.starts_with('/'))
        .map(|folder| at(Path::new(folder)).join(name))
        .find(|file| {
            std::fs::metadata(file)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

/// Who USER means: `name`, `uid`, `name:group`, `uid:gid`; with the home. As the Docker Engine understands it: a name
/// wins over a number, an unknown number is taken as it is, and a group that is given replaces all further ones.
fn identity(user: &str, passwd: &Table, group: &Table) -> Result<(Identity, String), ProgramError> {
    let (user, wanted_group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let row =
        passwd.get(user).or_else(|| passwd.rows().find(|row| row.get(2).is_some_and(|uid| uid == user)));
    let number =
        |row: &Vec<String>, column: usize| row.get(column).and_then(|field| field.parse::<u32>().ok());
    let (uid, mut gid, home) = match &row {
        Some(row) => (
            number(row, 2).ok_or_else(|| ProgramError::User(user.to_owned()))?,
            number(row, 3).unwrap_or(0),
            row.get(5).filter(|home| !home.is_empty()).cloned(),
        ),
        None => (user.parse().map_err(|_| ProgramError::User(user.to_owned()))?, 0, None),
    };
    let mut groups = Vec::new();
    match wanted_group.filter(|group| !group.is_empty()) {
        Some(wanted) => {
            gid = group
                .get(wanted)
                .and_then(|row| number(&row, 2))
                .or_else(|| wanted.parse().ok())
                .ok_or_else(|| ProgramError::Group(wanted.to_owned()))?;
        }
        None => {
            if let Some(name) = row.as_ref().and_then(|row| row.first()) {
                let member = |row: &Vec<String>| {
                    row.get(3).is_some_and(|list| list.split(',').any(|user| user == name))
                };
                groups = group.rows().filter(member).filter_map(|row| number(&row, 2)).collect();
            }
        }
    }
    let default_home = if uid == 0 { "/root" } else { "/" };
    Ok((Identity { uid, gid, groups }, home.unwrap_or_else(|| default_home.into())))
}

/// The number of a signal as an image says it: `SIGQUIT`, `quit`, `3`, `SIGRTMIN+3`; SIGTERM if it says nothing that
/// is a signal.
fn stop_signal(text: &str) -> i32 {
    signal_number(text).unwrap_or(libc::SIGTERM)
}

/// The number of a signal: `SIGQUIT`, `quit`, `3`, `SIGRTMIN+3`.
pub(crate) fn signal_number(text: &str) -> Option<i32> {
    let name = text.trim().to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let real_time = |from: i32, rest: &str, sign: i32| {
        let offset: i32 = if rest.is_empty() { 0 } else { rest.get(1..)?.parse().ok()? };
        Some(from + sign * offset).filter(|signal| (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(signal))
    };
    if let Ok(number) = name.parse::<i32>() {
        Some(number).filter(|number| (1..=libc::SIGRTMAX()).contains(number))
    } else if let Some(rest) = name.strip_prefix("RTMIN") {
        real_time(libc::SIGRTMIN(), rest, 1)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        real_time(libc::SIGRTMAX(), rest, -1)
    } else {
        format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_as_images_say_them() {
        let passwd =
            Table::parse(b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\n1000:x:7:7::/odd:\n");
        let group = Table::parse(b"root:x:0:\nweb:x:34:\nadm:x:4:web,root\nssl:x:40:web\n");
        let of = |user: &str| {
            identity(user, &passwd, &group).map(|(who, home)| (who.uid, who.gid, who.groups, home))
        };
        assert_eq!(of("").unwrap(), (0, 0, vec![4], "/root".into()));
        assert_eq!(of("web").unwrap(), (33, 34, vec![4, 40], "/var/www".into()));
        assert_eq!(of("33").unwrap(), (33, 34, vec![4, 40], "/var/www".into()));
        assert_eq!(of("web:adm").unwrap(), (33, 4, vec![], "/var/www".into()));
        assert_eq!(of("web:77").unwrap(), (33, 77, vec![], "/var/www".into()));
        assert_eq!(of("4242").unwrap(), (4242, 0, vec![], "/".into()));
        assert_eq!(of("1000").unwrap(), (7, 7, vec![], "/odd".into()));
        assert!(of("nobody").is_err() && of("web:none").is_err());
        let nothing = identity("", &Table::default(), &Table::default()).unwrap();
        assert_eq!((nothing.0.uid, nothing.1.as_str()), (0, "/root"));
    }

    #[test]
    fn signals_as_images_say_them() {
        let min = libc::SIGRTMIN();
        for (text, signal) in [
            ("", libc::SIGTERM),
            ("SIGQUIT", libc::SIGQUIT),
            ("winch", libc::SIGWINCH),
            ("3", libc::SIGQUIT),
            ("SIGRTMIN+3", min + 3),
            ("RTMIN", min),
            ("RTMAX-1", libc::SIGRTMAX() - 1),
            ("99", libc::SIGTERM),
            ("0", libc::SIGTERM),
            ("RTMIN+99", libc::SIGTERM),
            ("nonsense", libc::SIGTERM),
        ] {
            assert_eq!(stop_signal(text), signal, "{text}");
        }
    }

    #[test]
    fn the_image_has_its_say_about_the_environment() {
        let image = ["A=1".into(), "A=2=3".into(), "HOME=/x".into(), "=odd".into(), "none".into()];
        let env = environment(&image, &[("HOME", "/root"), ("USER", "root")]);
        let of = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(
            (of("A"), of("HOME"), of("USER"), of("PATH")),
            (Some("2=3"), Some("/x"), Some("root"), Some(with_own_folder(PATH).as_str()))
        );
        assert_eq!(env.len(), 4);
        assert_eq!(with_own_folder("/bin:"), "/bin:/.testyard/bin");
        assert_eq!(with_own_folder("/.testyard/bin:/bin"), "/.testyard/bin:/bin");
    }
}

//! Testyard's own SSH server, of the crate `testyard-sshd`: process 1 accepts, each connection has a process of its own.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use testyard_guest_protocol::GUEST_BIN;
use testyard_sshd::{Account, Listener, ListenerLimits, Settings};

use crate::accounts::Member;
use crate::node::Node;
use crate::program::{environment, with_own_folder};
use crate::sealed::Text;
use crate::{files, names, sys, text};
use testyard_fetch::download::Network;

/// What sessions are told, besides the host keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct People {
    pub(crate) members: Vec<Member>,
    /// The image's environment.
    pub(crate) env: Vec<String>,
    /// The image has a sudo that knows none of the users: ours goes first.
    pub(crate) own_sudo_first: bool,
}

/// Takes port 22.
pub(super) fn bind() -> io::Result<Listener> {
    let (listener, refused) = Listener::bind(&Listener::everywhere(22), ListenerLimits::default())?;
    for (address, error) in refused {
        text::log(&format!("SSH does not listen on {address}: {error}"));
    }
    Ok(listener)
}

/// Serves until the node ends.
pub(super) fn serve(node: &'static Node, listener: Listener) {
    let Ok((never, _held)) = io::pipe() else { return };
    let settings = Text::Ssh.path();
    listener.run(&OwnedFd::from(never), |connection| {
        if node.stopping() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut command = connection.command(OsStr::new("/proc/self/exe"), &settings);
        command.env_clear().current_dir("/");
        sys::detach(&mut command, None);
        node.children.spawn(&mut command).map(drop)
    });
}

/// Says to the sessions that begin from now on who may come in.
pub(super) fn tell(host_keys: &[PathBuf], people: &People) {
    let result = serde_json::to_vec(&settings(host_keys, people)).map_err(io::Error::from);
    if let Err(error) = result.and_then(|bytes| Text::Ssh.publish(&bytes)) {
        text::log(&format!("the SSH server cannot be told about the accounts: {error}"));
    }
}

fn settings(host_keys: &[PathBuf], people: &People) -> Settings {
    let env = environment(&people.env, &[]);
    let path = env.iter().find(|(name, _)| name == "PATH").map(|(_, path)| with_own_folder(path));
    let mut path = path.unwrap_or_default();
    if people.own_sudo_first {
        path = format!("{GUEST_BIN}:{path}");
    }
    // HOME and its like are each user's.
    let own = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "HOSTNAME", "MAIL"];
    let rest = env.into_iter().filter(|(name, _)| !own.contains(&name.as_str()));
    Settings {
        host_keys: host_keys.to_vec(),
        accounts: people.members.iter().map(account).collect(),
        environment: rest.map(|(name, value)| format!("{name}={value}")).collect(),
        path,
        banner: None,
        motd: None,
        limits: testyard_sshd::Limits::default(),
    }
}

fn account(member: &Member) -> Account {
    Account {
        login: member.login.clone(),
        uid: member.uid,
        gid: member.gid,
        groups: member.groups.clone(),
        home: PathBuf::from(&member.home),
        shell: member.shell.as_ref().map(PathBuf::from),
        keys: member.keys.clone(),
    }
}

/// The process of one connection, and what it starts.
pub(crate) fn session(rest: Vec<OsString>) -> ExitCode {
    testyard_sshd::session::main(rest, resolve)
}

/// The SFTP server, for an SSH server of the image that has none.
pub(crate) fn sftp_server(_: Vec<OsString>) -> ExitCode {
    testyard_sshd::session::main(["sftp".into()], resolve)
}

/// The far side of an old `scp`, likewise.
pub(crate) fn scp(rest: Vec<OsString>) -> ExitCode {
    testyard_sshd::session::main(std::iter::once("scp".into()).chain(rest), resolve)
}

/// As the user, for `ssh -L`.
fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    let read = |path: &str| {
        let bytes = files::read(Path::new(path)).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let resolver = names::read_resolver(&read("/etc/resolv.conf"));
    let network = Network::new(&resolver.servers, resolver.search, read("/etc/hosts"), Path::new("/"));
    network.lookup(name).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_get_the_images_environment_and_our_programs_last() {
        let people = People {
            members: vec![Member {
                login: "ann".into(),
                uid: 7,
                keys: vec!["k".into()],
                ..Member::default()
            }],
            env: vec!["PATH=/opt/bin:/bin".into(), "LANG=C".into(), "HOME=/srv".into()],
            own_sudo_first: false,
        };
        let told = settings(&["/k".into()], &people);
        assert_eq!(told.path, "/opt/bin:/bin:/.testyard/bin");
        assert_eq!(told.environment, ["LANG=C"]);
        let ann = told.account("ann").unwrap();
        assert_eq!((ann.uid, ann.keys.as_slice()), (7, &["k".to_owned()][..]));
        let first = settings(&[], &People { own_sudo_first: true, ..people });
        assert!(first.path.starts_with("/.testyard/bin:/opt/bin:"));
    }
}

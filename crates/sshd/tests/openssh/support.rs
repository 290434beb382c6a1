//! A server with throw-away users, and OpenSSH's programs to talk to it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use testyard_sshd::{Account, Limits, Settings};
use testyard_testkit::needs;

/// A user that no list of users knows.
pub(crate) const UID: u32 = 54_321;
pub(crate) const GROUP: u32 = 54_322;

/// A server that listens, and ends with its log and its folder when it is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) settings: Settings,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// Starts one whose settings `change` has been at.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::launch(change, Command::new(env!("CARGO_BIN_EXE_testyard-sshd")))
    }

    /// One that sees an image without programs and without users: neither shell nor scp, and a read-only root.
    pub(crate) fn bare() -> Self {
        let mut command = Command::new("unshare");
        let script = "folder=${4%/*}; mount --bind $folder $folder && mount --bind /dev/null /etc/passwd && mount --bind /dev/null /etc/group && mount -t tmpfs -o ro none /usr/sbin \
                      && mount -o bind,remount,ro / && mount -t tmpfs -o ro none /usr/bin && exec \"$@\"";
        command.args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "bare",
            env!("CARGO_BIN_EXE_testyard-sshd"),
        ]);
        Self::launch(|settings| settings.accounts[0].shell = None, command)
    }

    fn launch(change: impl FnOnce(&mut Settings), mut program: Command) -> Self {
        needs::root();
        let _ = needs::program("ssh", "openssh-client");
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        chown(&home, Some(UID), Some(UID)).unwrap();
        for name in ["host", "user", "other"] {
            keygen(&folder.path().join(name));
        }
        let key = fs::read_to_string(folder.path().join("user.pub")).unwrap();
        let ann = Account {
            login: "ann".into(),
            uid: UID,
            gid: UID,
            groups: vec![GROUP],
            home,
            shell: Some("/bin/sh".into()),
            keys: vec![key],
        };
        let mut settings = Settings {
            host_keys: vec![folder.path().join("missing"), folder.path().join("host")],
            accounts: vec![ann],
            environment: vec!["IMAGE=here".into()],
            path: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into(),
            banner: None,
            motd: None,
            limits: Limits { refusal_milliseconds: 5, ..Limits::default() },
        };
        change(&mut settings);
        write(&folder.path().join("settings"), &settings);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut process = program
            .args(["listen", "127.0.0.1:0"])
            .arg(folder.path().join("settings"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { process, address, folder, settings }
    }

    /// Changes what the next connection is told.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        write(&self.folder.path().join("settings"), &self.settings);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Options that every program of OpenSSH takes.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = vec![
            "-F".to_owned(),
            "none".to_owned(),
            "-i".to_owned(),
            self.path("user").display().to_string(),
        ];
        let port = format!("Port={}", self.address.port());
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            &port,
            "LogLevel=ERROR",
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options
    }

    /// `program` with those options and `arguments`; nothing as input.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let mut options = self.options();
        // The first that is said counts.
        if arguments.iter().any(|word| word.starts_with("LogLevel=")) {
            options.retain(|word| !word.starts_with("LogLevel="));
            options.remove(options.iter().rposition(|word| word == "-o").unwrap());
        }
        command.args(options).args(arguments).stdin(Stdio::null());
        command.env("LC_ALL", "C").env_remove("SSH_AUTH_SOCK");
        command
    }

    /// `ssh OPTIONS ann@here COMMAND`.
    pub(crate) fn ssh(&self, options: &[&str], command: &str) -> Output {
        let mut words = options.to_vec();
        words.push("ann@127.0.0.1");
        if !command.is_empty() {
            words.push(command);
        }
        self.command("ssh", &words).output().unwrap()
    }

    /// What a command says, which must end well.
    pub(crate) fn says(&self, command: &str) -> String {
        let output = self.ssh(&[], command);
        assert!(output.status.success(), "{command}: {output:?}\n{}", self.log());
        text(&output.stdout)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input is how it is told to end.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A program that runs until it is dropped.
pub(crate) struct Client(pub(crate) Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn keygen(path: &Path) {
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(made.success());
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Gives a file to the user.
pub(crate) fn own(path: &Path) {
    chown(path, Some(UID), Some(UID)).unwrap();
}

/// Output of `command` fed with `input`.
pub(crate) fn fed(mut command: Command, input: Vec<u8>) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    output
}

fn write(path: &Path, settings: &Settings) {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_string(settings).unwrap()).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

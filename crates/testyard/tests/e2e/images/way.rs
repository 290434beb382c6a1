//! The clients that users have, aimed at one node.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How one node is reached.
pub(super) struct Way {
    config: String,
    node: &'static str,
    /// A folder of its own for what goes there and back.
    pub(super) folder: PathBuf,
    bob: PathBuf,
}

/// What a client said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    /// Whether it ended well with this output.
    pub(super) fn is(&self, out: &str) -> Result<(), String> {
        if self.status == Some(0) && self.out.replace("\r\n", "\n") == out {
            Ok(())
        } else {
            Err(self.to_string())
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {:?}, said {:?}, {:?}", self.status, self.out, self.err)
    }
}

impl Way {
    pub(super) fn new(config: &str, node: &'static str, folder: &Path) -> Self {
        let own = folder.join(format!("files-{node}"));
        std::fs::create_dir_all(&own).unwrap();
        Self { config: config.to_owned(), node, folder: own, bob: folder.join("bob") }
    }

    /// ssh(1) as ann.
    pub(super) fn ssh(&self, options: &[&str], command: &str, input: &str) -> Said {
        self.client("ssh", options, &[self.node, command], input)
    }

    /// ssh(1) as bob, with the key of bob or of ann.
    pub(super) fn as_bob(&self, own_key: bool, command: &str) -> Said {
        let bob = self.bob.to_string_lossy().into_owned();
        // A config file's IdentityFile is tried beside the one of the command line.
        let none = format!("{bob}.none");
        let all = std::fs::read_to_string(&self.config).unwrap();
        let config = self.folder.join("bob.ssh");
        let lines = all.lines().filter(|line| !line.trim_start().starts_with("IdentityFile") || !own_key);
        std::fs::write(&config, lines.fold(String::new(), |text, line| text + line + "\n")).unwrap();
        let config = config.to_string_lossy().into_owned();
        let key = if own_key { &bob } else { &none };
        let options = ["-F", &config, "-l", "bob", "-i", key, "-o", "IdentitiesOnly=yes"];
        run("ssh", &[&options[..], &QUIET[..], &[self.node, command]].concat(), "")
    }

    /// sftp(1) with these commands.
    pub(super) fn sftp(&self, batch: &str) -> Said {
        self.client("sftp", &["-b", "-"], &[self.node], batch)
    }

    /// scp(1) of a file there, or back.
    pub(super) fn scp(&self, options: &[&str], from: &str, to: &str) -> Said {
        let name = |path: &str| {
            path.strip_prefix("node:").map_or(path.to_owned(), |path| format!("{}:{path}", self.node))
        };
        self.client("scp", options, &[&name(from), &name(to)], "")
    }

    /// A file of the node.
    pub(super) fn read(&self, path: &str) -> Result<String, String> {
        let to = self.folder.join("got");
        let _ = std::fs::remove_file(&to);
        let said = self.sftp(&format!("get {path} {}\n", to.display()));
        std::fs::read_to_string(&to).map_err(|error| format!("{path}: {error}; {said}"))
    }

    /// The first line that its server sends.
    pub(super) fn greeting(&self) -> String {
        let said = self.ssh(&["-v"], "", "exit\n");
        let line = said.err.lines().find_map(|line| line.split_once("remote software version "));
        line.map_or_else(|| said.to_string(), |(_, version)| version.trim().to_owned())
    }

    fn client(&self, program: &str, options: &[&str], rest: &[&str], input: &str) -> Said {
        let rest = rest.iter().copied().filter(|word| !word.is_empty()).collect::<Vec<_>>();
        run(program, &[&["-F", &self.config], &QUIET[..], options, &rest[..]].concat(), input)
    }
}

const QUIET: [&str; 6] = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"];

/// Runs a client to its end, which must come within half a minute.
fn run(program: &str, arguments: &[&str], input: &str) -> Said {
    let mut arguments = arguments.to_vec();
    if arguments.contains(&"-v") {
        arguments.retain(|word| *word != "LogLevel=ERROR");
        arguments.insert(arguments.iter().rposition(|word| *word == "-o").unwrap() + 1, "LogLevel=DEBUG1");
    }
    let mut child = Command::new(program)
        .args(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = input.to_owned();
    let writer = std::thread::spawn(move || {
        let _ = std::io::Write::write_all(&mut stdin, text.as_bytes());
    });
    let id = child.id();
    let (done, over) = std::sync::mpsc::channel::<()>();
    // A client that hangs is a finding, not the end of the suite.
    let watch = std::thread::spawn(move || {
        let began = Instant::now();
        if over.recv_timeout(Duration::from_secs(30)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(i32::try_from(id).unwrap()),
                nix::sys::signal::Signal::SIGKILL,
            );
            eprintln!("hung for {:?}", began.elapsed());
        }
    });
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    drop(done);
    let _ = (writer.join(), watch.join());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: status.code(), out: text(&stdout), err: text(&stderr) }
}

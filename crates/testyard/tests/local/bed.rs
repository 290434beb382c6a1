//! A testbed of pretended nodes that ends with its test.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// What is waited for is there within this time, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two nodes and a third that one of them reaches; one runs a command.
pub(crate) const LAB: &str = "testyard: 1
nodes:
  web: {run: 'echo hello'}
  db:
  spare:
links:
- {name: line, between: [web, db]}
- {name: back, between: [db, spare], delay: 3ms}
";

/// A server with its folder.
pub(crate) struct Bed {
    folder: TempDir,
    server: Option<Child>,
}

/// A command that goes on until it is told to end.
pub(crate) struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Bed {
    /// A running testbed of no slices.
    pub(crate) fn new() -> Self {
        Self::configured("")
    }

    /// The same with more in its configuration.
    pub(crate) fn configured(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bed = Self { folder, server: None };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| bed.path(name).to_string_lossy().into_owned();
        let (port, state, run) = (port.to_string(), path("state"), path("run"));
        bed.ok(&format!("init --local --user ann --port {port} --state {state} --run {run}"));
        let config = bed.path("etc/testyard.toml");
        let kinds = ["docker-container", "big"]
            .map(|name| format!("\n[[sliver_type]]\nname = \"{name}\"\nruntime = \"fake\"\n"));
        // Hosts are written once, as [host] or as [[host]]s.
        let written = fs::read_to_string(&config).unwrap();
        let written = if more.contains("[[host]]") { written.replace("\n[host]\n", "\n") } else { written };
        fs::write(&config, written + &kinds.concat() + more).unwrap();
        bed.serve();
        bed
    }

    /// Starts the server, in the place of one that was killed.
    pub(crate) fn serve(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut serve = self.command();
        let config = self.path("etc/testyard.toml");
        serve.args(["serve", "--config"]).arg(config).stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(serve.spawn().unwrap());
        self.until("the server answers", |bed| bed.run("ls").status.success());
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Adds to the configuration and has the server read it again.
    pub(crate) fn reconfigure(&self, more: &str) {
        self.rewrite(|text| text + more);
    }

    /// Changes the configuration and has the server read it again.
    pub(crate) fn rewrite(&self, edit: impl FnOnce(String) -> String) {
        let config = self.path("etc/testyard.toml");
        fs::write(&config, edit(fs::read_to_string(&config).unwrap())).unwrap();
        let server = Pid::from_raw(self.server.as_ref().unwrap().id().cast_signed());
        kill(server, Signal::SIGHUP).unwrap();
    }

    /// The same with [`LAB`] as the slice `lab`.
    pub(crate) fn with_lab() -> Self {
        let bed = Self::new();
        let file = bed.file("lab.yaml", LAB);
        bed.ok(&format!("up {file}"));
        bed
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in the testbed's folder; its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// A program that the commands find before the machine's own of this name.
    pub(crate) fn program(&self, name: &str, text: &str) {
        let path = self.file(&format!("bin/{name}"), text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The program, with nothing of the machine's but its other programs.
    pub(crate) fn command(&self) -> Command {
        command(&self.path("etc"), self.folder.path())
    }

    /// Runs a command line, which is split at blanks.
    pub(crate) fn run(&self, line: &str) -> Output {
        self.command().args(line.split(' ')).output().unwrap()
    }

    /// The same on a terminal: what is seen there.
    pub(crate) fn on_terminal(&self, line: &str) -> String {
        let words = [env!("CARGO_BIN_EXE_testyard"), line].join(" ");
        let mut script = Command::new("script");
        // A terminal's programs are the shell's, so no word of the line may be of another kind.
        assert!(words.chars().all(|c| c.is_ascii_alphanumeric() || " -_./:=".contains(c)), "{words}");
        script.args(["-qefc", &words, "/dev/null"]).stdin(Stdio::null());
        environment(&mut script, &self.path("etc"), self.folder.path());
        let output = script.output().unwrap();
        let seen = text(&output.stdout);
        assert!(output.status.success(), "{line}: {seen}\n{}", self.log());
        seen
    }

    /// Demands success; what was printed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}\n{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.ok(line)).unwrap()
    }

    /// A node of [`LAB`] as it is.
    pub(crate) fn node(&self, name: &str) -> Value {
        let slice = self.json("status lab --json");
        let mut nodes = slice["nodes"].as_array().unwrap().iter();
        nodes.find(|node| node["name"] == name).unwrap_or_else(|| panic!("{name}: {slice}")).clone()
    }

    /// Demands this exit code; what was said.
    pub(crate) fn fails(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}\n{}", self.log());
        said
    }

    /// Begins a command that goes on.
    pub(crate) fn watch(&self, line: &str) -> Watching {
        let mut command = self.command();
        let mut child =
            command.args(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Watching { child, lines }
    }

    /// Waits until it is so.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(30));
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl Watching {
    /// The next line of JSON.
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// Waits for the end; the exit code and what was said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        drop(self.lines);
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut said).unwrap();
        (status.code(), said)
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The program in a world of its own: only the folder's programs come before those of the machine.
pub(crate) fn command(dir: &Path, home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testyard"));
    command.stdin(Stdio::null());
    environment(&mut command, dir, home);
    command
}

fn environment(command: &mut Command, dir: &Path, home: &Path) {
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("TESTYARD_DIR", dir)
        .env("HOME", home)
        .env("PATH", format!("{}:{path}", home.join("bin").display()))
        .current_dir(home);
    for name in ["SUDO_USER", "TESTYARD_SOCKET", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "RUST_LOG"] {
        command.env_remove(name);
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! A testbed of one's own: the real program in temporary folders, with an instance mark that nobody else has.
//!
//! It is removed when it is dropped, also when the test has failed; then its folder is kept and named.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A testbed that the test has for itself.
#[derive(Debug)]
pub struct Testbed {
    program: PathBuf,
    folder: PathBuf,
    instance: String,
    server: Option<Child>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Testbed {
    /// Makes folders, configuration and certificates with `testyard init`; nothing runs yet. `edit` may change the
    /// text of the configuration.
    ///
    /// # Panics
    /// If `testyard init` fails.
    #[must_use]
    pub fn init(program: &Path, edit: impl FnOnce(String) -> String) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let instance = format!("t{process}-{number}");
        let folder = std::env::temp_dir().join(format!("testyard-{instance}"));
        fs::create_dir_all(&folder).expect("a temporary folder can be made");
        let testbed = Self { program: program.to_owned(), folder, instance, server: None };
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let dir = path(testbed.dir());
        let (state, run) = (path(testbed.folder.join("state")), path(testbed.folder.join("run")));
        let (mark, port) = (testbed.instance.clone(), Self::free_port().to_string());
        let place = ["--dir", &dir, "--state", &state, "--run", &run, "--instance", &mark, "--port", &port];
        testbed.ok(["init", "--local", "--user", "ann"].iter().chain(&place));
        let config = testbed.config();
        let text = fs::read_to_string(&config).expect("init has written the configuration");
        // Testbeds of several tests at one time must not share addresses and ports.
        let place = (process * 16 + number) % 2048;
        let network = format!("ipv4 = \"10.{}.{}.0/20\"", 100 + place / 16, place % 16 * 16);
        let first = 20_000 + place % 100 * 100;
        let text = text
            .replace("#ipv4 = \"10.77.0.0/16\"", &network)
            .replace("#ports = \"12000-12999\"", &format!("ports = \"{first}-{}\"", first + 99));
        assert!(text.contains(&network), "the template of the configuration has changed");
        fs::write(&config, edit(text)).expect("the configuration can be written");
        testbed
    }

    /// The folder with configuration, certificates and users.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.folder.join("etc")
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir().join("testyard.toml")
    }

    /// A folder for whatever the test needs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The mark of everything that this testbed makes.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// A TCP port that is free now.
    ///
    /// # Panics
    /// If no port is free.
    #[must_use]
    pub fn free_port() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        listener.local_addr().expect("a bound socket has an address").port()
    }

    /// The program, to be run for this testbed.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("TESTYARD_DIR", self.dir())
            // Known hosts of slices of one name would mix up in one cache.
            .env("XDG_CACHE_HOME", self.folder.join("cache"));
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.command().args(arguments).stdin(Stdio::null()).output().expect("the program can be started")
    }

    /// Runs the program to its end and demands success; what it printed.
    ///
    /// # Panics
    /// If it fails; the text holds what it said.
    pub fn ok(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let arguments: Vec<_> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let output = self.run(&arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "testyard {arguments:?}: {}\n{out}\n{err}\n{}",
            output.status,
            self.log()
        );
        out.into_owned()
    }

    /// From now on it is this program.
    pub fn upgrade(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// Starts the server and waits until it listens.
    ///
    /// # Panics
    /// If it is not up within thirty seconds.
    pub fn serve(&mut self) {
        self.serve_by(&[]);
    }

    /// The same, started by another program that becomes it.
    ///
    /// # Panics
    /// If it is not up within thirty seconds.
    pub fn serve_by(&mut self, starter: &[&str]) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("a log can be written");
        let mut command = match starter {
            [] => Command::new(&self.program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        let child = command
            .args(["serve", "--config"])
            .arg(self.config())
            .env("RUST_LOG", "info,testyard_agent=debug")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn()
            .expect("the program can be started");
        self.server = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.run(["am", "get-version", "--json"]).status.success() {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            assert!(ended.is_none(), "the server has ended: {ended:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "the server does not answer\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(30));
        }
    }

    /// The server's process.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let id = self.server.as_ref().expect("the server runs").id();
        i32::try_from(id).expect("process ids are small")
    }

    /// Ends the server at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Asks the server to end, and waits.
    ///
    /// # Panics
    /// If it does not end within thirty seconds.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let id = i32::try_from(server.id()).expect("process ids are small");
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(30);
        while server.try_wait().ok().flatten().is_none() {
            if Instant::now() > deadline {
                let _ = server.kill();
                let _ = server.wait();
                panic!("the server did not end when asked to\n{}", self.log());
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// The end of what the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("serve.log")
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.kill();
        let config = self.config();
        let by_config =
            self.run([OsStr::new("reset"), "--yes".as_ref(), "--config".as_ref(), config.as_os_str()]);
        // A test may have left a configuration that cannot be read.
        let output = if by_config.status.success() {
            by_config
        } else {
            self.run(["reset", "--yes", "--instance", &self.instance])
        };
        if std::thread::panicking() {
            eprintln!("the testbed's folder is kept: {}", self.folder.display());
            eprintln!("{}", self.log());
        } else {
            assert!(output.status.success(), "reset: {}", String::from_utf8_lossy(&output.stderr));
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

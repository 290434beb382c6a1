//! A Docker Engine of one's own: for tests that end it, which must not end everybody's.
//!
//! Its data, sockets and containerd are in folders of its own; it keeps its hands off the machine's packet rules. It is
//! ended with all that it runs when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A Docker Engine that the test has for itself.
#[derive(Debug)]
pub struct Engine {
    folder: PathBuf,
    /// Opens the network namespace that it runs in, if it is not the machine's.
    netns: Option<PathBuf>,
    daemon: Option<Child>,
}

impl Engine {
    /// Starts an engine with its data below `folder` and waits until it answers.
    ///
    /// # Panics
    /// If it does not answer within a minute; the text names its log.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        Self::begin(folder, None)
    }

    /// The same in a network namespace, which is a machine of its own for those who look at networks only.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_in(folder: &Path, netns: &Path) -> Self {
        Self::begin(folder, Some(netns.to_owned()))
    }

    fn begin(folder: &Path, netns: Option<PathBuf>) -> Self {
        crate::needs::root();
        let _ = crate::needs::program("dockerd", "docker.io");
        fs::create_dir_all(folder).expect("a folder for the engine can be made");
        let mut engine = Self { folder: folder.to_owned(), netns, daemon: None };
        engine.resume();
        engine
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Starts it again after [`Self::kill`] or [`Self::crash_machine`].
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn resume(&mut self) {
        let _ = fs::remove_file(self.folder.join("docker.pid"));
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("dockerd.log"))
            .expect("a log can be written");
        let option = |name: &str, file: &str| format!("--{name}={}", self.folder.join(file).display());
        let host = format!("--host=unix://{}", self.socket().display());
        fs::write(self.folder.join("daemon.json"), "{}").expect("a configuration can be written");
        let mut daemon = match &self.netns {
            None => Command::new("dockerd"),
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", netns.display())).args(["--", "dockerd"]);
                command
            }
        };
        let daemon = daemon
            .args([
                host,
                option("data-root", "data"),
                option("exec-root", "exec"),
                option("pidfile", "docker.pid"),
            ])
            .args([option("config-file", "daemon.json")])
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--ip-forward=false"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn()
            .expect("dockerd can be started");
        self.daemon = Some(daemon);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.docker(&["version"]).0 {
            let log = self.folder.join("dockerd.log");
            assert!(Instant::now() < deadline, "the engine does not answer; see {}", log.display());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Copies an image from the machine's own engine.
    ///
    /// # Panics
    /// If the machine's engine does not have it.
    pub fn copy_image(&self, name: &str) {
        let mut save = Command::new("docker")
            .args(["save", name])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker can be started");
        let archive = save.stdout.take().expect("its output is a pipe");
        let load = Command::new("docker")
            .args(["--host", &format!("unix://{}", self.socket().display()), "load"])
            .stdin(archive)
            .stdout(Stdio::null())
            .status()
            .expect("docker can be started");
        let saved = save.wait().expect("docker can be waited for");
        assert!(saved.success() && load.success(), "image {name} cannot be copied");
    }

    /// Runs the engine's client; whether it succeeded, and what it printed.
    #[must_use]
    pub fn docker(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("docker")
            .args(["--host", &format!("unix://{}", self.socket().display())])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("docker can be started");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Ends the daemon and its containerd at once, and nothing else: containers run on until it is resumed.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // A daemon that comes back while the old containerd is still dying would take it for a living one.
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline
            && self
                .named("containerd --config")
                .into_iter()
                .filter(|id| kill(*id, Signal::SIGKILL).is_ok())
                .count()
                > 0
        {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = fs::remove_file(self.folder.join("exec/containerd/containerd.pid"));
    }

    /// Ends everything of the engine at once, as the end of the machine would: daemon, helpers, containers.
    pub fn crash_machine(&mut self) {
        self.kill();
        // Children of a killed helper lose their parent, so look until nobody is left.
        while self.processes().into_iter().filter(|process| kill(*process, Signal::SIGKILL).is_ok()).count()
            > 0
        {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = fs::remove_dir_all(self.folder.join("exec"));
    }

    /// Living processes of this engine whose command line holds this text.
    fn named(&self, text: &str) -> Vec<Pid> {
        let folder = self.folder.to_string_lossy().into_owned();
        fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let id = entry.file_name().to_str()?.parse::<i32>().ok()?;
                let line = fs::read(entry.path().join("cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                (line.contains(text) && line.contains(&folder)).then_some(Pid::from_raw(id))
            })
            .collect()
    }

    /// Helpers and containers: processes that have the engine's folder in their command line or in their cgroup's
    /// parent, and children of those.
    fn processes(&self) -> Vec<Pid> {
        let folder = self.folder.to_string_lossy().into_owned();
        let mut found: Vec<i32> = Vec::new();
        let mut parents: Vec<(i32, i32)> = Vec::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let helper = ["containerd", "runc", "docker-init"].iter().any(|name| line.contains(name));
            if helper && line.contains(&folder) {
                found.push(id);
            }
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split_whitespace());
            let mut fields = fields.into_iter().flatten();
            let state = fields.next().unwrap_or("Z");
            if state != "Z"
                && let Some(parent) = fields.next().and_then(|parent| parent.parse().ok())
            {
                parents.push((id, parent));
            }
        }
        let mut at = 0;
        while at < found.len() {
            let parent = found[at];
            found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
            at += 1;
        }
        found.into_iter().map(Pid::from_raw).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let (_, all) = self.docker(&["ps", "--all", "--quiet"]);
        for container in all.lines() {
            let _ = self.docker(&["rm", "--force", "--volumes", container]);
        }
        self.crash_machine();
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let folder = self.folder.to_string_lossy().into_owned();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if Path::new(mount).starts_with(&folder) {
                let _ = nix::mount::umount2(mount, nix::mount::MntFlags::MNT_DETACH);
            }
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

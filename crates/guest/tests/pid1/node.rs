//! A node for tests: the guest as process 1 of namespaces of its own, with this machine's /usr as its image and the
//! test as its agent. No engine is needed; the disk is a temporary folder and outlives a boot.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use testyard_guest_protocol::{
    Answer, Ask, Desired, FromGuest, Hello, HostKey, Report, Secret, ToGuest, Told, read, write,
};
use testyard_testkit::needs;

/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Run as process 1 of the new namespaces; `$1` is the root, `$2` the guest, `$3` what of this machine is its image, `$4`
/// whether it is read-only. Everything that it mounts ends with them.
const BOOT: &str = r#"
set -e
mount --bind "$1" "$1"
for folder in $3; do mount -o bind,ro "/$folder" "$1/$folder"; done
mount --bind "$2" "$1/.testyard/bin/testyard-guest"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount --bind "$1/etc/hosts" "$1/etc/hosts"
mount --bind "$1/etc/resolv.conf" "$1/etc/resolv.conf"
ip link set lo up
if [ "$4" = read-only ]; then mount -t tmpfs tmpfs "$1/run"; mount -o remount,bind,ro "$1"; fi
exec chroot "$1" /.testyard/bin/testyard-guest init
"#;

/// The disk of a node.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
    listener: UnixListener,
    /// Folders of this machine that are its image.
    image: &'static str,
    read_only: bool,
}

/// A booted node.
pub(crate) struct Node<'a> {
    pub(crate) disk: &'a Disk,
    unshare: Child,
    pub(crate) started: Instant,
    link: Option<Link>,
}

/// The agent's end of a stream.
struct Link {
    stream: UnixStream,
    hello: Hello,
    reports: Mutex<Receiver<(Instant, Report)>>,
}

impl Disk {
    /// An image like a small Debian: accounts, an sshd with a baked key, no sudo unless the machine has it.
    pub(crate) fn new() -> Self {
        needs::root();
        let _ = needs::program("sshd", "openssh-server");
        let _ = needs::program("unshare", "util-linux");
        let _ = needs::program("ip", "iproute2");
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        for path in [
            "usr",
            "etc/ssh",
            "etc/skel",
            "proc",
            "dev",
            "tmp",
            "run",
            "var/lib",
            "root",
            ".testyard/bin",
            ".testyard/run",
        ] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), root.join(name)).unwrap();
        }
        for (path, text) in [
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\nsshd:x:102:65534::/run/sshd:/usr/sbin/nologin\nweb:x:33:33::/var/www:/bin/sh\n",
            ),
            ("etc/group", "root:x:0:\nweb:x:33:\nextra:x:77:web\nnogroup:x:65534:\n"),
            ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
            ("etc/hosts", ""),
            ("etc/resolv.conf", "nameserver 192.0.2.1\n"),
            ("etc/skel/.profile", "PATH=$PATH\n"),
            (
                "etc/ssh/sshd_config",
                "PasswordAuthentication yes\nHostKey /etc/ssh/ssh_host_rsa_key\nHostKey /etc/ssh/ssh_host_ed25519_key\nSubsystem sftp internal-sftp\n",
            ),
            ("etc/ssh/ssh_host_rsa_key", "the image's own\n"),
            (".testyard/bin/testyard-guest", ""),
        ] {
            fs::write(root.join(path), text).unwrap();
        }
        let listener = UnixListener::bind(root.join(".testyard/run/agent.sock")).unwrap();
        Self { folder, listener, image: "usr", read_only: false }
    }

    /// An image of one static program, `/busybox`: no folder, no account, no shell, no SSH server. This machine's
    /// libraries are there for the guest alone, which tests link dynamically.
    pub(crate) fn bare(read_only: bool) -> Self {
        needs::root();
        let busybox = needs::program("busybox", "busybox-static");
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        // What an engine mounts over, it makes.
        for path in ["usr/lib", "usr/lib64", "etc", "proc", "dev", ".testyard/bin", ".testyard/run"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        if read_only {
            fs::create_dir(root.join("run")).unwrap();
        }
        for name in ["lib", "lib64"] {
            symlink(format!("usr/{name}"), root.join(name)).unwrap();
        }
        for path in ["etc/hosts", "etc/resolv.conf", ".testyard/bin/testyard-guest"] {
            fs::write(root.join(path), "").unwrap();
        }
        fs::copy(busybox, root.join("busybox")).unwrap();
        let listener = UnixListener::bind(root.join(".testyard/run/agent.sock")).unwrap();
        Self { folder, listener, image: "usr/lib usr/lib64", read_only }
    }

    /// Puts sudo beside the guest, as hosts do.
    pub(crate) fn with_sudo(self) -> Self {
        let sudo = self.path(".testyard/bin/sudo");
        fs::copy(guest(), &sudo).unwrap();
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o4755)).unwrap();
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn boot(&self) -> Node<'_> {
        let started = Instant::now();
        let unshare = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--uts",
                "--net",
                "--ipc",
                "--kill-child",
                "--",
                "sh",
                "-c",
                BOOT,
                "sh",
            ])
            .arg(self.folder.path())
            .arg(guest())
            .arg(self.image)
            .arg(if self.read_only { "read-only" } else { "" })
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut node = Node { disk: self, unshare, started, link: None };
        node.accept();
        node
    }

    /// The agent goes away with everything of its, and comes back.
    pub(crate) fn listen_again(&mut self) {
        let path = self.path(".testyard/run/agent.sock");
        fs::remove_file(&path).unwrap();
        self.listener = UnixListener::bind(path).unwrap();
    }
}

/// The guest's program.
fn guest() -> PathBuf {
    std::env::var_os("TESTYARD_GUEST")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_testyard-guest")), PathBuf::from)
}

impl Node<'_> {
    /// Takes the guest's next stream.
    pub(crate) fn accept(&mut self) {
        let listener = self.disk.listener.try_clone().unwrap();
        let (sender, receiver) = channel();
        // Accepting has no timeout of its own.
        std::thread::spawn(move || sender.send(listener.accept()));
        let (stream, _) = receiver.recv_timeout(PATIENCE).expect("the guest connects").unwrap();
        let mut reader = stream.try_clone().unwrap();
        let hello = match read::<FromGuest>(&mut reader).unwrap() {
            FromGuest::Hello(hello) => hello,
            other => panic!("not a greeting: {other:?}"),
        };
        let (sender, reports) = channel();
        let writer = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            while let Ok(message) = read(&mut reader) {
                match message {
                    FromGuest::Report(report) => {
                        if sender.send((Instant::now(), *report)).is_err() {
                            return;
                        }
                    }
                    // An agent that knows all.
                    FromGuest::Ask(Ask { id, what }) => {
                        let told = Told { id, answer: Answer::Text(format!("the {what}, question {id}")) };
                        write(&mut &writer, &ToGuest::Told(told)).unwrap();
                    }
                    FromGuest::Hello(_) => {}
                }
            }
        });
        self.link = Some(Link { stream, hello, reports: Mutex::new(reports) });
    }

    pub(crate) fn hello(&self) -> &Hello {
        &self.link.as_ref().unwrap().hello
    }

    /// Closes the stream.
    pub(crate) fn hang_up(&mut self) {
        let link = self.link.take().unwrap();
        link.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }

    pub(crate) fn say(&self, message: &ToGuest) {
        write(&mut &self.link.as_ref().unwrap().stream, message).unwrap();
    }

    pub(crate) fn want(&self, desired: &Desired) {
        self.say(&ToGuest::Desired(Box::new(desired.clone())));
    }

    /// The first report from now on that is so, and how long after the boot it came.
    pub(crate) fn until(&self, what: &str, so: impl Fn(&Report) -> bool) -> (Report, Duration) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.link.as_ref().unwrap().reports.lock().unwrap().recv_timeout(left) {
                Ok((at, report)) if so(&report) => return (report, at - self.started),
                Ok((_, report)) => last = Some(report),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("waited in vain for {what}; last: {last:#?}")
                }
            }
        }
    }

    /// Process 1 as this machine numbers it.
    pub(crate) fn pid(&self) -> i32 {
        let parent = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        children.trim().parse().unwrap()
    }

    /// What process 1 costs, for people who run the test to see it.
    pub(crate) fn cost(&self) -> String {
        let pid = self.pid();
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let of = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let (memory, status) = (read("smaps_rollup"), read("status"));
        let parts = [
            of(&memory, "Rss:"),
            of(&memory, "Pss:"),
            of(&memory, "Private_Dirty:"),
            of(&status, "Threads:"),
        ];
        parts.join(", ")
    }

    /// A command inside the node's namespaces and root.
    pub(crate) fn inside(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        let pid = self.pid().to_string();
        command.args(["-t", &pid, "-m", "-p", "-u", "-n", "-r", "-w", "--"]).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap()
    }

    /// A command over SSH, with a key whose file is given.
    pub(crate) fn ssh(&self, user: &str, key: &Path, known_hosts: &Path, command: &str) -> Output {
        self.ssh_command(user, key, known_hosts, command).output().unwrap()
    }

    /// The first line that such a command writes. Nobody reads further, and it must end.
    pub(crate) fn first_line(&self, user: &str, key: &Path, known_hosts: &Path, command: &str) -> String {
        use std::io::BufRead as _;
        let mut child =
            self.ssh_command(user, key, known_hosts, command).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let status = child.wait().unwrap();
        assert_ne!(status.code(), Some(124), "it goes on");
        line
    }

    fn ssh_command(&self, user: &str, key: &Path, known_hosts: &Path, command: &str) -> Command {
        let known = format!("UserKnownHostsFile={}", known_hosts.display());
        let mut ssh = Command::new("nsenter");
        ssh.args(["-t", &self.pid().to_string(), "-n", "--"])
            .args(["timeout", &PATIENCE.as_secs().to_string(), "ssh", "-F", "/dev/null", "-i"])
            .arg(key)
            .args([
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "StrictHostKeyChecking=yes",
                "-o",
                &known,
            ])
            .args(["-o", "ConnectTimeout=20", &format!("{user}@127.0.0.1"), command])
            .stdin(Stdio::null());
        ssh
    }

    /// Waits for the end of process 1; how long it took.
    pub(crate) fn wait_for_the_end(&mut self) -> Duration {
        let began = Instant::now();
        let (sender, receiver) = channel();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.unshare.id()).unwrap());
        std::thread::spawn(move || {
            use nix::sys::wait::{Id, WaitPidFlag, waitid};
            let _ = sender.send(waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT));
        });
        receiver.recv_timeout(PATIENCE).expect("the node ends").unwrap();
        let status = self.unshare.wait().unwrap();
        assert!(status.success(), "{status}");
        began.elapsed()
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        // Process 1 goes with it, and with process 1 the whole node.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

/// A key pair of a user or host.
pub(crate) struct Key {
    folder: tempfile::TempDir,
}

impl Key {
    pub(crate) fn new(kind: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = needs::program("ssh-keygen", "openssh-client");
        let made = Command::new(program)
            .args(["-q", "-N", "", "-C", "test", "-t", kind, "-f"])
            .arg(folder.path().join("key"))
            .status();
        assert!(made.unwrap().success());
        Self { folder }
    }

    pub(crate) fn private_file(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    pub(crate) fn public(&self) -> String {
        fs::read_to_string(self.folder.path().join("key.pub")).unwrap().trim().to_owned()
    }

    pub(crate) fn as_host_key(&self, algorithm: &str) -> HostKey {
        let private = Secret(fs::read_to_string(self.private_file()).unwrap());
        HostKey { algorithm: algorithm.into(), private, public: self.public() }
    }

    /// A known_hosts file that trusts this host key alone.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        let path = self.folder.path().join("known_hosts");
        fs::write(&path, format!("127.0.0.1 {}\n", self.public())).unwrap();
        path
    }
}

//! Network namespaces of one's own: machines, for those who look at networks only. They have no names, only open files, so
//! they end with the test, however it ends.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{Shutdown, shutdown};

/// Long enough for a loaded machine. Most things that must not answer are refused, so few tests wait for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Netns(Arc<File>);

impl Netns {
    /// A new one, with nothing but `lo`, down.
    ///
    /// # Panics
    /// If it cannot be made: who makes one is root.
    #[must_use]
    pub fn new() -> Self {
        crate::needs::root();
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            File::open("/proc/thread-self/ns/net").expect("its file")
        };
        Self(Arc::new(std::thread::spawn(make).join().expect("no panic")))
    }

    /// One that a file is.
    ///
    /// # Panics
    /// If it cannot be opened.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        Self(Arc::new(File::open(path).expect("a namespace")))
    }

    /// Opens it, for as long as this value lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Runs something inside. Sockets made there stay there.
    ///
    /// # Panics
    /// If that panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.0, CloneFlags::CLONE_NEWNET).expect("the namespace");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a program inside; its output, or what it complained about.
    ///
    /// # Errors
    /// What it printed on standard error, if it fails.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn try_command(&self, line: &str, input: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run(|| {
            let mut child = Command::new(words[0])
                .args(&words[1..])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{}: {error}", words[0]));
            child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("input");
            let output = child.wait_with_output().expect("output");
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
        })
    }

    /// The same for what must work; its output.
    ///
    /// # Panics
    /// If it does not.
    pub fn command(&self, line: &str) -> String {
        self.try_command(line, "").unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Several.
    ///
    /// # Panics
    /// As [`Self::command`].
    pub fn commands(&self, lines: &[&str]) {
        for line in lines {
            self.command(line);
        }
    }

    /// Starts a server that says its name and who it talks to.
    ///
    /// # Panics
    /// If the address cannot be had.
    #[must_use]
    pub fn serve(&self, address: &str, name: &'static str) -> Server {
        let address: SocketAddr = address.parse().expect("an address");
        let listener =
            Arc::new(self.run(|| TcpListener::bind(address)).unwrap_or_else(|e| panic!("{address}: {e}")));
        let accepting = Arc::clone(&listener);
        let thread = std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = accepting.accept() {
                let _ = write!(stream, "{name} {}", peer.ip());
            }
        });
        Server { listener, thread: Some(thread) }
    }

    /// What a server says, or `None`.
    ///
    /// # Panics
    /// If that is no address.
    #[must_use]
    pub fn ask(&self, to: impl std::fmt::Display) -> Option<String> {
        let to: SocketAddr = to.to_string().parse().expect("an address");
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        })
    }

    /// The name of whoever answers, or "-".
    #[must_use]
    pub fn who(&self, to: impl std::fmt::Display) -> String {
        self.ask(to)
            .map_or_else(|| "-".to_owned(), |text| text.split(' ').next().unwrap_or_default().to_owned())
    }

    /// Whether an echo comes back.
    #[must_use]
    pub fn pings(&self, to: &str) -> bool {
        self.try_command(&format!("ping -c 1 -W 1 {to}"), "").is_ok()
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

/// A server that says its name. Ends when dropped, with its sockets: a namespace lives as long as a socket in it.
#[derive(Debug)]
pub struct Server {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = shutdown(self.listener.as_raw_fd(), Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

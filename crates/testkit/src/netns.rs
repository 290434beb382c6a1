//! Network namespaces of one's own: machines, for those who look at networks only. They have no names, only open files, so
//! they end with the test, however it ends.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Netns(Arc<File>);

impl Netns {
    /// A new one, with nothing but `lo`, which is up.
    ///
    /// # Panics
    /// If it cannot be made: who makes one is root.
    #[must_use]
    pub fn new() -> Self {
        crate::needs::root();
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace can be made");
            File::open("/proc/thread-self/ns/net").expect("a thread has a namespace")
        };
        let made = Self(Arc::new(std::thread::spawn(make).join().expect("no panic")));
        made.ok("ip link set lo up");
        made
    }

    /// Opens it, for as long as this value lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Runs something inside, on a thread of its own.
    ///
    /// # Panics
    /// If that panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&*self.0, CloneFlags::CLONE_NEWNET).expect("a namespace can be entered");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a command line inside, split at blanks; whether it succeeded, and what it printed.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn command(&self, line: &str) -> (bool, String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run(|| {
            let output = Command::new(words[0])
                .args(&words[1..])
                .stdin(Stdio::null())
                .output()
                .unwrap_or_else(|error| panic!("{}: {error}", words[0]));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.success(), text(&output.stdout) + &text(&output.stderr))
        })
    }

    /// The same for what must succeed; what it printed.
    ///
    /// # Panics
    /// If it does not.
    pub fn ok(&self, line: &str) -> String {
        let (is_done, said) = self.command(line);
        assert!(is_done, "{line}: {said}");
        said
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

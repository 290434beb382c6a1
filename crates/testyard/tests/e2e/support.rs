//! What the tests share.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use testyard_testkit::testbed::Testbed;
use testyard_testkit::{leaks, needs};

/// The image that nodes boot; `./test` makes it.
pub(crate) const IMAGE: &str = "testyard/debian:12";

/// When the server is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// After this share of the time that a call takes here and now: before the server has heard of it, or while it works.
    Share(f64),
    /// So many milliseconds after it has answered.
    Answered(u64),
}

/// A testbed that is removed, and must have left nothing, when the test is over.
pub(crate) struct Bed {
    testbed: Option<Testbed>,
}

impl Bed {
    /// A running testbed.
    pub(crate) fn new() -> Self {
        Self::with(|config| config)
    }

    /// A running testbed with a changed configuration.
    pub(crate) fn with(edit: impl FnOnce(String) -> String) -> Self {
        needs::root();
        needs::docker();
        let mut testbed = Testbed::init(&program(), edit);
        testbed.serve();
        Self { testbed: Some(testbed) }
    }

    pub(crate) fn testbed(&mut self) -> &mut Testbed {
        self.testbed.as_mut().expect("the testbed is there until the end")
    }

    /// A command line that must succeed, split at blanks; what it printed.
    pub(crate) fn ok(&mut self, line: &str) -> String {
        self.testbed().ok(line.split(' '))
    }

    /// A command line that must fail; its exit code and what it printed on standard error.
    pub(crate) fn fails(&mut self, line: &str) -> (i32, String) {
        let output = self.testbed().run(line.split(' '));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "testyard {line} succeeded");
        (output.status.code().unwrap_or(-1), error)
    }

    /// A file in the testbed's folder.
    pub(crate) fn file(&mut self, name: &str, text: &str) -> String {
        let path = self.testbed().folder().join(name);
        fs::write(&path, text).expect("a file can be written");
        path.to_string_lossy().into_owned()
    }

    /// Allocates and provisions a request of these nodes, and waits until all are ready.
    pub(crate) fn up(&mut self, slice: &str, nodes: &[&str]) {
        let file = self.file(&format!("{slice}.rspec"), &request(nodes));
        self.ok(&format!("am up {file} --slice {slice}"));
    }

    /// The status of a slice's slivers.
    pub(crate) fn status(&mut self, slice: &str) -> Vec<Value> {
        let text = self.ok(&format!("am status {slice} --json"));
        let value: Value = serde_json::from_str(&text).expect("--json prints JSON");
        value["slivers"].as_array().expect("slivers are a list").clone()
    }

    /// Waits until every sliver of a slice is in this state.
    pub(crate) fn wait(&mut self, slice: &str, state: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let slivers = self.status(slice);
            if slivers.iter().all(|sliver| sliver["operational"] == state) {
                return;
            }
            assert!(Instant::now() < deadline, "not {state}: {slivers:#?}\n{}", self.testbed().log());
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// Runs a command in a node as its user.
    pub(crate) fn ssh(&mut self, slice: &str, node: &str, command: &str) -> String {
        self.testbed().ok(["am", "ssh", slice, node, "--", command])
    }

    /// Whether a command succeeds in a node.
    pub(crate) fn ssh_succeeds(&mut self, slice: &str, node: &str, command: &str) -> bool {
        self.testbed().run(["am", "ssh", slice, node, "--", command]).status.success()
    }

    /// The manifest of a slice.
    pub(crate) fn manifest(&mut self, slice: &str) -> String {
        self.ok(&format!("am describe {slice} --rspec"))
    }

    /// Begins a command line, kills the server at this moment, and starts it again; whether the command was told that
    /// it is done.
    pub(crate) fn killed_during(&mut self, line: &str, moment: Moment) -> bool {
        let usual = Instant::now();
        self.ok("am list-resources --json");
        let usual = usual.elapsed();
        let mut command = self.testbed().command();
        command.args(line.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut command = command.spawn().expect("the program can be started");
        let mut done = None;
        match moment {
            Moment::Share(share) => std::thread::park_timeout(usual.mul_f64(share)),
            Moment::Answered(milliseconds) => {
                done = Some(command.wait().expect("a child can be waited for"));
                std::thread::park_timeout(Duration::from_millis(milliseconds));
            }
        }
        self.testbed().kill();
        let done = done.unwrap_or_else(|| command.wait().expect("a child can be waited for")).success();
        assert!(done || matches!(moment, Moment::Share(_)), "{line} failed\n{}", self.testbed().log());
        self.testbed().serve();
        done
    }

    /// Waits until nothing of these slivers is left on the machine, without any reset. Other slivers of the testbed may
    /// live on; where these were all, nothing but the testbed's own table and chain may be left.
    pub(crate) fn wait_until_gone(&mut self, slivers: &[String]) {
        let instance = self.testbed().instance().to_owned();
        let folder = self.testbed().folder().to_owned();
        let ids: Vec<&str> = slivers.iter().filter_map(|urn| urn.rsplit('+').next()).collect();
        let entries = |path: &str| {
            let entries = fs::read_dir(folder.join(path)).into_iter().flatten().flatten();
            entries.map(|entry| entry.path().display().to_string()).collect::<Vec<_>>()
        };
        let ours = |line: &str| ids.is_empty() || ids.iter().any(|id| line.contains(id));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = leaks::find(Some(&instance));
            // The table and the chain are the testbed's; what is in them for a sliver carries the sliver's id.
            let of_nodes = found
                .into_iter()
                .filter(|line| line.starts_with("container") || line.starts_with("interface"));
            let rules = run("nft", &["list", "table", "inet", &format!("testyard_{instance}")]);
            let mut left: Vec<String> = of_nodes.collect();
            left.extend(["run/nodes", "state/host"].into_iter().flat_map(&entries));
            left.retain(|line| ours(line));
            left.extend(ids.iter().filter(|id| rules.contains(**id)).map(|id| format!("rules of {id}")));
            if left.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "left, without any reset: {left:#?}\n{}",
                self.testbed().log()
            );
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let instance = self.testbed.as_ref().map(|testbed| testbed.instance().to_owned());
        drop(self.testbed.take());
        if let (Some(instance), false) = (instance, std::thread::panicking()) {
            leaks::assert_none(&instance);
        }
    }
}

/// A file of the examples.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// The process numbers of a testbed's wires.
pub(crate) fn wires(bed: &mut Bed) -> Vec<String> {
    let mark = format!("wire --socket .*/links/{}/", bed.testbed().instance());
    let found = std::process::Command::new("pgrep").args(["-f", &mark]).output().expect("pgrep starts");
    String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
}

/// The program under test.
pub(crate) fn program() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_testyard")).to_owned()
}

/// A request of nodes of the default type.
pub(crate) fn request(nodes: &[&str]) -> String {
    let nodes: Vec<(&str, &str)> = nodes.iter().map(|node| (*node, "")).collect();
    request_with(&nodes)
}

/// A request of nodes of the default type, each with this markup inside.
pub(crate) fn request_with(nodes: &[(&str, &str)]) -> String {
    let nodes: String = nodes
        .iter()
        .map(|(name, inside)| {
            format!("<node client_id=\"{name}\" exclusive=\"false\"><sliver_type name=\"docker-container\"/>{inside}</node>\n")
        })
        .collect();
    format!("<rspec xmlns=\"http://www.geni.net/resources/rspec/3\" type=\"request\">\n{nodes}</rspec>\n")
}

/// The values of an attribute of all elements of this name, as they are written, in the document's order.
pub(crate) fn attributes(document: &str, element: &str, attribute: &str) -> Vec<String> {
    let start = format!("<{element} ");
    document
        .split(&start)
        .skip(1)
        .filter_map(|rest| rest.split('>').next())
        .filter_map(|inside| {
            let value = format!(" {inside}").split_once(&format!(" {attribute}=\""))?.1.to_owned();
            Some(value.split('"').next()?.to_owned())
        })
        .collect()
}

/// Runs a program of the machine; what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(arguments.iter().map(OsStr::new))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}{error}", output.status);
    text
}

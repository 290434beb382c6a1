//! The program as people and scripts meet it: help, messages, exit codes, files. No root, no engine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder of its own with a testbed made by `init`.
struct Made {
    folder: TempDir,
}

impl Made {
    fn new() -> Self {
        let made = Self { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        let output = made.run(&["init", "--name", "am.example.net", "--user", "ann"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("etc").join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(arguments, Some(&self.folder.path().join("etc")))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What a failing command says, with the folder's name taken out.
    fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
        let said = text(&output.stdout) + &text(&output.stderr);
        said.replace(&*self.folder.path().to_string_lossy(), "DIR")
    }
}

fn run(arguments: &[&str], dir: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testyard"));
    command.args(arguments).stdin(Stdio::null()).env_remove("TESTYARD_DIR").env_remove("RUST_LOG");
    if let Some(dir) = dir {
        command.env("TESTYARD_DIR", dir);
    }
    command.output().expect("the program can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const VERBS: &[&[&str]] = &[
    &[],
    &["serve"],
    &["agent"],
    &["host"],
    &["host", "add"],
    &["host", "ls"],
    &["host", "drain"],
    &["host", "rm"],
    &["init"],
    &["credential"],
    &["credential", "issue", "user"],
    &["credential", "issue", "slice"],
    &["credential", "check"],
    &["up"],
    &["down"],
    &["ls"],
    &["status"],
    &["ssh"],
    &["exec"],
    &["cp"],
    &["logs"],
    &["restart"],
    &["stop"],
    &["start"],
    &["reload"],
    &["renew"],
    &["replay"],
    &["capture"],
    &["verify"],
    &["wait"],
    &["events"],
    &["ssh-config"],
    &["inventory"],
    &["link", "set"],
    &["link", "down"],
    &["link", "up"],
    &["link", "reset"],
    &["slice", "shutdown"],
    &["slice", "lift-shutdown"],
    &["am"],
    &["am", "get-version"],
    &["am", "list-resources"],
    &["am", "describe"],
    &["am", "allocate"],
    &["am", "provision"],
    &["am", "status"],
    &["am", "perform"],
    &["am", "renew"],
    &["am", "delete"],
    &["am", "shutdown"],
    &["am", "up"],
    &["am", "ssh"],
    &["am", "ssh-config"],
    &["image", "build-default"],
    &["image", "import"],
    &["plan"],
    &["convert"],
    &["graph"],
    &["doctor"],
    &["reset"],
    &["completions"],
];

#[test]
fn help_of_every_command() {
    let mut all = String::new();
    for verb in VERBS {
        let output = run(&[*verb, &["--help"]].concat(), None);
        assert!(output.status.success(), "{verb:?}");
        all += &format!("$ testyard {}\n{}\n", [*verb, &["--help"]].concat().join(" "), text(&output.stdout));
    }
    for line in all.lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell], None);
        assert!(output.status.success() && text(&output.stdout).contains("credential"), "{shell}");
    }
}

#[test]
fn init_makes_everything_once() {
    let made = Made::new();
    for (file, mode) in [
        ("testyard.toml", 0o644),
        ("trusted/am.example.net.pem", 0o644),
        ("authority/root.key", 0o600),
        ("authority/authority.key", 0o600),
        ("server/certificate.pem", 0o644),
        ("server/key.pem", 0o600),
        ("users/ann/certificate.pem", 0o644),
        ("users/ann/key.pem", 0o600),
        ("users/ann/credential.xml", 0o600),
        ("users/ann/ssh", 0o600),
        ("users/ann/ssh.pub", 0o644),
    ] {
        let found = fs::metadata(made.path(file))
            .unwrap_or_else(|error| panic!("{file}: {error}"))
            .permissions()
            .mode();
        assert_eq!(found & 0o777, mode, "{file}");
    }
    let before = fs::read(made.path("authority/root.key")).unwrap();
    insta::assert_snapshot!(made.fails(&["init", "--name", "am.example.net"], 2));
    assert_eq!(fs::read(made.path("authority/root.key")).unwrap(), before);
    assert!(!made.folder.path().join("etc.init").exists());
}

#[test]
fn init_after_one_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    fs::create_dir_all(folder.path().join("etc.init/authority")).unwrap();
    fs::write(folder.path().join("etc.init/authority/root.key"), "half").unwrap();
    let output = run(&["init", "--name", "am.example.net", "--user", "ann"], Some(&etc));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_ne!(fs::read(etc.join("authority/root.key")).unwrap(), b"half");
}

#[test]
fn init_refuses_names_that_nobody_can_reach() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    for name in ["localhost", "127.0.0.1", "0.0.0.0", "not a name"] {
        let output = run(&["init", "--name", name], Some(&etc));
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(!etc.exists(), "{name}");
    }
    let output = run(&["init", "--local", "--user", "ann"], Some(&etc));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fs::read_to_string(etc.join("testyard.toml")).unwrap().contains("name = \"localhost\""));
}

#[test]
fn a_credential_is_issued_and_judged() {
    let made = Made::new();
    let slice = "urn:publicid:IDN+am.example.net+slice+demo";
    let credential = made.path("demo.xml").to_string_lossy().into_owned();
    let ann = made.path("users/ann/certificate.pem").to_string_lossy().into_owned();
    made.ok(&["credential", "issue", "slice", "demo", "--output", &credential]);
    assert_eq!(fs::metadata(&credential).unwrap().permissions().mode() & 0o777, 0o600);

    let accepted = made.ok(&[
        "credential",
        "check",
        &credential,
        "--caller",
        &ann,
        "--operation",
        "Allocate",
        "--slice",
        slice,
    ]);
    assert!(
        accepted.starts_with("accept\n") && accepted.contains("credential 1 allows Allocate"),
        "{accepted}"
    );

    let other = slice.replace("demo", "other");
    let check =
        ["credential", "check", &credential, "--caller", &ann, "--operation", "Delete", "--slice", &other];
    let rejected = made.fails(&check, 1);
    assert!(rejected.starts_with("reject\n  step     target\n"), "{rejected}");

    let mallory = "mallory";
    made.ok(&["credential", "issue", "user", mallory]);
    let theirs = made.path("users/mallory/certificate.pem").to_string_lossy().into_owned();
    let stolen = [
        "credential",
        "check",
        &credential,
        "--caller",
        &theirs,
        "--operation",
        "Delete",
        "--slice",
        slice,
        "--json",
    ];
    let rejected: serde_json::Value = serde_json::from_str(&made.fails(&stolen, 1)).unwrap();
    assert_eq!((&rejected["verdict"], &rejected["step"]), (&"reject".into(), &"owner".into()));
    assert_eq!(rejected["credential"], 1);
    assert!(
        rejected["message"].as_str().is_some_and(|text| text.starts_with("credential 1: ")),
        "{rejected}"
    );

    let mut asked_as_json = check;
    asked_as_json[8] = slice;
    let accepted: serde_json::Value =
        serde_json::from_str(&made.ok(&[&asked_as_json[..], &["--json"]].concat())).unwrap();
    assert_eq!((&accepted["verdict"], &accepted["credential"]), (&"accept".into(), &1.into()));

    let late = [
        "credential",
        "check",
        &credential,
        "--caller",
        &ann,
        "--operation",
        "Allocate",
        "--slice",
        slice,
        "--at",
        "2099-01-01T00:00:00Z",
    ];
    assert!(made.fails(&late, 1).starts_with("reject\n"));
}

#[test]
fn a_further_user_gets_an_ssh_key_once() {
    let made = Made::new();
    made.ok(&["credential", "issue", "user", "bob"]);
    for (file, mode) in [("users/bob/ssh", 0o600), ("users/bob/ssh.pub", 0o644)] {
        assert_eq!(fs::metadata(made.path(file)).unwrap().permissions().mode() & 0o777, mode, "{file}");
    }
    let before = ["users/bob/ssh", "users/bob/ssh.pub"].map(|file| fs::read(made.path(file)).unwrap());
    made.ok(&["credential", "issue", "user", "bob"]);
    assert_eq!(["users/bob/ssh", "users/bob/ssh.pub"].map(|file| fs::read(made.path(file)).unwrap()), before);

    let public = made.path("users/bob/ssh.pub").to_string_lossy().into_owned();
    made.ok(&["credential", "issue", "user", "carol", "--ssh-key", &public]);
    assert!(!made.path("users/carol/ssh").exists() && made.path("users/carol/ssh.pub").exists());
    assert!(
        made.fails(&["credential", "issue", "user", "bob", "--ssh-key", &public], 2)
            .contains("is there already")
    );
}

#[test]
fn nobody_reads_the_output() {
    let made = Made::new();
    for (arguments, code) in [
        (&["completions", "bash"][..], 141),
        (&["credential", "issue", "slice", "demo"], 141),
        (&["credential", "issue", "user", "bob"], 141),
        (&["am", "get-version", "--url", "http://am.example.net/"], 2),
    ] {
        let run = |stderr: Stdio| {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let mut command = Command::new(env!("CARGO_BIN_EXE_testyard"));
            command.args(arguments).env("TESTYARD_DIR", made.path("")).stdin(Stdio::null());
            command.stdout(writer).stderr(stderr).spawn().unwrap().wait_with_output().unwrap()
        };
        let output = run(Stdio::piped());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && (code == 2 || said.is_empty()), "{arguments:?}: {said}");
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(closed.into()).status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn the_users_own_credential_is_good_for_the_advertisement_only() {
    let made = Made::new();
    let credential = made.path("users/ann/credential.xml").to_string_lossy().into_owned();
    let ann = made.path("users/ann/certificate.pem").to_string_lossy().into_owned();
    made.ok(&["credential", "check", &credential, "--caller", &ann, "--operation", "ListResources"]);
    let slice = "urn:publicid:IDN+am.example.net+slice+demo";
    made.fails(
        &["credential", "check", &credential, "--caller", &ann, "--operation", "Status", "--slice", slice],
        1,
    );
}

#[test]
fn the_corpus_of_credentials() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/credentials/manifest.json");
    let output = run(&["credential", "check", "--manifest", &manifest.to_string_lossy()], None);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let last = said.lines().last().unwrap_or_default();
    let numbers: Vec<&str> = last.split(' ').filter(|word| word.parse::<usize>().is_ok()).collect();
    assert!(last.contains("undisputed agree") && numbers[0] == numbers[1] && numbers[0] != "0", "{last}");
}

#[test]
fn what_is_wrong_is_said() {
    let made = Made::new();
    fs::write(made.path("testyard.toml"), "[testbed]\nname = \"am.example.net\"\nbindd = \":8001\"\n")
        .unwrap();
    insta::assert_snapshot!(made.fails(&["serve"], 2));
    insta::assert_snapshot!(made.fails(&["credential", "issue", "slice", "-x"], 2));
    insta::assert_snapshot!(made.fails(&["credential", "issue", "slice", "demo", "--user", "bob"], 2));
    insta::assert_snapshot!(
        made.fails(&["credential", "check", "none.xml", "--caller", "none.pem", "--operation", "Allocat"], 2)
    );
    insta::assert_snapshot!(made.fails(&["am", "status", "demo", "--url", "http://am.example.net/"], 2));
    insta::assert_snapshot!(
        made.fails(&["am", "status", "demo", "--url", "https://127.0.0.1:9/", "--insecure"], 3)
    );
    insta::assert_snapshot!(
        made.fails(&["am", "renew", "demo", "tomorrow", "--url", "https://127.0.0.1:9/"], 2)
    );
    insta::assert_snapshot!(made.fails(&["reset"], 2));
}

#[test]
fn without_a_testbed_commands_say_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    for (arguments, hint) in [
        (&["am", "get-version"][..], "give --url"),
        (&["am", "status", "demo", "--url", "https://127.0.0.1:9/"], "testyard init"),
        (&["serve"], "testyard init"),
        (&["reset", "--yes"], "--instance"),
        (&["credential", "issue", "slice", "demo"], "testyard init"),
    ] {
        let output = run(arguments, Some(&nowhere));
        assert!(!output.status.success(), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(hint), "{arguments:?}: {said}");
    }
}

/// The whole way with pretended nodes: no root, no engine, the real server.
#[test]
fn a_slice_of_pretended_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let etc = folder.path().join("etc");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let paths = [folder.path().join("state"), folder.path().join("run")]
        .map(|path| path.to_string_lossy().into_owned());
    let made = run(
        &["init", "--local", "--user", "ann", "--port", &port, "--state", &paths[0], "--run", &paths[1]],
        Some(&etc),
    );
    assert!(made.status.success(), "{}", text(&made.stderr));
    let config = etc.join("testyard.toml");
    let fake = fs::read_to_string(&config).unwrap()
        + "\n[[sliver_type]]\nname = \"docker-container\"\nruntime = \"fake\"\n";
    fs::write(&config, fake).unwrap();
    let server = Server(
        Command::new(env!("CARGO_BIN_EXE_testyard"))
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap(),
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !run(&["am", "get-version"], Some(&etc)).status.success() {
        assert!(
            std::time::Instant::now() < deadline,
            "{}",
            fs::read_to_string(folder.path().join("log")).unwrap()
        );
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    let request = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/two-nodes.rspec");
    let ok = |arguments: &[&str]| {
        let output = run(arguments, Some(&etc));
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let up = ok(&["am", "up", &request.to_string_lossy(), "--slice", "demo"]);
    assert!(up.contains("left   provisioned  ready") && up.contains("testyard am ssh demo left"), "{up}");
    for line in up.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    let status: serde_json::Value =
        serde_json::from_str(&ok(&["am", "status", "demo", "--json", "--timeline"])).unwrap();
    assert_eq!(status["slivers"][1]["operational"], "geni_ready");
    assert!(status["slivers"][0]["timeline"].as_array().is_some_and(|timeline| timeline.len() > 3));
    ok(&["am", "perform", "demo", "geni_stop", "--wait"]);
    let late = run(&["am", "status", "demo", "--wait", "--timeout", "0"], Some(&etc));
    assert_eq!(late.status.code(), Some(5), "{}", text(&late.stderr));
    let config_of_ssh = ok(&["am", "ssh-config", "demo"]);
    assert!(
        config_of_ssh.contains("Host right\n") && config_of_ssh.contains("StrictHostKeyChecking yes"),
        "{config_of_ssh}"
    );
    ok(&["am", "delete", "demo"]);
    let no_slivers = run(&["am", "ssh-config", "demo"], Some(&etc));
    assert!(text(&no_slivers.stderr).contains("has no slivers here"), "{}", text(&no_slivers.stderr));
    let gone = run(&["am", "status", "demo"], Some(&etc));
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("SEARCHFAILED (12)"), "{}", text(&gone.stderr));
    let second = run(&["serve", "--config", &config.to_string_lossy()], None);
    assert!(text(&second.stderr).contains("another testyard runs with"), "{}", text(&second.stderr));
    drop(server);
    let out_of_reach = run(&["am", "get-version"], Some(&etc));
    assert_eq!(out_of_reach.status.code(), Some(3));
    let said = text(&out_of_reach.stderr);
    assert!(said.contains("cannot connect") && said.contains("is `testyard serve` running?"), "{said}");
}

/// A server that ends with its test.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

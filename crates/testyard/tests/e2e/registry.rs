//! Pulls from a real registry on this machine: Debian's docker-registry, started on a free port, filled by the engine.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testyard_testkit::needs;
use testyard_testkit::testbed::Testbed;

use crate::support::{Bed, IMAGE, request, run};

/// `ann` with the password `open sesame`, as htpasswd writes it.
const USERS: &str = "ann:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";
const PASSWORD: &str = "open sesame";

/// A registry with a folder of its own; both are gone when it is dropped, and so are the images made for it.
struct Registry {
    folder: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
    images: Vec<String>,
}

impl Registry {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut registry = Self { folder, port: Testbed::free_port(), server: None, images: Vec::new() };
        registry.serve(false);
        registry
    }

    /// Starts it, for everybody or for [`USERS`] alone.
    fn serve(&mut self, members_only: bool) {
        let program = needs::program("docker-registry", "docker-registry");
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        fs::write(path("users"), USERS).unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: lab, path: {}}}}}\n", path("users"));
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:{}\", secret: x}}\n{}",
            path("data"),
            self.port,
            if members_only { &auth } else { "" }
        );
        fs::write(path("config.yml"), config).unwrap();
        let log = fs::File::options().create(true).append(true).open(path("log")).unwrap();
        let server = Command::new(program)
            .args(["serve", &path("config.yml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(server);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start:\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }

    /// Makes an image with a layer of its own, which only this registry has; gives its digest.
    fn push(&mut self, image: &str, from: &str) -> String {
        let name = self.name(image);
        let context = self.folder.path().join("context");
        fs::create_dir_all(&context).unwrap();
        fs::write(context.join("Dockerfile"), format!("FROM {from}\nCOPY layer /layer\n")).unwrap();
        fs::write(context.join("layer"), noise(3 << 20)).unwrap();
        self.images.push(name.clone());
        run("docker", &["build", "--quiet", "--tag", &name, &context.display().to_string()]);
        self.send(&name)
    }

    /// Makes an image of another architecture.
    fn push_foreign(&mut self, image: &str) {
        let name = self.name(image);
        let path = |file: &str| self.folder.path().join(file).display().to_string();
        let folder = path("");
        run("tar", &["-cf", &path("layer.tar"), "-C", &folder, "users"]);
        let sum = run("sha256sum", &[&path("layer.tar")]);
        let digest = sum.split(' ').next().unwrap();
        let config = json!({"architecture": "s390x", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]}});
        let manifest = json!([{"Config": "config.json", "RepoTags": [&name], "Layers": ["layer.tar"]}]);
        fs::write(path("config.json"), config.to_string()).unwrap();
        fs::write(path("manifest.json"), manifest.to_string()).unwrap();
        run("tar", &["-cf", &path("image.tar"), "-C", &folder, "manifest.json", "config.json", "layer.tar"]);
        run("docker", &["load", "--quiet", "--input", &path("image.tar")]);
        self.images.push(name.clone());
        self.send(&name);
    }

    /// Pushes an image and removes it from the host; gives its digest.
    fn send(&self, name: &str) -> String {
        run("docker", &["push", "--quiet", name]);
        let digest = run("docker", &["image", "inspect", "--format", "{{index .RepoDigests 0}}", name]);
        run("docker", &["image", "rm", name]);
        digest.trim().rsplit('@').next().unwrap().to_owned()
    }

    /// The file of the largest layer.
    fn largest_blob(&self) -> PathBuf {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().join("data/docker/registry/v2/blobs")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files.into_iter().max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
        for image in &self.images {
            // By name and by digest, whichever is there.
            let repository = image.rsplit_once(':').map_or(image.as_str(), |(repository, _)| repository);
            let listed = Command::new("docker")
                .args(["image", "ls", "--quiet", "--no-trunc", repository])
                .output()
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
                .unwrap_or_default();
            for id in listed.lines() {
                let _ = Command::new("docker").args(["image", "rm", "--force", id]).output();
            }
        }
    }
}

/// Bytes that cannot be compressed, others each time.
fn noise(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    bytes
}

/// Provisions one node for each image.
fn provision(bed: &mut Bed, slice: &str, images: &[(&str, String)]) {
    let nodes: Vec<&str> = images.iter().map(|(node, _)| *node).collect();
    let text = images.iter().fold(request(&nodes), |text, (_, image)| {
        text.replacen("\"/></node>", &format!("\"><disk_image name=\"{image}\"/></sliver_type></node>"), 1)
    });
    let file = bed.file(&format!("{slice}.rspec"), &text);
    bed.ok(&format!("am allocate {slice} {file}"));
    bed.ok(&format!("am provision {slice}"));
}

/// Why the nodes of a slice have failed, once all have.
fn reasons(bed: &mut Bed, slice: &str, within: Duration) -> Vec<(String, String)> {
    let begun = Instant::now();
    bed.wait(slice, "geni_failed");
    assert!(begun.elapsed() < within, "{:?}", begun.elapsed());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    bed.status(slice).iter().map(|sliver| (text(&sliver["client_id"]), text(&sliver["error"]))).collect()
}

fn assert_says(reasons: &[(String, String)], node: &str, words: &[&str]) {
    let (_, reason) = reasons.iter().find(|(name, _)| name == node).unwrap();
    for word in words {
        assert!(reason.contains(word), "{node}: no {word:?} in {reason:?}");
    }
}

#[test]
fn e2e_images_of_a_registry_are_pulled_once_by_name_and_by_digest() {
    needs::docker();
    let mut registry = Registry::new();
    registry.push("lab/tool:1", IMAGE);
    let digest = registry.push("lab/pinned:1", IMAGE);
    let (by_name, by_digest) = (registry.name("lab/tool:1"), registry.name(&format!("lab/pinned@{digest}")));
    let before = registry.log().matches("\"GET /v2/lab/tool/blobs/").count();
    let mut bed = Bed::new();
    provision(
        &mut bed,
        "demo",
        &[("a", by_name.clone()), ("b", by_name.clone()), ("c", by_name), ("d", by_digest)],
    );
    bed.wait("demo", "geni_ready");
    for node in ["a", "d"] {
        assert_eq!(
            bed.ssh("demo", node, "stat -c %s /layer").trim(),
            "3145728",
            "{node} boots what was pushed"
        );
    }
    let pulls = registry.log().matches("\"GET /v2/lab/tool/blobs/").count() - before;
    assert!(
        (1..=3).contains(&pulls),
        "three nodes fetched {pulls} blobs; one pull has a layer and a configuration"
    );
    bed.ok("am delete demo");
}

#[test]
fn e2e_what_a_registry_does_not_have_or_sends_wrong_is_told_within_seconds() {
    needs::docker();
    let mut registry = Registry::new();
    registry.push("lab/damaged:1", "scratch");
    let layer = registry.largest_blob();
    fs::File::options().write(true).open(layer).unwrap().set_len(1 << 20).unwrap();
    registry.push("lab/tool:1", "scratch");
    registry.push_foreign("lab/foreign:1");
    let mut bed = Bed::new();
    let images = [
        ("tag", registry.name("lab/tool:2")),
        ("digest", registry.name(&format!("lab/tool@sha256:{}", "0".repeat(64)))),
        ("repository", registry.name("lab/nothing:1")),
        ("foreign", registry.name("lab/foreign:1")),
        ("damaged", registry.name("lab/damaged:1")),
    ];
    provision(&mut bed, "demo", &images);
    let reasons = reasons(&mut bed, "demo", Duration::from_secs(20));
    assert_says(&reasons, "tag", &["lab/tool:2", "check the tag"]);
    assert_says(&reasons, "digest", &["sha256:000", "check the tag"]);
    assert_says(&reasons, "repository", &["lab/nothing:1", "check the name"]);
    assert_says(&reasons, "foreign", &["it is for s390x", "use one for"]);
    assert_says(&reasons, "damaged", &["not what it announced", "push the image again"]);

    registry.stop();
    provision(&mut bed, "down", &[("a", registry.name("lab/tool:1"))]);
    let reasons = self::reasons(&mut bed, "down", Duration::from_secs(20));
    assert_says(&reasons, "a", &["does not answer from this host"]);
}

#[test]
fn e2e_a_registry_that_stalls_is_given_up() {
    // The kernel takes the connection, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/silent:1", silent.local_addr().unwrap());
    let mut bed = Bed::new();
    provision(&mut bed, "demo", &[("a", image)]);
    let reasons = reasons(&mut bed, "demo", Duration::from_secs(30));
    assert_says(&reasons, "a", &["has not answered within"]);
}

#[test]
fn e2e_registries_with_members_are_shown_the_configured_password_which_is_in_no_log() {
    needs::docker();
    let mut registry = Registry::new();
    registry.push("lab/tool:1", IMAGE);
    registry.stop();
    registry.serve(true);
    let image = registry.name("lab/tool:1");

    let mut bed = Bed::new();
    provision(&mut bed, "nobody", &[("a", image.clone())]);
    let said = reasons(&mut bed, "nobody", Duration::from_secs(20));
    assert_says(&said, "a", &["[[registry]]"]);
    drop(bed);

    let password = registry.folder.path().join("password");
    let login = format!(
        "\n[[registry]]\nhost = \"127.0.0.1:{}\"\nuser = \"ann\"\npassword_file = \"{}\"\n",
        registry.port,
        password.display()
    );
    write_secret(&password, "open barley\n");
    let mut bed = Bed::with(|config| config + &login);
    provision(&mut bed, "wrong", &[("a", image.clone())]);
    let said = reasons(&mut bed, "wrong", Duration::from_secs(20));
    assert_says(&said, "a", &["[[registry]]"]);

    // The file is read at each pull: the server is not started again. Only the last failure is remembered for a moment.
    write_secret(&password, &format!("{PASSWORD}\n"));
    let deadline = Instant::now() + Duration::from_secs(120);
    while bed.status("wrong")[0]["operational"] != "geni_ready" {
        assert!(Instant::now() < deadline, "{:#?}\n{}", bed.status("wrong"), bed.testbed().log());
        if bed.status("wrong")[0]["operational"] == "geni_failed" {
            bed.ok("am perform wrong geni_restart");
        }
        std::thread::park_timeout(Duration::from_millis(500));
    }
    let log = fs::read_to_string(bed.testbed().folder().join("serve.log")).unwrap();
    for secret in [PASSWORD, "barley", "b3BlbiBzZXNhbWU"] {
        assert!(!log.contains(secret), "{secret:?} is in the log");
        assert!(!said[0].1.contains(secret), "{secret:?} is in {said:?}");
    }
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file =
        fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

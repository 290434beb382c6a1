//! Images as odd as they come, made on the spot and without any registry.
//!
//! Each holds a program, `odd`, that says, fails and leaves marks as it is told, so that an image without a shell can be
//! tried like one with. All are removed when the set is dropped.

mod root;

use std::fs;
use std::process::{Command, Stdio};

use root::Root;

/// An image, and what a test must know to try it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Short, and good as a node's name.
    pub name: &'static str,
    /// A line for people.
    pub what: &'static str,
    /// What the engine knows it as.
    pub reference: String,
    /// Whether a shell is in it.
    pub has_shell: bool,
    /// Whether it is to be tried with a root file system that cannot be written to.
    pub read_only: bool,
    /// A folder that a user may write to, as clients name it.
    pub writable: &'static str,
    /// A command, and what it says.
    pub says: (&'static str, &'static str),
    /// A command that complains, and its exit status.
    pub fails: (&'static str, i32),
    /// A command that says whose process it is, and what it says of root's.
    pub whoami: (&'static str, &'static str),
    /// The file that the image's program adds a line to when it begins.
    pub mark: &'static str,
    /// That line.
    pub mark_line: &'static str,
}

/// Images of one test; removed when dropped.
#[derive(Debug)]
pub struct Images {
    all: Vec<Image>,
    tags: Vec<String>,
    folder: tempfile::TempDir,
}

impl std::ops::Deref for Images {
    type Target = [Image];

    fn deref(&self) -> &[Image] {
        &self.all
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        for tag in self.tags.iter().rev() {
            let _ = Command::new("docker").args(["rmi", "--force", tag]).stdin(Stdio::null()).output();
        }
    }
}

/// What is true of an image with a shell.
fn with_shell() -> Image {
    Image {
        name: "",
        what: "",
        reference: String::new(),
        has_shell: true,
        read_only: false,
        writable: ".",
        says: ("echo hello there", "hello there\n"),
        fails: ("echo oh >&2; exit 3", 3),
        whoami: ("id -u", "0\n"),
        mark: "/mark",
        mark_line: "uid 0",
    }
}

/// What is true of one without.
fn without_shell() -> Image {
    Image {
        has_shell: false,
        says: ("/odd say hello there", "hello there\n"),
        fails: ("/odd fail 3", 3),
        whoami: ("/odd uid", "0\n"),
        ..with_shell()
    }
}

impl Images {
    /// Makes all of them. `debian` is an image of Debian with OpenSSH and sudo.
    ///
    /// # Panics
    /// If one cannot be made.
    #[must_use]
    pub fn all(debian: &str) -> Self {
        let mut set = Self::none();
        set.copy_from_debian(debian);
        set.without_shell();
        set.with_busybox();
        set.with_layers();
        set
    }

    /// No image yet.
    ///
    /// # Panics
    /// If there is no folder to make them in.
    #[must_use]
    pub fn none() -> Self {
        crate::needs::docker();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self { all: Vec::new(), tags: Vec::new(), folder }
    }

    fn copy_from_debian(&mut self, debian: &str) {
        let debian_with = |mark: &str| {
            format!("FROM {debian}\nCOPY odd /odd\nENTRYPOINT [\"/odd\", \"mark\", \"{mark}\"]\n")
        };
        let text = debian_with("/mark");
        self.built("debian", "Debian 12 with OpenSSH, sudo and bash", &text, with_shell());
        let broken = format!("{text}RUN echo Nonsense yes > /etc/ssh/sshd_config\n");
        self.built(
            "debian-sshd-broken",
            "the same; its sshd does not take its own configuration",
            &broken,
            with_shell(),
        );
        let without = format!(
            "{text}RUN rm -f /usr/sbin/sshd /usr/lib/openssh/sftp-server /usr/bin/sudo /usr/bin/scp\n"
        );
        self.built(
            "debian-without",
            "the same without sshd, sftp-server, scp and sudo",
            &without,
            with_shell(),
        );
        let init = format!("FROM {debian}\nENTRYPOINT [\"/sbin/init\"]\n");
        self.built("init", "its program is an init, which must be process 1", &init, with_shell());
    }

    fn without_shell(&mut self) {
        let odd = |root: &Root| root.program("/odd", &["-static"]);
        let mark = "ENTRYPOINT [\"/odd\",\"mark\",\"/mark\"]";
        let root = self.root();
        odd(&root);
        self.imported(
            "scratch-static",
            "one static program and nothing else",
            &root,
            &[mark],
            without_shell(),
        );
        let root = self.root();
        root.program("/odd", &[]);
        root.libraries_of("/odd");
        root.file("/etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n");
        root.file("/etc/group", "root:x:0:\nnonroot:x:65532:\n");
        root.folder("/home/nonroot", 0o755);
        root.folder("/tmp", 0o1777);
        let changes =
            ["USER nonroot", "WORKDIR /home/nonroot", "ENTRYPOINT [\"/odd\",\"mark\",\"/tmp/mark\"]"];
        let as_nonroot = Image { mark: "/tmp/mark", mark_line: "uid 65532", ..without_shell() };
        let what = "a C library, accounts and a program; no shell; USER nonroot";
        self.imported("distroless-like", what, &root, &changes, as_nonroot);
    }

    fn with_busybox(&mut self) {
        let mark = "ENTRYPOINT [\"/odd\",\"mark\",\"/mark\"]";
        let root = self.busybox();
        self.imported("busybox", "busybox, root in /etc/passwd", &root, &[mark], with_shell());
        self.imported(
            "read-only",
            "the same with a root file system that cannot be written to (`read_only` of the sliver type)",
            &root,
            &["ENTRYPOINT [\"/odd\",\"mark\",\"/tmp/mark\"]"],
            Image { read_only: true, writable: "/tmp", mark: "/tmp/mark", ..with_shell() },
        );
        self.imported(
            "nonroot-user",
            "busybox, USER 1234, whom its /etc/passwd does not know",
            &root,
            &["USER 1234", "ENTRYPOINT [\"/odd\",\"mark\",\"/tmp/mark\"]"],
            Image { mark: "/tmp/mark", mark_line: "uid 1234", ..with_shell() },
        );
        self.imported(
            "odd-entrypoint",
            "busybox; a program found by the image's own PATH, in a WORKDIR that is not there, that ends at once",
            &root,
            &["ENV PATH=/opt/odd:/bin", "WORKDIR /srv/not there", "ENTRYPOINT [\"odd\",\"mark-and-fail\",\"/mark\"]"],
            with_shell(),
        );
        root.remove("/etc");
        self.imported("no-passwd", "busybox; no /etc at all", &root, &[mark], with_shell());
        root.remove("/tmp");
        root.remove("/root");
        root.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        self.imported("no-tmp", "busybox; no /tmp, no /var, no home", &root, &[mark], with_shell());

        let root = self.busybox();
        root.musl();
        self.imported(
            "musl",
            "Alpine-like: busybox and a program that needs musl's loader",
            &root,
            &[mark],
            with_shell(),
        );
        let root = self.busybox();
        root.copy_of("dropbear", "dropbear-bin", "/usr/sbin/dropbear");
        root.libraries_of("/usr/sbin/dropbear");
        self.imported("dropbear", "busybox; dropbear is its SSH server", &root, &[mark], with_shell());
    }

    fn with_layers(&mut self) {
        let busybox =
            self.all.iter().find(|image| image.name == "busybox").map(|image| image.reference.clone());
        let busybox = busybox.expect("busybox was made");
        let large = fs::File::create(self.folder.path().join("large")).expect("a file can be made");
        large.set_len(512 << 20).expect("a sparse file needs no room");
        let text = format!("FROM {busybox}\nCOPY large /large\n");
        self.built("huge-layer", "busybox; a layer of 512 MiB", &text, with_shell());
        let many = (0..60)
            .fold(format!("FROM {busybox}\n"), |text, number| text + &format!("COPY odd /layers/{number}\n"));
        self.built("many-layers", "busybox; 60 further layers", &many, with_shell());
    }

    fn root(&self) -> Root {
        Root::new(self.folder.path())
    }

    fn busybox(&self) -> Root {
        let root = self.root();
        root.busybox();
        root.program("/odd", &["-static"]);
        root.program("/opt/odd/odd", &["-static"]);
        root.file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        root.file("/etc/group", "root:x:0:\n");
        root.folder("/tmp", 0o1777);
        root.folder("/root", 0o700);
        root
    }

    fn add(&mut self, name: &'static str, what: &'static str, like: Image, reference: String) {
        self.all.push(Image { name, what, reference, ..like });
    }

    /// A tag that no other test has at this time; it is remembered before there is anything to remove.
    fn tag(&mut self, name: &str) -> String {
        let tag = format!("testyard-test/{name}:{}", std::process::id());
        self.tags.push(tag.clone());
        tag
    }

    fn imported(
        &mut self,
        name: &'static str,
        what: &'static str,
        root: &Root,
        changes: &[&str],
        like: Image,
    ) {
        let tag = self.tag(name);
        root.import(&tag, changes);
        self.add(name, what, like, tag);
    }

    fn built(&mut self, name: &'static str, what: &'static str, dockerfile: &str, like: Image) {
        let tag = self.tag(name);
        let context = self.folder.path();
        if !context.join("odd").exists() {
            root::compile(&context.join("odd"), &["-static"]);
        }
        fs::write(context.join("Dockerfile"), dockerfile).expect("a file can be written");
        // The classic builder is in every engine; what the context does not need is not sent.
        let needed = ["odd", "large"].iter().filter(|file| dockerfile.contains(&format!("COPY {file} ")));
        let ignore = needed.fold("*\n".to_owned(), |text, file| text + &format!("!{file}\n"));
        fs::write(context.join(".dockerignore"), ignore).expect("a file can be written");
        let mut build = Command::new("docker");
        build
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "--quiet", "--network", "none", "--tag", &tag])
            .arg(context);
        demand(&mut build);
        self.add(name, what, like, tag);
    }
}

/// Runs a program that must succeed.
pub(crate) fn demand(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{text}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
}

//! A root file system that becomes an image.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::demand;

/// The program of all images.
const ODD: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  if (!strcmp(what, "say")) {
    for (int i = 2; i < argc; i++) printf("%s%s", i > 2 ? " " : "", argv[i]);
    printf("\n");
    return 0;
  }
  if (!strcmp(what, "fail") && argc > 2) {
    fprintf(stderr, "as I was told\n");
    return atoi(argv[2]);
  }
  if (!strcmp(what, "uid")) {
    printf("%u\n", (unsigned)geteuid());
    return 0;
  }
  if (!strncmp(what, "mark", 4) && argc > 2) {
    FILE *file = fopen(argv[2], "a");
    if (!file) return 2;
    fprintf(file, "uid %u\n", (unsigned)geteuid());
    fclose(file);
    if (!strcmp(what, "mark-and-fail")) return 3;
    for (;;) pause();
  }
  fprintf(stderr, "usage: odd say WORD... | fail STATUS | uid | mark FILE | mark-and-fail FILE\n");
  return 64;
}
"#;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A folder that becomes an image's content.
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn new(beneath: &Path) -> Self {
        let root = beneath.join(format!("root-{}", COUNTER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&root).expect("a folder can be made");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(root)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("it is beneath the root")).expect("a folder can be made");
        path
    }

    pub(super) fn folder(&self, path: &str, mode: u32) {
        let path = self.path(path);
        fs::create_dir_all(&path).expect("a folder can be made");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    pub(super) fn file(&self, path: &str, text: &str) {
        fs::write(self.place(path), text).expect("a file can be written");
    }

    pub(super) fn remove(&self, path: &str) {
        fs::remove_dir_all(self.path(path)).expect("it is there");
    }

    /// Puts `odd` there, compiled with these options.
    pub(super) fn program(&self, path: &str, options: &[&str]) {
        compile(&self.place(path), options);
    }

    /// A program of the machine.
    pub(super) fn copy_of(&self, program: &str, package: &str, path: &str) {
        let from = crate::needs::program(program, package);
        fs::copy(from, self.place(path)).expect("a program can be copied");
    }

    /// The loader and the libraries of a program, where it looks for them.
    pub(super) fn libraries_of(&self, program: &str) {
        let output = Command::new("ldd").arg(self.path(program)).stdin(Stdio::null()).output();
        let output = output.expect("ldd can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "ldd {program}: {text}");
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            fs::copy(library, self.place(library)).expect("a library can be copied");
        }
    }

    /// busybox with a link for each of its applets.
    pub(super) fn busybox(&self) {
        self.copy_of("busybox", "busybox-static", "/bin/busybox");
        let output = Command::new(self.path("/bin/busybox")).arg("--list").stdin(Stdio::null()).output();
        let applets = output.expect("busybox can be started").stdout;
        for applet in String::from_utf8_lossy(&applets).lines().filter(|applet| *applet != "busybox") {
            symlink("busybox", self.path("/bin").join(applet)).expect("a link can be made");
        }
    }

    /// musl's loader, and `odd` made for it.
    pub(super) fn musl(&self) {
        let compiler = crate::needs::program("musl-gcc", "musl-tools");
        let odd = self.path("/odd");
        fs::remove_file(&odd).expect("it is there");
        compile_with(&compiler, &odd, &[]);
        let loader = format!("/lib/ld-musl-{}.so.1", std::env::consts::ARCH);
        fs::copy(&loader, self.place(&loader)).expect("musl's loader can be copied");
        self.file("/etc/alpine-release", "3.20.0\n");
    }

    /// Makes an image of it.
    pub(super) fn import(&self, tag: &str, changes: &[&str]) {
        let mut tar = Command::new("tar")
            .args(["--numeric-owner", "--owner=0", "--group=0", "-C"])
            .arg(&self.0)
            .args(["-c", "."])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar can be started");
        let mut import = Command::new("docker");
        import.arg("import");
        for change in changes {
            import.args(["--change", change]);
        }
        let archive = tar.stdout.take().expect("its output is a pipe");
        let output = import.args(["-", tag]).stdin(archive).output().expect("docker can be started");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker import {tag}: {text}");
        assert!(tar.wait().is_ok_and(|status| status.success()), "tar {}", self.0.display());
    }
}

/// Compiles `odd`.
pub(super) fn compile(to: &Path, options: &[&str]) {
    compile_with(&crate::needs::program("cc", "build-essential"), to, options);
}

fn compile_with(compiler: &Path, to: &Path, options: &[&str]) {
    let source = to.with_extension("c");
    fs::write(&source, ODD).expect("a file can be written");
    demand(Command::new(compiler).args(["-O1", "-s", "-o"]).arg(to).arg(&source).args(options));
    fs::remove_file(&source).expect("it is ours");
}

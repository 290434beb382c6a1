//! What a test cannot do without. Nothing is skipped in silence: what is missing fails the test and is named.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Root, without which there are no namespaces and interfaces.
///
/// # Panics
/// If the test runs as somebody else.
pub fn root() {
    assert!(nix::unistd::Uid::effective().is_root(), "this test needs root: run it with sudo");
}

/// A Docker Engine that answers.
///
/// # Panics
/// If none does.
pub fn docker() {
    let answers = Command::new("docker")
        .arg("version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    assert!(answers, "this test needs a Docker Engine that answers: ./test starts one");
}

/// A program in PATH.
///
/// # Panics
/// If it is not there; the text names the Debian package.
#[must_use]
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("this test needs {name}: apt-get install {package}"))
}

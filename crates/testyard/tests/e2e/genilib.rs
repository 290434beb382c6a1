//! A client that nobody here wrote.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::Bed;

/// The Python that has geni-lib; `./test` makes it.
fn python() -> PathBuf {
    let places = std::env::var_os("TESTYARD_TEST_PYTHON").map(PathBuf::from);
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python");
    let python = places.unwrap_or(made);
    assert!(python.exists(), "this test needs geni-lib in {}: ./test installs it", python.display());
    python
}

#[test]
fn e2e_geni_lib_drives_a_slice() {
    let python = python();
    let mut bed = Bed::new();
    let slice = "urn:publicid:IDN+localhost+slice+genilib";
    let credential = bed.testbed().folder().join("genilib.xml");
    bed.ok(&format!("credential issue slice genilib --output {}", credential.display()));
    let version: serde_json::Value = serde_json::from_str(&bed.ok("am get-version --json")).unwrap();
    let url = version["urls"]["3"].as_str().unwrap().to_owned();
    let dir = bed.testbed().dir();
    let user = dir.join("users/ann");
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/genilib/workflow.py"))
        .arg(&url)
        .arg(user.join("certificate.pem"))
        .arg(user.join("key.pem"))
        .arg(dir.join("trusted/localhost.pem"))
        .arg(slice)
        .arg(&credential)
        .arg("urn:publicid:IDN+localhost+user+ann")
        .arg(user.join("ssh.pub"))
        .arg(user.join("ssh"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}\n{}", bed.testbed().log());
    for step in [
        "GetVersion",
        "ListResources",
        "Allocate",
        "Provision",
        "Status",
        "Describe",
        "SSH",
        "Renew",
        "Delete",
    ] {
        assert!(out.contains(&format!("{step}: ok")), "{step} is missing in\n{out}");
    }
}

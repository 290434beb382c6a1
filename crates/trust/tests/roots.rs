//! The folder of trust roots: what is read, what is left out, and what a change does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic, its helpers too"
)]

mod common;

use common::{NOW, Plan, urn};
use jiff::Timestamp;
use testyard_trust::{CallerChain, CryptoPolicy, Reason, RootsError, Trust, TrustRoots};

#[test]
fn files_are_read_and_broken_ones_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, c) = (
        Plan::authority("a", "a").make(None),
        Plan::authority("b", "b").make(None),
        Plan::authority("c", "c").make(None),
    );
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    let key = String::from_utf8(a.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    write("1-two.pem", format!("{}{key}{}", a.pem(), b.pem()).as_bytes());
    write("2-again.PEM", b.pem().as_bytes());
    write("3-der.crt", &c.x509.to_der().unwrap());
    write("4-empty.pem", b"");
    write("5-broken.pem", b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
    write("6-key.pem", key.as_bytes());
    write(".hidden.pem", a.pem().as_bytes());
    write("README", b"not a certificate");
    std::fs::create_dir(folder.path().join("7-folder.pem")).unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", folder.path().join("8-link.pem")).unwrap();

    let roots = TrustRoots::load(folder.path()).unwrap();
    let names: Vec<_> = roots.iter().map(|root| root.certificate.subject()).collect();
    assert_eq!(names, ["CN=a", "CN=b", "CN=c"], "each once");
    let summary = roots.iter().next().unwrap().summary();
    assert!(summary.file.ends_with("1-two.pem"));
    assert_eq!(summary.urn.unwrap().to_string(), urn("a", "authority", "sa"));
    assert_eq!(summary.fingerprint.len(), 64);
    let faults: Vec<_> =
        roots.faults().iter().map(|f| f.file.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(faults, ["4-empty.pem", "5-broken.pem", "6-key.pem", "7-folder.pem", "8-link.pem"]);

    let missing = TrustRoots::load(&folder.path().join("missing"));
    assert!(matches!(missing, Err(RootsError { .. })));
}

#[test]
fn a_change_takes_effect_at_once_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::from_second(NOW).unwrap();
    let (a, b) = (Plan::authority("a", "a").make(None), Plan::authority("b", "b").make(None));
    let user = Plan::holder("ann", &urn("a", "user", "ann")).make(Some(&a));
    let caller = CallerChain::from_pem(user.pem().as_bytes()).unwrap();
    std::fs::write(folder.path().join("a.pem"), a.pem()).unwrap();

    let trust = Trust::open(folder.path(), CryptoPolicy::modern()).unwrap();
    assert!(trust.verifier().identify(&caller, now).is_ok());
    assert_eq!(trust.refresh().unwrap(), None, "nothing changed");

    let held = trust.verifier();
    // Written under another name first, as renewals do it.
    std::fs::write(folder.path().join("new"), b.pem()).unwrap();
    std::fs::rename(folder.path().join("new"), folder.path().join("a.pem")).unwrap();
    let change = trust.refresh().unwrap().unwrap();
    assert_eq!(change.added[0].certificate, b.certificate());
    assert_eq!(change.dropped[0].certificate, a.certificate());
    let refusal = trust.verifier().identify(&caller, now).unwrap_err();
    assert_eq!(refusal.reason, Reason::UntrustedCaller, "what was remembered went with the root");
    assert!(held.identify(&caller, now).is_ok(), "a call that began before ends as it began");

    std::fs::write(folder.path().join("b.pem"), a.pem()).unwrap();
    let change = trust.refresh().unwrap().unwrap();
    assert_eq!((change.added.len(), change.dropped.len()), (1, 0));
    assert!(trust.verifier().identify(&caller, now).is_ok());

    // Touched, but the same: read again, nothing to tell.
    std::fs::write(folder.path().join("again.pem"), a.pem()).unwrap();
    assert!(trust.refresh().unwrap().unwrap().is_empty());

    drop(std::fs::remove_dir_all(folder.path()));
    assert!(trust.refresh().is_err());
    assert!(trust.verifier().identify(&caller, now).is_ok(), "a folder that cannot be read changes nothing");
}

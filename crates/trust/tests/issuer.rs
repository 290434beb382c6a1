//! What the built-in authority makes is accepted: by our verifier, and by xmlsec1.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic, its helpers too"
)]

use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use testyard_model::urn::{Authority, SliceUrn, UserUrn};
use testyard_trust::certificate::Certificate;
use testyard_trust::issuer::{
    CredentialRequest, Identity, IssueError, ServerName, Validity, server_certificate,
};
use testyard_trust::privilege::Privilege;
use testyard_trust::{
    Call, CallerChain, CryptoPolicy, Grant, NewKey, Operation, PassedCredential, Reason, Refusal, TrustRoots,
    Verifier,
};

struct Yard {
    root: Identity,
    sa: Identity,
    ann: Identity,
    bob: Identity,
    tool: Identity,
    slice: SliceUrn,
    slice_gid: Vec<Certificate>,
    now: Timestamp,
}

fn user(name: &str) -> UserUrn {
    format!("urn:publicid:IDN+yard.example.org+user+{name}").parse().unwrap()
}

fn yard(key: NewKey) -> Yard {
    let now: Timestamp = "2027-03-01T12:00:00Z".parse().unwrap();
    let validity = Validity::days(now, 365);
    let authority: Authority = "yard.example.org".parse().unwrap();
    let root = Identity::root(&authority, key, validity).unwrap();
    let sa = root.issue_authority(&authority, "sa", key, validity).unwrap();
    let make = |name| sa.issue_user(&user(name), None, key, validity).unwrap();
    let (ann, bob, tool) = (make("ann"), make("bob"), make("tool"));
    let slice: SliceUrn = "urn:publicid:IDN+yard.example.org:lab+slice+demo".parse().unwrap();
    let slice_gid = sa.issue_slice(&slice, validity).unwrap();
    Yard { root, sa, ann, bob, tool, slice, slice_gid, now }
}

fn star() -> Vec<Privilege> {
    vec![Privilege::new("*", true)]
}

impl Yard {
    fn expires(&self) -> Timestamp {
        self.now + SignedDuration::from_hours(24 * 30)
    }

    fn slice_credential(&self) -> String {
        self.sa
            .sign_credential(&CredentialRequest {
                owner: self.ann.chain(),
                target: &self.slice_gid,
                privileges: &star(),
                expires: self.expires(),
            })
            .unwrap()
    }

    fn user_credential(&self) -> String {
        self.sa
            .sign_credential(&CredentialRequest {
                owner: self.ann.chain(),
                target: self.ann.chain(),
                privileges: &star(),
                expires: self.expires(),
            })
            .unwrap()
    }

    fn delegated(&self) -> String {
        self.ann
            .delegate(
                &self.slice_credential(),
                &CredentialRequest {
                    owner: self.bob.chain(),
                    target: &[],
                    privileges: &[Privilege::new("embed", true)],
                    expires: self.now + SignedDuration::from_hours(24),
                },
            )
            .unwrap()
    }

    fn judge(
        &self,
        caller: &Identity,
        operation: Operation,
        credentials: &[PassedCredential],
        speaking_for: Option<&str>,
    ) -> Result<Grant, Refusal> {
        let roots = TrustRoots::of(Path::new("root.pem"), vec![self.root.certificate().clone()]);
        Verifier::new(roots, CryptoPolicy::modern()).authorise(&Call {
            operation,
            slice: operation.needs_slice().then_some(&self.slice),
            caller: &CallerChain::from_pem(caller.chain_pem().as_bytes()).unwrap(),
            credentials,
            speaking_for,
            now: self.now,
        })
    }
}

#[test]
fn every_kind_of_credential_is_accepted() {
    for key in [NewKey::Rsa(2048), NewKey::P256] {
        let yard = yard(key);
        let listed = yard.judge(
            &yard.ann,
            Operation::ListResources,
            &[PassedCredential::sfa(yard.user_credential())],
            None,
        );
        assert_eq!(listed.unwrap().target, *user("ann").urn());

        let slice = [PassedCredential::sfa(yard.slice_credential())];
        for operation in Operation::ALL {
            let grant = yard.judge(&yard.ann, operation, &slice, None).unwrap();
            assert_eq!((&grant.owner, grant.expires), (user("ann").urn(), yard.expires()));
        }
        assert_eq!(
            yard.judge(&yard.bob, Operation::Status, &slice, None).unwrap_err().reason,
            Reason::OwnerMismatch
        );

        let delegated = [PassedCredential::sfa(yard.delegated())];
        let grant = yard.judge(&yard.bob, Operation::Provision, &delegated, None).unwrap();
        assert_eq!(grant.expires, yard.now + SignedDuration::from_hours(24));
        assert_eq!(&grant.owner, user("bob").urn());

        let again = yard.bob.delegate(
            std::str::from_utf8(&delegated[0].value).unwrap(),
            &CredentialRequest {
                owner: yard.tool.chain(),
                target: &[],
                privileges: &[Privilege::new("embed", false)],
                expires: yard.now + SignedDuration::from_hours(1),
            },
        );
        let twice = [PassedCredential::sfa(again.unwrap())];
        assert!(yard.judge(&yard.tool, Operation::Shutdown, &twice, None).is_ok());

        let statement = yard.ann.sign_speaks_for(yard.tool.certificate(), yard.expires()).unwrap();
        let spoken = [slice[0].clone(), PassedCredential::abac(statement)];
        let ann = user("ann").to_string();
        let grant = yard.judge(&yard.tool, Operation::Allocate, &spoken, Some(&ann)).unwrap();
        assert_eq!((&grant.owner, grant.tool.as_ref()), (user("ann").urn(), Some(user("tool").urn())));
        assert_eq!(
            yard.judge(&yard.bob, Operation::Allocate, &spoken, Some(&ann)).unwrap_err().reason,
            Reason::SpeaksFor
        );
    }
}

/// xmlsec1 sees only signatures and chains; with keys from X509Data alone it must be content with all of ours.
#[test]
fn xmlsec1_is_content() {
    let folder = tempfile::tempdir().unwrap();
    for key in [NewKey::Rsa(2048), NewKey::P256] {
        let yard = yard(key);
        let root = folder.path().join("root.pem");
        std::fs::write(&root, yard.root.chain_pem()).unwrap();
        let statement = yard.ann.sign_speaks_for(yard.tool.certificate(), yard.expires()).unwrap();
        let documents = [
            (yard.user_credential(), 1),
            (yard.slice_credential(), 1),
            (yard.delegated(), 2),
            (statement, 1),
        ];
        for (text, signatures) in documents {
            let file = folder.path().join("credential.xml");
            std::fs::write(&file, text).unwrap();
            for number in 1..=signatures {
                let output = Command::new("xmlsec1")
                    .args([
                        "--verify",
                        "--enabled-key-data",
                        "x509",
                        "--verification-time",
                        "2027-03-01 12:00:00",
                    ])
                    .arg("--trusted-pem")
                    .arg(&root)
                    .args(["--node-xpath", &format!("(//*[local-name()='Signature'])[{number}]")])
                    .arg(&file)
                    .output()
                    .expect("xmlsec1 is needed to test signing");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(
                    output.status.success() && said.contains("OK"),
                    "{key:?}, signature {number}: {said}"
                );
            }
        }
    }
}

#[test]
fn certificates_hold_what_version_3_of_credentials_asks_for() {
    let yard = yard(NewKey::P256);
    let (ann, bob) = (yard.ann.certificate(), yard.bob.certificate());
    assert_eq!(ann.urn().unwrap(), user("ann").urn());
    assert_eq!(ann.email(), Some("ann@yard.example.org"));
    assert!(ann.uuid().is_some() && ann.uuid() != bob.uuid());
    assert_ne!(serial(ann), serial(bob));
    assert_eq!(yard.ann.chain().len(), 2, "the root is left out");
    assert_eq!(
        yard.sa.certificate().urn().unwrap().to_string(),
        "urn:publicid:IDN+yard.example.org+authority+sa"
    );
}

fn serial(certificate: &Certificate) -> String {
    let x509 = openssl::x509::X509::from_der(certificate.der()).unwrap();
    x509.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string()
}

#[test]
fn nothing_is_issued_that_nobody_would_believe() {
    let yard = yard(NewKey::P256);
    let validity = Validity::days(yard.now, 1);
    let foreign: UserUrn = "urn:publicid:IDN+elsewhere.example+user+eve".parse().unwrap();
    let issue = yard.sa.issue_user(&foreign, None, NewKey::P256, validity);
    assert!(matches!(issue, Err(IssueError::NoAuthority { .. })));
    assert!(matches!(yard.ann.issue_slice(&yard.slice, validity), Err(IssueError::NoAuthority { .. })));
    let email =
        yard.sa.issue_user(&user("x"), Some("x@y, URI:urn:publicid:IDN+a+user+b"), NewKey::P256, validity);
    assert!(matches!(email, Err(IssueError::Email(_))));
    let backwards = Validity { from: validity.until, until: validity.from };
    assert!(matches!(
        yard.sa.issue_user(&user("x"), None, NewKey::P256, backwards),
        Err(IssueError::Validity(_))
    ));
    let request = CredentialRequest {
        owner: yard.bob.chain(),
        target: &yard.slice_gid,
        privileges: &star(),
        expires: yard.expires(),
    };
    assert!(matches!(yard.bob.sign_credential(&request), Err(IssueError::NoAuthority { .. })));
    let parent = yard.slice_credential();
    assert!(matches!(yard.bob.delegate(&parent, &request), Err(IssueError::NotOwner(_))));
    let longer = CredentialRequest { expires: yard.expires() + SignedDuration::from_secs(1), ..request };
    assert!(matches!(yard.ann.delegate(&parent, &longer), Err(IssueError::LongerThanParent(_))));
    assert!(matches!(yard.ann.delegate("<a/>", &request), Err(IssueError::Parent(_))));
}

#[test]
fn a_server_certificate_has_its_names_and_no_urn() {
    let now: Timestamp = "2027-03-01T12:00:00Z".parse().unwrap();
    let names: Vec<ServerName> =
        ["Yard.example.org", "192.0.2.7", "2001:db8::7"].iter().map(|name| name.parse().unwrap()).collect();
    let server = server_certificate(&names, NewKey::Rsa(2048), Validity::days(now, 730), None).unwrap();
    let certificate = server.certificate();
    assert_eq!(certificate.subject(), "CN=yard.example.org");
    assert!(certificate.urn().is_err());
    assert_eq!(certificate.not_after(), now + SignedDuration::from_hours(730 * 24));
    let x509 = openssl::x509::X509::from_der(certificate.der()).unwrap();
    let alternatives = x509.subject_alt_names().unwrap();
    let dns: Vec<_> = alternatives.iter().filter_map(|name| name.dnsname()).collect();
    assert_eq!((dns, alternatives.len()), (vec!["yard.example.org"], 3));
    assert!("bad name".parse::<ServerName>().is_err());
    assert!("-x.example".parse::<ServerName>().is_err());
    assert!(matches!(
        server_certificate(&[], NewKey::P256, Validity::days(now, 1), None),
        Err(IssueError::NoServerName)
    ));
}

#[test]
fn identities_are_written_for_their_owner_only_and_read_back() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let yard = yard(NewKey::P256);
    let path = folder.path().join("ann.pem");
    yard.ann.write_new(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(yard.bob.write_new(&path).is_err(), "nothing is overwritten");
    let text = std::fs::read(&path).unwrap();
    let read = Identity::from_pem(&text, &text).unwrap();
    assert_eq!(read.chain(), yard.ann.chain());
    assert!(!format!("{read:?}").contains("PRIVATE"));
    let other = yard.bob.key().to_pem().unwrap();
    assert!(matches!(Identity::from_pem(&text, &other), Err(IssueError::OtherKey)));
}

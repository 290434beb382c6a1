//! The attacks of am-api.md §3.9, row by row, each with the vectors that show it; and a search for new ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic, its helpers too"
)]

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use proptest::prelude::*;
use testyard_model::urn::SliceUrn;
use testyard_trust::{
    Call, CallerChain, CryptoPolicy, Grant, Operation, PassedCredential, Reason, Refusal, TrustRoots,
    Verifier, corpus,
};

/// A row of the table, and the ids of vectors without `invalid-`; those of other kinds are written in full.
const ROWS: &[(&str, &str)] = &[
    (
        "signature wrapping",
        "wrap-before wrap-after wrap-extensions wrap-parent wrap-object wrap-object-same-id wrap-signatures \
         signed-part-only signed-sibling two-signedinfo two-signedinfo-behind altered-object altered-object-last \
         altered-signatures two-credentials speaks-for-wrapped",
    ),
    (
        "KeyValue bypass",
        "keyvalue-forgery keyvalue-forgery-behind keyvalue-only keyname-only retrieval-method",
    ),
    ("duplicate ids", "duplicate-id duplicate-id-whitespace id-without-namespace plain-id-attribute"),
    (
        "reference tricks",
        "reference-empty reference-without-uri reference-external reference-file reference-xpointer \
         reference-xpointer-root reference-two reference-two-same reference-none reference-dangling \
         reference-manifest",
    ),
    ("transforms", "transform-xpath transform-xslt transform-base64 transform-unknown"),
    (
        "XXE, bombs, depth",
        "doctype doctype-external xxe-file xxe-parameter entity-bomb entity-bomb-quadratic entity-recursive \
         entity-internal default-attribute entity-undeclared huge-depth huge-attributes",
    ),
    ("shell injection", "shell-id"),
    (
        "untrusted signers",
        "untrusted-signer untrusted-signer-leaf-only untrusted-signer-real-root untrusted-everything self-signed \
         context-root-only-in-keyinfo context-caller-untrusted",
    ),
    (
        "expired intermediate or parent",
        "expired-owner-intermediate delegation-expired-parent context-caller-expired-intermediate expired-signer",
    ),
    (
        "not a CA",
        "issuer-is-user issuer-is-user-with-ca-flag issuer-without-ca-flag signer-below-non-ca signer-is-user \
         signer-is-owner signer-is-slice",
    ),
    (
        "namespace",
        "namespace-other-authority namespace-longer-name namespace-shorter-name namespace-prefix \
         namespace-sub-for-upper namespace-component-prefix namespace-dot-for-colon namespace-empty-authority \
         context-caller-other-namespace",
    ),
    ("owner mismatch", "context-stolen context-stolen-list owner-urn-text owner-urn-text-2"),
    (
        "target mismatch",
        "context-wrong-slice context-wrong-slice-case context-user-credential-for-slice context-user-urn-as-slice \
         target-is-sliver target-urn-text target-urn-text-2",
    ),
    (
        "SAN injection",
        "context-caller-two-urns context-caller-mail-injection context-caller-nul-in-urn context-caller-urn-in-cn \
         gid-without-urn",
    ),
    (
        "privilege games",
        "delegation-flag-missing delegation-not-allowed delegation-star-below-embed delegation-more-privileges \
         context-privilege-unknown-allocate two-privileges",
    ),
    (
        "delegation",
        "delegation-depth-24 delegation-longer delegation-wrong-signer delegation-signer-same-name \
         delegation-other-target delegation-parent-unsigned delegation-child-unsigned delegation-two-parents \
         delegation-parent-tampered delegation-root-by-user",
    ),
    (
        "speaks-for",
        "context-speaks-for-without-statement speaks-for-two-tools speaks-for-two-tails speaks-for-role-mismatch \
         speaks-for-expired context-speaks-for-other-user context-speaks-for-other-tool speaks-for-tail-with-role \
         context-speaks-for-without-option",
    ),
    (
        "algorithm downgrade",
        "hmac-public-key hmac-certificate method-none rsa-md5 digest-md5 rsa-512 rsa-exponent-1 method-key-mismatch \
         method-hash-mismatch",
    ),
    (
        "time",
        "expired expired-naive expires-overflow expires-month-13 future-signer future-owner-certificate \
         context-offset-later context-caller-future",
    ),
    (
        "encoding",
        "utf16 xml11-control nul-byte nul-reference nul-behind invalid-utf8 valid-crlf valid-cr-references",
    ),
    ("legacy", "old-format"),
    ("resource use", "rsa-16384 huge-depth huge-attributes entity-bomb"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/credentials")
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(folder().join(path)).unwrap()
}

#[test]
fn every_row_has_its_vectors_and_each_is_refused() {
    let manifest = folder().join("manifest.json");
    let text: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let undisputed: Vec<&str> = text["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|vector| vector["disputed"] != true)
        .map(|vector| vector["id"].as_str().unwrap())
        .collect();
    let report = corpus::run(&manifest).unwrap();
    for (row, ids) in ROWS {
        for id in ids.split_whitespace() {
            let full = format!("invalid-{id}");
            let id = if id.starts_with("context-") || id.starts_with("valid-") { id } else { &full };
            assert!(undisputed.contains(&id), "{row}: there is no undisputed vector {id}");
            assert!(!report.differences.iter().any(|difference| difference.id == id), "{row}: {id}");
        }
    }
}

/// Good credentials for the slice of [`Bench`], and whose they are.
const GOOD: [(&str, &str); 4] = [
    ("slice-star", "alice"),
    ("delegated-once", "bob"),
    ("exclusive-c14n", "alice"),
    ("delegated-three-times", "nina"),
];

struct Bench {
    verifier: Verifier,
    /// What the good ones grant.
    good: Vec<Grant>,
    slice: SliceUrn,
    now: Timestamp,
}

impl Bench {
    fn new() -> Self {
        let files: Vec<PathBuf> =
            ["fed", "ec", "neighbour"].map(|name| folder().join(format!("pki/roots/{name}.pem"))).into();
        let mut bench = Self {
            verifier: Verifier::new(TrustRoots::load_files(&files), CryptoPolicy::modern()),
            good: Vec::new(),
            slice: "urn:publicid:IDN+ch.example.org+slice+demo".parse().unwrap(),
            now: "2030-06-01T12:00:00Z".parse().unwrap(),
        };
        let grant = |(file, caller): (&str, &str)| {
            bench.judge(caller, &[PassedCredential::sfa(read(&format!("valid/{file}.xml")))], None).unwrap()
        };
        bench.good = GOOD.map(grant).to_vec();
        bench
    }

    /// One that has seen the good credentials, as a server's has: what it remembers is under attack, too.
    fn shared() -> &'static Self {
        static BENCH: std::sync::OnceLock<Bench> = std::sync::OnceLock::new();
        BENCH.get_or_init(Self::new)
    }

    fn judge(
        &self,
        caller: &str,
        credentials: &[PassedCredential],
        user: Option<&str>,
    ) -> Result<Grant, Refusal> {
        self.verifier.authorise(&Call {
            operation: Operation::Allocate,
            slice: Some(&self.slice),
            caller: &CallerChain::from_pem(&read(&format!("pki/users/{caller}.pem"))).unwrap(),
            credentials,
            speaking_for: user,
            now: self.now,
        })
    }
}

/// One change somewhere in a file.
#[derive(Clone, Debug)]
enum Mutation {
    Set(u8),
    Flip(u8),
    Delete(usize),
    Repeat(usize),
    Insert(&'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let markup =
        ["<!-- -->", " ", "\n", "&#10;", "<x/>", "<?p?>", "<![CDATA[]]>", "*", "2041", " xml:id='ref0'"];
    prop_oneof![
        any::<u8>().prop_map(Mutation::Set),
        (0u8..8).prop_map(|bit| Mutation::Flip(1 << bit)),
        (1usize..60).prop_map(Mutation::Delete),
        (1usize..200).prop_map(Mutation::Repeat),
        prop::sample::select(markup.to_vec()).prop_map(Mutation::Insert),
    ]
}

fn mutate(original: &[u8], position: usize, mutation: &Mutation) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let at = position % bytes.len();
    match mutation {
        Mutation::Set(byte) => bytes[at] = *byte,
        Mutation::Flip(bit) => bytes[at] ^= bit,
        Mutation::Delete(length) => drop(bytes.drain(at..(at + length).min(original.len()))),
        Mutation::Repeat(length) => {
            let part = original[at..(at + length).min(original.len())].to_vec();
            bytes.splice(at..at, part);
        }
        Mutation::Insert(text) => drop(bytes.splice(at..at, text.bytes())),
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever is changed in a good credential: it is refused, or it grants exactly what it granted before.
    #[test]
    fn a_changed_credential_never_grants_something_else(
        which in 0usize..4,
        position in any::<usize>(),
        mutation in mutation(),
    ) {
        let bench = Bench::shared();
        let (file, caller) = GOOD[which];
        let original = read(&format!("valid/{file}.xml"));
        let before = &bench.good[which];
        match bench.judge(caller, &[PassedCredential::sfa(mutate(&original, position, &mutation))], None) {
            Ok(after) => prop_assert_eq!(before, &after),
            Err(refusal) => prop_assert!(refusal.message.len() < 1000),
        }
    }

    /// The same for a statement that lets a tool speak: no change makes it speak for somebody else.
    #[test]
    fn a_changed_statement_lets_no_other_tool_speak(position in any::<usize>(), mutation in mutation()) {
        let bench = Bench::shared();
        let statement = mutate(&read("valid/speaks-for.xml"), position, &mutation);
        let credentials = [PassedCredential::sfa(read("valid/slice-star.xml")), PassedCredential::abac(statement)];
        let alice = "urn:publicid:IDN+ch.example.org+user+alice";
        prop_assert!(bench.judge("othertool", &credentials, Some(alice)).is_err());
        if let Ok(grant) = bench.judge("labtool", &credentials, Some(alice)) {
            prop_assert_eq!(grant.owner.to_string(), alice);
        }
    }
}

#[test]
fn too_much_of_anything_is_refused_soon() {
    let bench = Bench::new();
    let good = PassedCredential::sfa(read("valid/slice-star.xml"));
    let started = std::time::Instant::now();
    let many = vec![good.clone(); 21];
    assert_eq!(bench.judge("alice", &many, None).unwrap_err().reason, Reason::Limit);

    let mut large = read("valid/slice-star.xml");
    large.resize((1 << 20) + 1, b' ');
    assert_eq!(
        bench.judge("alice", &[PassedCredential::sfa(large)], None).unwrap_err().reason,
        Reason::Limit
    );

    let text = String::from_utf8(read("valid/slice-star.xml")).unwrap();
    let certificate = String::from_utf8(read("pki/users/bob.pem")).unwrap();
    let gid = text.replacen("<owner_gid>", &format!("<owner_gid>{}", certificate.repeat(40)), 1);
    assert_eq!(bench.judge("alice", &[PassedCredential::sfa(gid)], None).unwrap_err().reason, Reason::Limit);

    let begin = text.find("<X509Certificate>").unwrap();
    let end = text.find("</X509Data>").unwrap();
    let info = text.replacen("</X509Data>", &format!("{}</X509Data>", text[begin..end].repeat(16)), 1);
    assert_eq!(bench.judge("alice", &[PassedCredential::sfa(info)], None).unwrap_err().reason, Reason::Limit);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

/// A refusal is shown to callers and written to logs: neither may carry what a credential holds.
#[test]
fn refusals_do_not_echo_credentials() {
    let bench = Bench::new();
    for entry in std::fs::read_dir(folder().join("invalid")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let Err(refusal) = bench.judge("alice", &[PassedCredential::sfa(bytes)], None) else { continue };
        let shown = serde_json::to_string(&refusal).unwrap();
        for part in ["<", "BEGIN", "touch owned", "MII", "root:"] {
            assert!(!shown.contains(part), "{shown}");
        }
        assert!(refusal.message.len() < 600, "{shown}");
    }
    let credential = PassedCredential::sfa(read("valid/slice-star.xml"));
    assert!(!format!("{credential:?}").contains("MII"));
}

/// What was remembered from one call must not change the verdict of another.
#[test]
fn a_verdict_does_not_depend_on_earlier_calls() {
    let bench = Bench::new();
    let good = PassedCredential::sfa(read("valid/slice-star.xml"));
    let lacking = PassedCredential::sfa(read("invalid/gid-missing-intermediate.xml"));
    let before = bench.judge("alice", std::slice::from_ref(&lacking), None).unwrap_err();
    assert!(bench.judge("alice", std::slice::from_ref(&good), None).is_ok());
    assert_eq!(bench.judge("alice", &[lacking], None).unwrap_err(), before);
    // Time moves on, and what was valid is not for ever.
    let late = Bench { now: "2047-01-01T00:00:00Z".parse().unwrap(), ..bench };
    assert_eq!(late.judge("alice", &[good], None).unwrap_err().reason, Reason::UntrustedCaller);
}

/// Bytes that were seen in the wild around good credentials.
#[test]
fn harmless_differences_are_accepted() {
    let bench = Bench::new();
    let good = read("valid/slice-star.xml");
    let text = String::from_utf8(good).unwrap();
    let utf8 = text.replacen("?>", " encoding=\"UTF-8\" standalone=\"no\"?>", 1);
    let latin = text.replacen("?>", " encoding='ISO-8859-1'?>", 1);
    for (what, value) in [
        ("line breaks in front", format!("\r\n {text}")),
        ("an encoding", utf8),
        ("another one, of ASCII", latin),
        ("a comment in the root", text.replacen("<signatures>", "<!-- here --><signatures>", 1)),
    ] {
        let verdict = bench.judge("alice", &[PassedCredential::sfa(value)], None);
        assert!(verdict.is_ok(), "{what}: {verdict:?}");
    }
    let latin = text.replacen("?>", " encoding='ISO-8859-1'?><!-- \u{e9} -->", 1);
    assert_eq!(
        bench.judge("alice", &[PassedCredential::sfa(latin)], None).unwrap_err().reason,
        Reason::UnsafeXml
    );
}

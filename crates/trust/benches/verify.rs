//! Credential verifications per second with every rule on, beside the raw signature primitive.
//!
//! `cargo bench -p testyard-trust` prints a table. Each row is one whole judgement of a call (shape, canonical form,
//! signatures, certificate chains, privileges); `ratio` is how many raw verifications of the same signatures would
//! have fitted into the same time. Warm is a server's normal state: certificates it has seen, signatures it has not.
//! All are measured in turns, and the best turn of each counts, so that a noisy machine harms them alike.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Public};
use openssl::sign::{Signer, Verifier as RawVerifier};
use testyard_model::urn::SliceUrn;
use testyard_trust::{Call, CallerChain, CryptoPolicy, Operation, PassedCredential, TrustRoots, Verifier};

const TURNS: usize = 12;
const TURN: Duration = Duration::from_millis(100);

struct Case {
    name: &'static str,
    file: &'static str,
    caller: &'static str,
    /// RSA signatures on credentials in it.
    signatures: u32,
}

const CASES: [Case; 3] = [
    Case { name: "slice credential", file: "slice-star", caller: "alice", signatures: 1 },
    Case { name: "delegated once", file: "delegated-once", caller: "bob", signatures: 2 },
    Case { name: "delegated three times", file: "delegated-three-times", caller: "nina", signatures: 4 },
];

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/credentials");
    let read = |path: &str| std::fs::read(corpus.join(path)).expect("the corpus is in the tree");
    let files: Vec<PathBuf> =
        ["fed", "ec", "neighbour"].map(|n| corpus.join(format!("pki/roots/{n}.pem"))).into();
    let roots = TrustRoots::load_files(&files);
    let slice: SliceUrn = "urn:publicid:IDN+ch.example.org+slice+demo".parse().expect("a slice");
    let now: Timestamp = "2030-06-01T12:00:00Z".parse().expect("a time");
    let mut raw = raw_verification(&read("pki/keys/ch-sa.key"));

    println!("{:<24} {:>12} {:>12} {:>12} {:>8}", "", "cold /s", "warm /s", "raw RSA /s", "ratio");
    for case in &CASES {
        let caller =
            CallerChain::from_pem(&read(&format!("pki/users/{}.pem", case.caller))).expect("certificates");
        let credentials = [PassedCredential::sfa(read(&format!("valid/{}.xml", case.file)))];
        let call = Call {
            operation: Operation::Provision,
            slice: Some(&slice),
            caller: &caller,
            credentials: &credentials,
            speaking_for: None,
            now,
        };
        let fresh = || Verifier::new(roots.clone(), CryptoPolicy::modern());
        let known = fresh();
        let judge = |verifier: &Verifier| {
            black_box(verifier.authorise(&call).expect("a good credential"));
        };
        let (mut cold, mut warm, mut primitive) = (Rate::default(), Rate::default(), Rate::default());
        for _ in 0..TURNS {
            cold.run(|| judge(&fresh()));
            warm.run(|| judge(&known));
            primitive.run(&mut raw);
        }
        let (cold, warm, primitive) = (cold.per_second(), warm.per_second(), primitive.per_second());
        let ratio = primitive / f64::from(case.signatures) / warm;
        println!("{:<24} {cold:>12.0} {warm:>12.0} {primitive:>12.0} {ratio:>8.2}", case.name);
    }
}

/// One RSA-2048 signature with SHA-256 over as many octets as a SignedInfo has.
fn raw_verification(pem: &[u8]) -> impl FnMut() + use<> {
    let private = PKey::private_key_from_pem(pem).expect("a key");
    let public: PKey<Public> =
        PKey::public_key_from_der(&private.public_key_to_der().expect("its public half")).expect("a key");
    let octets = vec![b'x'; 600];
    let mut signer = Signer::new(MessageDigest::sha256(), &private).expect("a signer");
    let signature = signer.sign_oneshot_to_vec(&octets).expect("a signature");
    move || {
        let mut verifier = RawVerifier::new(MessageDigest::sha256(), &public).expect("a verifier");
        assert!(verifier.verify_oneshot(&signature, &octets).expect("a verdict"));
    }
}

/// The best turn's rate.
#[derive(Default)]
struct Rate {
    best: f64,
}

impl Rate {
    fn run(&mut self, mut work: impl FnMut()) {
        let started = Instant::now();
        let mut count = 0;
        while started.elapsed() < TURN {
            for _ in 0..8 {
                work();
            }
            count += 8;
        }
        self.best = self.best.max(f64::from(count) / started.elapsed().as_secs_f64());
    }

    fn per_second(&self) -> f64 {
        self.best
    }
}

//! From a certificate to a root: names, flags, times, and what each policy lets through.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic, its helpers too"
)]

mod common;

use std::path::Path;

use common::{Forged, NOW, Plan, urn};
use jiff::Timestamp;
use openssl::hash::MessageDigest;
use testyard_trust::chain::{Chain, ChainError};
use testyard_trust::{CallerChain, CryptoPolicy, Reason, TrustRoots, Verifier};

fn verify(
    leaf: &Forged,
    pool: &[&Forged],
    root: &Forged,
    policy: &CryptoPolicy,
) -> Result<Chain, ChainError> {
    verify_at(leaf, pool, root, policy, NOW)
}

fn verify_at(
    leaf: &Forged,
    pool: &[&Forged],
    root: &Forged,
    policy: &CryptoPolicy,
    now: i64,
) -> Result<Chain, ChainError> {
    let roots = TrustRoots::of(Path::new("root.pem"), vec![root.certificate()]);
    let pool: Vec<_> = pool.iter().map(|one| one.certificate()).collect();
    Chain::verify(&leaf.certificate(), &pool, &roots, policy, Timestamp::from_second(now).unwrap())
}

fn ann(authority: &str) -> Plan<'static> {
    Plan::holder("ann", &urn(authority, "user", "ann"))
}

const MODERN: CryptoPolicy = CryptoPolicy::modern();
const LEGACY: CryptoPolicy = CryptoPolicy::legacy();

#[test]
fn an_authority_vouches_for_its_own_names_and_those_below() {
    for (issuer, subject, holds) in [
        ("a.b", "a.b", true),
        ("A.B", "a.b", true),
        ("a.b", "A.b:c", true),
        ("a.b", "a.b:c:d", true),
        ("a.b", "a.bc", false),
        ("a.b", "a", false),
        ("a.b:c", "a.b", false),
        ("a.b:c", "a.b:cd", false),
        ("a.b:c", "a.b.c", false),
        ("a:b", "a.b", false),
        ("b", "a.b", false),
    ] {
        let root = Plan::authority("root", issuer).make(None);
        let leaf = ann(subject).make(Some(&root));
        let verdict = verify(&leaf, &[], &root, &MODERN);
        assert_eq!(verdict.is_ok(), holds, "{issuer} over {subject}: {verdict:?}");
        assert!(holds || matches!(verdict, Err(ChainError::Namespace { .. })));
    }
}

#[test]
fn the_rule_holds_for_every_step() {
    let root = Plan::authority("root", "a").make(None);
    // The middle may only be below the root, and its users only below the middle.
    let middle = Plan::authority("middle", "a:lab").make(Some(&root));
    assert!(verify(&ann("a:lab").make(Some(&middle)), &[&middle], &root, &MODERN).is_ok());
    let upwards = ann("a").make(Some(&middle));
    assert!(matches!(verify(&upwards, &[&middle], &root, &MODERN), Err(ChainError::Namespace { .. })));
    let foreign = Plan::authority("foreign", "b").make(Some(&root));
    let leaf = ann("b").make(Some(&foreign));
    assert!(matches!(verify(&leaf, &[&foreign], &root, &MODERN), Err(ChainError::Namespace { .. })));
}

#[test]
fn only_authorities_with_the_flag_issue() {
    let root = Plan::authority("root", "a").make(None);
    let cases: [(&str, Plan<'_>); 4] = [
        (
            "a user with the flag",
            Plan { ca: Some(true), ..Plan::holder("mallory", &urn("a", "user", "mallory")) },
        ),
        ("no flag", Plan { ca: Some(false), ..Plan::authority("sa", "a") }),
        ("no basic constraints", Plan { ca: None, ..Plan::authority("sa", "a") }),
        ("usage without keyCertSign", Plan { no_cert_sign: true, ..Plan::authority("sa", "a") }),
    ];
    for (what, plan) in cases {
        let middle = plan.make(Some(&root));
        let leaf = ann("a").make(Some(&middle));
        let verdict = verify(&leaf, &[&middle], &root, &LEGACY);
        assert!(
            matches!(verdict, Err(ChainError::NotCa(_) | ChainError::Namespace { .. })),
            "{what}: {verdict:?}"
        );
    }
}

#[test]
fn path_lengths_count() {
    let root = Plan { path_length: Some(0), ..Plan::authority("root", "a") }.make(None);
    assert!(verify(&ann("a").make(Some(&root)), &[], &root, &MODERN).is_ok());
    let middle = Plan::authority("middle", "a").make(Some(&root));
    let leaf = ann("a").make(Some(&middle));
    assert!(matches!(verify(&leaf, &[&middle], &root, &MODERN), Err(ChainError::PathLength(_))));
    // Trusting the middle itself asks nothing of the root.
    assert!(verify(&leaf, &[], &middle, &MODERN).is_ok());
}

#[test]
fn nothing_is_trusted_for_its_name() {
    let root = Plan::authority("root", "a").make(None);
    let twin = Plan::authority("root", "a").make(None);
    let leaf = ann("a").make(Some(&twin));
    assert!(matches!(verify(&leaf, &[], &root, &MODERN), Err(ChainError::NotSigned(_))));
    assert!(matches!(verify(&leaf, &[&twin], &root, &MODERN), Err(ChainError::NotSigned(_))));
    let stranger = ann("a").make(None);
    assert!(matches!(verify(&stranger, &[], &root, &MODERN), Err(ChainError::NoIssuer(..))));
}

#[test]
fn long_chains_and_heaps_of_look_alikes_end() {
    let root = Plan::authority("root", "a").make(None);
    let mut chain = vec![root.clone()];
    for _ in 0..12 {
        let next = Plan::authority("middle", "a").make(chain.last());
        chain.push(next);
    }
    let leaf = ann("a").make(chain.last());
    let pool: Vec<&Forged> = chain.iter().skip(1).collect();
    let started = std::time::Instant::now();
    assert!(verify(&leaf, &pool, &root, &MODERN).is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
    let short: Vec<&Forged> = chain[1..4].iter().collect();
    assert!(verify(&ann("a").make(Some(&chain[3])), &short, &root, &MODERN).is_ok());
}

#[test]
fn every_certificate_is_valid_now_within_a_minute() {
    let root = Plan::authority("root", "a").make(None);
    let middle =
        Plan { from: NOW - 1000, until: NOW + 1000, ..Plan::authority("middle", "a") }.make(Some(&root));
    let leaf = Plan { from: NOW - 500, ..ann("a") }.make(Some(&middle));
    for (now, holds) in [
        (NOW, true),
        (NOW + 1060, true),
        (NOW + 1061, false),
        (NOW - 560, true),
        (NOW - 561, false),
        (NOW + 90_000, false),
    ] {
        let verdict = verify_at(&leaf, &[&middle], &root, &MODERN, now);
        assert_eq!(verdict.is_ok(), holds, "{}: {verdict:?}", now - NOW);
    }
    // A renewed intermediate beside an expired one is found.
    let renewed = Forged { x509: renewed(&middle, &root), key: middle.key.clone() };
    assert!(verify_at(&leaf, &[&middle, &renewed], &root, &MODERN, NOW + 2000).is_ok());
}

/// The middle again with its own key and a later end.
fn renewed(middle: &Forged, root: &Forged) -> openssl::x509::X509 {
    let mut builder = openssl::x509::X509Builder::new().unwrap();
    let old = &middle.x509;
    builder.set_version(2).unwrap();
    builder.set_serial_number(old.serial_number()).unwrap();
    builder.set_subject_name(old.subject_name()).unwrap();
    builder.set_issuer_name(old.issuer_name()).unwrap();
    builder.set_not_before(old.not_before()).unwrap();
    builder.set_not_after(&openssl::asn1::Asn1Time::from_unix(NOW + 5000).unwrap()).unwrap();
    builder.set_pubkey(&old.public_key().unwrap()).unwrap();
    let mut constraints = openssl::x509::extension::BasicConstraints::new();
    builder.append_extension(constraints.critical().ca().build().unwrap()).unwrap();
    let mut names = openssl::x509::extension::SubjectAlternativeName::new();
    let names = names.uri(&urn("a", "authority", "sa")).build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&root.key, MessageDigest::sha256()).unwrap();
    builder.build()
}

#[test]
fn a_critical_extension_that_nobody_knows() {
    let root = Plan::authority("root", "a").make(None);
    let leaf = Plan { critical: true, ..ann("a") }.make(Some(&root));
    assert!(matches!(verify(&leaf, &[], &root, &LEGACY), Err(ChainError::Critical(_))));
}

/// Keys and hashes against the two policies, and against one that loosens a single rule.
#[test]
fn the_policy_matrix() {
    let sha1 = MessageDigest::sha1();
    let only_sha1 = CryptoPolicy { allow_sha1_certificates: true, ..MODERN };
    let only_1024 = CryptoPolicy { min_rsa_bits: 1024, ..MODERN };
    let tiny = CryptoPolicy { min_rsa_bits: 0, max_rsa_bits: u32::MAX, ..LEGACY };
    let all = [&MODERN, &LEGACY, &only_sha1, &only_1024, &tiny];
    let root = Plan { digest: sha1, ..Plan::authority("root", "a") }.make(None);
    let root_1024 = Plan { rsa: Some(1024), ..Plan::authority("root", "a") }.make(None);
    let cases: [(&str, Plan<'_>, &Forged, [bool; 5]); 7] = [
        ("P-256, SHA-256; the root's own SHA-1 does not matter", ann("a"), &root, [true; 5]),
        ("SHA-1", Plan { digest: sha1, ..ann("a") }, &root, [false, true, true, false, true]),
        ("MD5", Plan { digest: MessageDigest::md5(), ..ann("a") }, &root_1024, [false; 5]),
        ("RSA 1024", Plan { rsa: Some(1024), ..ann("a") }, &root, [false, true, false, true, true]),
        ("RSA 512", Plan { rsa: Some(512), ..ann("a") }, &root, [false; 5]),
        ("RSA 2048", Plan { rsa: Some(2048), ..ann("a") }, &root, [true; 5]),
        ("a root of RSA 1024", ann("a"), &root_1024, [false, true, false, true, true]),
    ];
    for (what, plan, root, expected) in cases {
        let leaf = plan.make(Some(root));
        for (policy, holds) in all.iter().zip(expected) {
            let verdict = verify(&leaf, &[], root, policy);
            assert_eq!(verdict.is_ok(), holds, "{what} under {policy:?}: {verdict:?}");
            assert!(holds || matches!(verdict, Err(ChainError::Algorithm(..))), "{what}: {verdict:?}");
        }
    }
}

#[test]
fn odd_roots_are_the_policys_to_allow() {
    let flagless = Plan { ca: None, ..Plan::authority("root", "a") }.make(None);
    let nameless = Plan { uris: Vec::new(), ..Plan::authority("root", "a") }.make(None);
    for root in [&flagless, &nameless] {
        let leaf = ann("a").make(Some(root));
        assert!(verify(&leaf, &[], root, &MODERN).is_err());
        assert!(verify(&leaf, &[], root, &LEGACY).is_ok());
    }
    // Only as anchors: below one, the rules are the same for all.
    let middle = Plan { uris: Vec::new(), ..Plan::authority("middle", "a") }.make(Some(&flagless));
    let leaf = ann("a").make(Some(&middle));
    assert!(matches!(verify(&leaf, &[&middle], &flagless, &LEGACY), Err(ChainError::Namespace { .. })));
    // A user's certificate as a root is that user, not an authority.
    let user = ann("a").make(None);
    assert!(verify(&user, &[], &user, &MODERN).is_ok());
    let below = ann("a").make(Some(&user));
    assert!(verify(&below, &[], &user, &LEGACY).is_err());
    // A malformed URN is not the same as none.
    let broken =
        Plan { uris: vec!["urn:publicid:IDN+".to_owned()], ..Plan::authority("root", "a") }.make(None);
    assert!(verify(&ann("a").make(Some(&broken)), &[], &broken, &LEGACY).is_err());
}

#[test]
fn the_first_urn_in_the_alternative_name_is_the_name() {
    let root = Plan::authority("root", "a").make(None);
    let uris = |list: &[&str]| list.iter().map(|uri| (*uri).to_owned()).collect::<Vec<_>>();
    for (list, expected) in [
        (
            uris(&[
                "https://a/",
                "urn:uuid:6d1a1c1e-0000-4000-8000-000000000001",
                "urn:publicid:IDN+a+user+ann",
            ]),
            Some("ann"),
        ),
        (uris(&["urn:publicid:IDN+a+user+ann", "urn:publicid:IDN+a+user+bob"]), Some("ann")),
        (uris(&["URN:PUBLICID:idn+a+user+ann"]), Some("ann")),
        (uris(&["urn:publicid:IDN+a+user", "urn:publicid:IDN+a+user+bob"]), None),
        (uris(&["urn:publicid:IDN+a+user+ann\nurn:publicid:IDN+a+user+bob"]), None),
        (uris(&["https://a/?urn:publicid:IDN+a+user+ann"]), None),
    ] {
        let leaf = Plan { uris: list.clone(), ..ann("a") }.make(Some(&root));
        let caller = CallerChain::from_pem(leaf.pem().as_bytes()).unwrap();
        let roots = TrustRoots::of(Path::new("root.pem"), vec![root.certificate()]);
        let verdict = Verifier::new(roots, MODERN).identify(&caller, Timestamp::from_second(NOW).unwrap());
        match expected {
            Some(name) => assert_eq!(verdict.unwrap().name(), name, "{list:?}"),
            None => assert_eq!(verdict.unwrap_err().reason, Reason::UntrustedCaller, "{list:?}"),
        }
    }
}

#[test]
fn a_client_without_a_certificate_is_told_so() {
    let verifier = Verifier::new(TrustRoots::default(), MODERN);
    let refusal = verifier.identify(&CallerChain::none(), Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(refusal.reason, Reason::UntrustedCaller);
    assert!(refusal.message.contains("none was shown"));
}

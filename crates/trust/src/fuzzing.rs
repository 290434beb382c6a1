//! What fuzzers call. Each function takes any bytes and panics only if an invariant is broken.

use jiff::Timestamp;

use crate::c14n::{C14n, canonicalize};
use crate::certificate::Certificate;
use crate::chain::Chain;
use crate::document;
use crate::policy::CryptoPolicy;
use crate::roots::TrustRoots;

/// A credential: parsed, canonicalised, its signatures verified with whatever certificates it brings.
pub fn credential(data: &[u8]) {
    let Ok(document) = document::text(data).and_then(document::parse) else { return };
    for form in [C14n::Inclusive, C14n::Exclusive] {
        let once = canonicalize(document.root_element(), form);
        // Escapes make the canonical form longer than the source, so it may pass the limit on its size.
        if let Ok(again) = document::parse(&once) {
            assert_eq!(canonicalize(again.root_element(), form), once, "canonical form is stable");
        } else {
            assert!(once.len() > data.len(), "canonical form of XML is XML");
        }
    }
    let Ok(links) = document::links(&document) else { return };
    for link in &links {
        if let Some(Ok(signer)) = link.signature.certificates.first().map(|der| Certificate::from_der(der)) {
            let _ = link.signature.verify(link.node, &signer, &CryptoPolicy::legacy());
        }
    }
}

/// Certificates: as PEM, as bare base64, as DER; then everything that is asked about one.
pub fn certificate(data: &[u8]) {
    let certificates =
        Certificate::from_pem(data).or_else(|_| Certificate::from_der(data).map(|one| vec![one]));
    for certificate in certificates.unwrap_or_default() {
        let again = Certificate::from_pem(certificate.to_pem().as_bytes());
        assert_eq!(again.as_deref(), Ok(&[certificate.clone()][..]), "what was read reads again");
        assert!(certificate.subject().chars().count() <= 200 && certificate.issuer().chars().count() <= 200);
        assert_eq!(certificate.key_id().len(), 40);
        let roots = TrustRoots::default();
        let chain = Chain::verify(
            &certificate,
            std::slice::from_ref(&certificate),
            &roots,
            &CryptoPolicy::legacy(),
            Timestamp::UNIX_EPOCH,
        );
        assert!(chain.is_err(), "nothing is trusted without roots");
    }
}

//! The credential corpus: every undisputed vector gets its verdict, its reason and its grants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic, its helpers too"
)]

use std::path::Path;

use testyard_trust::corpus;

#[test]
fn every_vector_is_judged_as_it_must_be() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/credentials/manifest.json");
    let report = corpus::run(&manifest).unwrap();
    for difference in &report.differences {
        println!("{difference}");
    }
    println!("{report}");
    assert!(report.undisputed >= 328, "the corpus is not whole");
    assert!(report.is_clean());
    assert_eq!(
        report.disputed, report.disputed_agreed,
        "docs/reference/trust.md says that the suggestions are taken"
    );
}

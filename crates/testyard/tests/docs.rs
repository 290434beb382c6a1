//! The documents, where they speak of the sources: what they name is there.
#![allow(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Names of docker-am's configuration, which are told to those who had one.
const OF_OTHERS: [&str; 2] = ["node_ipv4_hostname", "starting_ipv4_port"];

/// Files below a folder whose names end so.
fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                found.extend(files(&path, endings));
            }
        } else if endings.iter().any(|ending| path.extension().is_some_and(|other| other == *ending)) {
            found.push(path);
        }
    }
    found
}

/// Words of letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// What stands between backticks and is a name in the sources: of a test, a key, a word of a protocol.
fn cited(text: &str) -> impl Iterator<Item = &str> {
    let is_name = |word: &&str| {
        word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && word.matches('_').count() >= 2
    };
    // Metrics are put together of a prefix, a name and a unit, and have a test of their own.
    let is_name =
        move |word: &&str| is_name(word) && !word.starts_with("testyard_") && !word.starts_with("process_");
    text.split('`').skip(1).step_by(2).filter(is_name)
}

#[test]
fn every_name_that_is_cited_is_in_the_sources() {
    let root = Path::new(ROOT);
    let mut documents = files(&root.join("docs"), &["md"]);
    documents.extend(["README.md", "SPECIFICATION.md", "CONTRIBUTING.md"].map(|name| root.join(name)));
    let (mut known, mut tests) = (BTreeSet::new(), BTreeSet::new());
    for path in files(&root.join("crates"), &["rs", "toml", "py"]) {
        let text = fs::read_to_string(path).unwrap();
        known.extend(words(&text).map(str::to_owned));
        let functions = text.split("fn ").skip(1).filter_map(|rest| words(rest).next());
        tests.extend(functions.filter(|name| name.starts_with("e2e_")).map(str::to_owned));
    }
    let mut strange = Vec::new();
    let mut count = 0;
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        for name in cited(&text) {
            count += 1;
            let is_there = if name.starts_with("e2e_") { tests.contains(name) } else { known.contains(name) };
            if !is_there && !OF_OTHERS.contains(&name) {
                strange.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(strange.is_empty(), "{strange:#?}");
    assert!(count > 80, "only {count} names were found");
}

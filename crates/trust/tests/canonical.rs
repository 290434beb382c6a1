//! Canonical XML against libxml2: the same octets for every well-formed file of the corpus and for the odd cases.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic, its helpers too"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use testyard_trust::c14n::{C14n, canonicalize};
use testyard_xml::{Limits, parse};

/// Things that signers and attackers do to XML.
const ODD: [&str; 12] = [
    "<a/>",
    "<?xml version='1.0'?>\n<!-- gone --><a b='2' a='1'>x<!-- gone -->y<?p  q r ?><![CDATA[<&>]]></a><!-- gone -->",
    "<a x='&#9;&#10;&#13;&quot;&lt;&amp;&gt;'>&#13;&lt;&gt;&amp;\"'</a>",
    "<a\tx='1\n2'\r\n y = '3'\r\n>\r\n line\r\n</a >",
    "<p:a xmlns:p='urn:u' xmlns='urn:d' xmlns:q='urn:v'><b xmlns=''><p:c xmlns:p='urn:w' q:z='1' a='2'/></b><q:d/></p:a>",
    "<a xmlns='urn:d'><b xmlns=''><c xmlns=''/><d xmlns='urn:d'/></b></a>",
    "<a xmlns:z='urn:1' xmlns:y='urn:2' xmlns:x='urn:3' z:a='1' y:a='2' x:a='3' a='4' b='5'/>",
    "<a xml:lang='en' xml:space='preserve' xmlns:xml='http://www.w3.org/XML/1998/namespace'><b xml:lang='de'/></a>",
    "<a xmlns:p='urn:u'><b xmlns:p='urn:u'><p:c xmlns:p='urn:u'/></b></a>",
    "<a>\u{e9}\u{20ac}\u{1f600}&#233;</a>",
    "<a xmlns:p='urn:u'><p:b p:c='&#x20;d'/></a>",
    "<a><?target?><?other  two words?></a>",
];

fn libxml2(file: &Path, exclusive: bool) -> String {
    let form = if exclusive { "--exc-c14n" } else { "--c14n" };
    let output = Command::new("xmllint").args(["--nonet", "--huge", form]).arg(file).output();
    let output = output.expect("xmllint (libxml2-utils) is needed to test canonical XML");
    assert!(output.status.success(), "xmllint refuses {}", file.display());
    String::from_utf8(output.stdout).unwrap()
}

/// libxml2's command line keeps comments, which the form without comments has not.
fn without_comments(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(begin) = text.find("<!--") {
        let end = begin + text[begin..].find("-->").expect("a comment has an end") + 3;
        text.replace_range(begin..end, "");
    }
    // Comments outside of the root have lines of their own.
    text.trim_matches('\n').to_owned()
}

fn check(file: &Path, source: &str) {
    let document = parse(source, &Limits::CREDENTIAL).unwrap();
    for (form, exclusive) in [(C14n::Inclusive, false), (C14n::Exclusive, true)] {
        let ours = canonicalize(document.root_element(), form);
        assert_eq!(ours, without_comments(&libxml2(file, exclusive)), "{form:?} of {}", file.display());
    }
}

#[test]
fn odd_documents_are_as_libxml2_has_them() {
    let folder = tempfile::tempdir().unwrap();
    for (number, source) in ODD.iter().enumerate() {
        let file = folder.path().join(format!("{number}.xml"));
        std::fs::write(&file, source).unwrap();
        check(&file, source);
    }
}

#[test]
fn the_corpus_is_as_libxml2_has_it() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/credentials");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(corpus.join("valid")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| !file.ends_with("byte-order-mark.xml"));
    assert!(files.len() > 30);
    for file in files {
        check(&file, &std::fs::read_to_string(&file).unwrap());
    }
}

/// Here libxml2 differs from the recommendation, which treats a namespace like any attribute's value.
#[test]
fn namespaces_are_escaped() {
    let document = parse("<a xmlns='urn:a&amp;b'/>", &Limits::CREDENTIAL).unwrap();
    let form = canonicalize(document.root_element(), C14n::Inclusive);
    assert_eq!(form, "<a xmlns=\"urn:a&amp;b\"></a>");
}

/// The inclusive form of a part takes the ancestors' namespaces and `xml:` attributes along, nearest first; the
/// exclusive form does not. The expected texts are the recommendations' rules by hand: command lines cannot do parts.
#[test]
fn a_part_in_its_context() {
    let source = "<r xmlns='d' xmlns:u='used' xmlns:v='unused' xml:lang='en' xml:base='b'>\
                  <m xml:lang='de' xmlns:v='nearer'><u:part xml:id='i' a='1'><n xmlns=''/></u:part></m></r>";
    let document = parse(source, &Limits::CREDENTIAL).unwrap();
    let part = document.descendants().find(|node| node.has_tag_name(("used", "part"))).unwrap();
    assert_eq!(
        canonicalize(part, C14n::Inclusive),
        "<u:part xmlns=\"d\" xmlns:u=\"used\" xmlns:v=\"nearer\" a=\"1\" xml:base=\"b\" xml:id=\"i\" xml:lang=\"de\">\
         <n xmlns=\"\"></n></u:part>"
    );
    assert_eq!(
        canonicalize(part, C14n::Exclusive),
        "<u:part xmlns:u=\"used\" a=\"1\" xml:id=\"i\"><n></n></u:part>"
    );
}

/// Random trees with prefixes, redeclarations and awkward text.
fn tree() -> impl Strategy<Value = String> {
    let text = prop::sample::select(vec![
        "", "x", "&amp;", "&#13;", "\r\n", "]]&gt;", "<!--c-->", "<?p i?>", "\u{e9}",
    ]);
    let attributes = prop::collection::btree_map(
        prop::sample::select(vec!["a", "b", "p:a", "q:a", "xml:lang", "xmlns", "xmlns:p", "xmlns:q"]),
        prop::sample::select(vec!["urn:1", "urn:u", "urn:w", "&#9;", "&lt;"]),
        0..4,
    );
    let name = prop::sample::select(vec!["e", "p:e", "q:f"]);
    let leaf = (name.clone(), attributes.clone(), text.clone()).prop_map(|(n, a, t)| element(n, &a, t));
    leaf.prop_recursive(4, 24, 4, move |inner| {
        (name.clone(), attributes.clone(), prop::collection::vec(inner, 0..4))
            .prop_map(|(n, a, children)| element(n, &a, &children.concat()))
    })
    .prop_map(|inner| format!("<root xmlns:p='urn:one' xmlns:q='urn:two'>{inner}</root>"))
}

fn element(name: &str, attributes: &std::collections::BTreeMap<&str, &str>, content: &str) -> String {
    // libxml2 refuses namespaces that are no absolute URIs.
    let is_odd = |name: &str, value: &str| name.starts_with("xmlns") && !value.starts_with("urn:");
    let value = |name: &str, value| if is_odd(name, value) { "urn:odd" } else { value };
    let attributes: String =
        attributes.iter().map(|(name, text)| format!(" {name}='{}'", value(name, text))).collect();
    format!("<{name}{attributes}>{content}</{name}>")
}

proptest! {
    #[test]
    fn canonical_form_is_stable(source in tree()) {
        let Ok(document) = parse(&source, &Limits::CREDENTIAL) else { return Ok(()) };
        for form in [C14n::Inclusive, C14n::Exclusive] {
            let once = canonicalize(document.root_element(), form);
            let again = parse(&once, &Limits::CREDENTIAL).unwrap();
            prop_assert_eq!(canonicalize(again.root_element(), form), once);
        }
    }
}

#[test]
fn random_trees_are_as_libxml2_has_them() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let folder = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::deterministic();
    let mut compared = 0;
    for number in 0..60 {
        let source = tree().new_tree(&mut runner).unwrap().current();
        if parse(&source, &Limits::CREDENTIAL).is_ok() {
            let file = folder.path().join(format!("{number}.xml"));
            std::fs::write(&file, &source).unwrap();
            check(&file, &source);
            compared += 1;
        }
    }
    assert!(compared > 20, "most random trees are XML");
}

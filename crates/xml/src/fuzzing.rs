//! Entry points of the fuzz targets (`fuzz/`), run over the committed corpus by an ordinary test too.

use crate::{Document, Edits, Limits, Node, parse, position, prefix_of, text_of};

/// Small enough that a fuzzer meets every one of them.
const TIGHT: Limits = Limits { bytes: 512, depth: 4, nodes: 40, attributes: 4, namespaces: 4 };

/// What the edited document may have: everything that edits can add is far below.
const LOOSE: Limits =
    Limits { bytes: usize::MAX, depth: 1000, nodes: u32::MAX, attributes: 1000, namespaces: usize::MAX };

/// The attribute and the element that [`edit`] adds; documents that have them already are left out.
const MARK: &str = "fuzz-mark";

/// Reading: what is read keeps within its limits and brings no document type, and every question about a node has an
/// answer that fits the text.
///
/// # Panics
/// If it does not: that is what is looked for.
pub fn read(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for limits in [Limits::RSPEC, Limits::CREDENTIAL, Limits::XML_RPC, TIGHT] {
        match parse(text, &limits) {
            Ok(document) => check(text, &document, &limits),
            Err(error) => assert!((1..=400).contains(&error.to_string().len()), "{error}"),
        }
    }
}

fn check(text: &str, document: &Document<'_>, limits: &Limits) {
    assert!(text.len() <= limits.bytes);
    let mut count = 0;
    for node in document.descendants() {
        count += 1;
        assert!(node.ancestors().filter(Node::is_element).count() <= limits.depth);
        assert!(node.attributes().len() <= limits.attributes);
        let (line, column) = position(node);
        assert!(line >= 1 && column >= 1);
        assert!(text_of(node).len() <= text.len());
        if node.is_element() {
            let source = &text[node.range()];
            assert!(
                source.starts_with(&format!("<{}{}", prefix_of(node), node.tag_name().name())),
                "{source:?}"
            );
        }
        if let Some(instruction) = node.pi() {
            assert!(!instruction.target.eq_ignore_ascii_case("xml"));
        }
    }
    // The root of the tree is a node of ours, not of the limit's.
    assert!(count <= limits.nodes as usize + 1, "{count} nodes");
}

/// Editing: a NUL separates the edits from the document; each byte of the edits says what to do to which element, and
/// all of them together are the value of an attribute. What was not meant to change stays: the text, the elements and
/// their attributes; what was meant to is there when the result is read again.
///
/// # Panics
/// If it is not: that is what is looked for.
pub fn edit(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((script, text)) = text.split_once('\0') else { return };
    if text.contains(MARK) {
        return;
    }
    let Ok(document) = parse(text, &Limits::CREDENTIAL) else { return };
    let elements: Vec<Node<'_, '_>> = document.descendants().filter(Node::is_element).collect();
    let mut edits = Edits::new();
    assert_eq!(std::mem::take(&mut edits).apply(text), text);
    let mut touched = vec![(false, false); elements.len()];
    for byte in script.bytes().take(64) {
        let index = usize::from(byte / 3) % elements.len();
        let (node, (marked, filled)) = (elements[index], &mut touched[index]);
        let child = format!("<{MARK} xmlns=''/>");
        match byte % 3 {
            0 if !*marked => {
                edits.set_attribute(node, MARK, script);
                // One that is there already is replaced.
                if let Some(first) = node.attributes().find(|attribute| attribute.namespace().is_none()) {
                    edits.set_attribute(node, first.name(), script);
                }
                *marked = true;
            }
            1 if !*filled => {
                edits.append(node, &child);
                *filled = true;
            }
            2 if !*filled => {
                edits.prepend(node, &child);
                *filled = true;
            }
            _ => {}
        }
    }
    let edited = edits.apply(text);
    let again = parse(&edited, &LOOSE).unwrap_or_else(|error| panic!("{error}: {edited:?} from {text:?}"));
    assert_eq!(text_of(again.root()), text_of(document.root()), "{edited:?}");
    let kept: Vec<Node<'_, '_>> =
        again.descendants().filter(|node| node.is_element() && node.tag_name().name() != MARK).collect();
    assert_eq!(kept.len(), elements.len(), "{edited:?}");
    let value: String = script.chars().map(fit).collect();
    for ((before, after), (marked, filled)) in elements.iter().zip(kept).zip(touched) {
        assert_eq!(before.tag_name(), after.tag_name(), "{edited:?}");
        assert_eq!(after.attribute(MARK), marked.then_some(value.as_str()), "{edited:?}");
        assert_eq!(after.children().filter(|child| child.has_tag_name(MARK)).count(), usize::from(filled));
        assert_eq!(after.attributes().len(), before.attributes().len() + usize::from(marked));
        for attribute in before.attributes() {
            let name = (attribute.namespace().unwrap_or_default(), attribute.name());
            let same = after.attributes().find(|a| (a.namespace().unwrap_or_default(), a.name()) == name);
            let now = same.map(|attribute| attribute.value());
            assert!(now == Some(attribute.value()) || (marked && now == Some(value.as_str())), "{edited:?}");
        }
    }
}

/// What becomes of a character that XML cannot carry.
fn fit(c: char) -> char {
    match c {
        '\n' | '\t' | '\r' => c,
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c => c,
    }
}

//! Changing a document by splicing its text.

use std::ops::Range;

use roxmltree::Node;

use crate::read::attribute_node;

/// Changes of one document, collected in any order and applied at once. Ranges must not overlap; several insertions
/// at one place keep the order in which they were added.
#[derive(Debug, Default)]
pub struct Edits {
    splices: Vec<(Range<usize>, String)>,
}

impl Edits {
    /// No changes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `text` in the place of `range`.
    pub fn replace(&mut self, range: Range<usize>, text: impl Into<String>) {
        self.splices.push((range, text.into()));
    }

    /// Sets an attribute that is in no namespace: replaces its value where it is, adds it where it is not.
    pub fn set_attribute(&mut self, node: Node<'_, '_>, name: &str, value: &str) {
        let value = escape_attribute(value);
        match attribute_node(node, name) {
            Some(attribute) => self.replace(attribute.range_value(), value),
            None => {
                let at = end_of_name(node);
                self.replace(at..at, format!(" {name}=\"{value}\""));
            }
        }
    }

    /// Adds markup behind the last child of an element; an empty element is opened for it.
    pub fn append(&mut self, node: Node<'_, '_>, markup: &str) {
        let range = node.range();
        let source = &node.document().input_text()[range.clone()];
        if source.ends_with("/>") && !node.has_children() {
            let name = &source[1..end_of_name(node) - range.start];
            self.replace(range.end - 2..range.end, format!(">{markup}</{name}>"));
        } else {
            let close = range.start + source.rfind("</").unwrap_or(source.len());
            self.replace(close..close, markup);
        }
    }

    /// Adds markup in front of the first child of an element; an empty element is opened for it.
    pub fn prepend(&mut self, node: Node<'_, '_>, markup: &str) {
        match node.first_child() {
            Some(child) => {
                let at = child.range().start;
                self.replace(at..at, markup);
            }
            None => self.append(node, markup),
        }
    }

    /// The document with all changes.
    #[must_use]
    pub fn apply(mut self, source: &str) -> String {
        self.splices.sort_by_key(|(range, _)| (range.start, range.end));
        let added: usize = self.splices.iter().map(|(_, text)| text.len()).sum();
        let mut result = String::with_capacity(source.len() + added);
        let mut at = 0;
        for (range, text) in self.splices {
            debug_assert!(range.start >= at, "edits overlap");
            result.push_str(&source[at..range.start.max(at)]);
            result.push_str(&text);
            at = range.end.max(at);
        }
        result.push_str(&source[at..]);
        result
    }
}

/// Where the name in an element's start tag ends, as an offset into the document.
fn end_of_name(node: Node<'_, '_>) -> usize {
    let range = node.range();
    let source = &node.document().input_text()[range.clone()];
    let end = source.find(|c: char| c.is_whitespace() || matches!(c, '/' | '>')).unwrap_or(source.len());
    range.start + end
}

/// Text made safe between tags. Characters that XML 1.0 cannot carry become U+FFFD.
#[must_use]
pub fn escape_text(text: &str) -> String {
    escape(text, false)
}

/// Text made safe between double or single quotes; line breaks and tabs survive as references.
#[must_use]
pub fn escape_attribute(text: &str) -> String {
    escape(text, true)
}

fn escape(text: &str, attribute: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if attribute => out.push_str("&quot;"),
            '\'' if attribute => out.push_str("&#39;"),
            '\r' => out.push_str("&#13;"),
            '\n' if attribute => out.push_str("&#10;"),
            '\t' if attribute => out.push_str("&#9;"),
            '\n' | '\t' => out.push(c),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, parse};
    use proptest::prelude::*;

    #[test]
    fn only_what_was_meant_changes() {
        let source =
            "<?xml version='1.0'?><!-- c -->\n<p:r xmlns:p='u' a='&#10;1'><p:e/><f  b=\"2\"></f></p:r>";
        let document = parse(source, &Limits::RSPEC).unwrap();
        let root = document.root_element();
        let (e, f) = (root.first_element_child().unwrap(), root.last_element_child().unwrap());
        let mut edits = Edits::new();
        edits.set_attribute(root, "type", "a\"<b");
        edits.append(e, "<p:x/>");
        edits.set_attribute(f, "b", "3");
        edits.prepend(f, "<g/>");
        edits.append(root, "<h/>");
        assert_eq!(
            edits.apply(source),
            "<?xml version='1.0'?><!-- c -->\n<p:r type=\"a&quot;&lt;b\" xmlns:p='u' a='&#10;1'><p:e><p:x/></p:e>\
             <f  b=\"3\"><g/></f><h/></p:r>"
        );
    }

    proptest! {
        #[test]
        fn escaped_text_reads_back(text in "\\PC{0,40}[\n\t]{0,2}") {
            let source = format!("<a b=\"{}\">{}</a>", escape_attribute(&text), escape_text(&text));
            let document = parse(&source, &Limits::RSPEC).unwrap();
            prop_assert_eq!(document.root_element().attribute("b").unwrap(), &text);
            prop_assert_eq!(crate::text_of(document.root_element()), text);
        }
    }
}

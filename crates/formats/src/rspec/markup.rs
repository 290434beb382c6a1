//! New markup in the midst of old: prefixes, indentation, and where a start tag ends.

use testyard_xml::{Node as Xml, escape_attribute};

use super::namespace::XML;

/// A prefix for a namespace at the root of a manifest.
#[derive(Debug)]
pub(super) struct Prefix {
    uri: &'static str,
    name: String,
}

impl Prefix {
    /// The prefix that `known` binds to the namespace, or the wanted one (numbered if it is taken), which is then
    /// declared: it is added to `known` and `declarations`.
    pub(super) fn choose(
        uri: &'static str,
        wanted: &str,
        known: &mut Vec<(String, String)>,
        declarations: &mut String,
    ) -> Self {
        let bound = known.iter().find(|(name, bound)| bound == uri && !name.is_empty());
        if let Some((name, _)) = bound {
            return Self { uri, name: name.clone() };
        }
        let name = free(wanted, known);
        declarations.push_str(&format!(" xmlns:{name}=\"{uri}\""));
        known.push((name.clone(), uri.to_owned()));
        Self { uri, name }
    }

    /// What to write in front of an element's name under `parent`, and the declaration that it needs there, since an
    /// element in between may have given the prefix another meaning.
    pub(super) fn under(&self, parent: Xml<'_, '_>) -> (String, String) {
        match parent.lookup_namespace_uri(Some(&self.name)) {
            Some(other) if other != self.uri => {
                let name = free(&self.name, &in_scope(parent));
                (format!("{name}:"), format!(" xmlns:{name}=\"{}\"", self.uri))
            }
            _ => (format!("{}:", self.name), String::new()),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Prefixes and their namespaces in the scope of an element; the default namespace has the prefix `""`.
pub(super) fn in_scope(node: Xml<'_, '_>) -> Vec<(String, String)> {
    node.namespaces()
        .filter(|namespace| namespace.uri() != XML)
        .map(|namespace| (namespace.name().unwrap_or_default().to_owned(), namespace.uri().to_owned()))
        .collect()
}

/// The wanted prefix, with a number behind it if it is taken.
pub(super) fn free(wanted: &str, known: &[(String, String)]) -> String {
    let taken = |name: &str| known.iter().any(|(known, _)| known == name);
    let numbered = (1..).map(|number| format!("{wanted}{number}"));
    std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

/// One element's markup.
pub(super) struct Element {
    text: String,
    name: String,
}

impl Element {
    pub(super) fn new(prefix: &str, name: &str, declaration: &str) -> Self {
        let name = format!("{prefix}{name}");
        Self { text: format!("<{name}{declaration}"), name }
    }

    pub(super) fn attribute(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.text.push_str(&format!(" {name}=\"{}\"", escape_attribute(&value.to_string())));
        self
    }

    pub(super) fn empty(self) -> String {
        self.text + "/>"
    }

    pub(super) fn with(self, content: &str) -> String {
        let Self { text, name } = self;
        if content.is_empty() { text + "/>" } else { format!("{text}>{content}</{name}>") }
    }
}

/// New children as they go behind the last child of `parent`, indented as the text around them is. Line breaks in
/// them part the lines of one child, and go where the text around has none.
pub(super) fn indented(parent: Xml<'_, '_>, children: &[String]) -> String {
    let source = parent.document().input_text();
    let in_front = &source[..parent.range().start];
    let own_line = in_front.rsplit('\n').next().unwrap_or_default();
    let blank = |text: &str| text.bytes().all(|b| matches!(b, b' ' | b'\t'));
    // What stands between the last line break inside the parent and its end tag.
    let inside = parent.last_child().map(|last| &source[last.range()]);
    let ending =
        inside.and_then(|text| text.rsplit_once('\n')).map(|(_, ending)| ending).filter(|e| blank(e));
    match ending {
        Some(indent) => lines(children, indent).map(|child| format!("  {child}\n{indent}")).collect(),
        None if inside.is_none() && blank(own_line) => {
            let text: String =
                lines(children, own_line).map(|child| format!("\n{own_line}  {child}")).collect();
            format!("{text}\n{own_line}")
        }
        None => children.iter().flat_map(|child| child.lines().map(str::trim_start)).collect(),
    }
}

fn lines(children: &[String], indent: &str) -> impl Iterator<Item = String> {
    children.iter().map(move |child| child.replace('\n', &format!("\n{indent}  ")))
}

/// Where the start tag of an element ends, behind its `>`, as an offset into the document.
pub(super) fn end_of_start_tag(node: Xml<'_, '_>) -> usize {
    let range = node.range();
    let mut quote = None;
    for (index, byte) in node.document().input_text()[range.clone()].bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return range.start + index + 1,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    range.end
}

/// Where the name in an element's start tag ends, as an offset into the document.
pub(super) fn end_of_name(node: Xml<'_, '_>) -> usize {
    let range = node.range();
    let source = &node.document().input_text()[range.clone()];
    range.start
        + source.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(source.len())
}

/// The prefixes that an element's own start tag declares; `""` for the default namespace.
pub(super) fn declared<'input>(node: Xml<'_, 'input>) -> Vec<&'input str> {
    let source = &node.document().input_text()[end_of_name(node)..end_of_start_tag(node)];
    let mut prefixes = Vec::new();
    let mut rest = source;
    while let Some(equals) = rest.find('=') {
        let name = rest[..equals].trim();
        if name == "xmlns" {
            prefixes.push("");
        } else if let Some(prefix) = name.strip_prefix("xmlns:") {
            prefixes.push(prefix);
        }
        let value = rest[equals + 1..].trim_start();
        let Some(quote) = value.chars().next() else { break };
        let Some(end) = value[1..].find(quote) else { break };
        rest = &value[end + 2..];
    }
    prefixes
}

/// The end tag of an element that has one, as a range of the document.
pub(super) fn end_tag(node: Xml<'_, '_>) -> std::ops::Range<usize> {
    let range = node.range();
    let source = &node.document().input_text()[range.clone()];
    source.rfind("</").map_or(range.end..range.end, |at| range.start + at..range.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use testyard_xml::{Limits, parse};

    #[test]
    fn start_tags() {
        let text = "<a:b xmlns:a='u=>\"' c=\"xmlns:no='x'\" xmlns = \"v\"\n><a:c/></a:b>";
        let tree = parse(text, &Limits::RSPEC).unwrap();
        let root = tree.root_element();
        assert_eq!(declared(root), ["a", ""]);
        assert_eq!(&text[end_of_start_tag(root)..], "<a:c/></a:b>");
        assert_eq!(&text[end_tag(root)], "</a:b>");
        assert!(declared(root.first_element_child().unwrap()).is_empty());
    }

    #[test]
    fn a_prefix_that_means_something_else_is_not_used() {
        let tree = parse("<r xmlns:user='other'><n xmlns:user1='third'/></r>", &Limits::RSPEC).unwrap();
        let root = tree.root_element();
        let (mut known, mut declarations) = (in_scope(root), String::new());
        let prefix = Prefix::choose("mine", "user", &mut known, &mut declarations);
        assert_eq!(declarations, " xmlns:user1=\"mine\"");
        let n = root.first_element_child().unwrap();
        assert_eq!(prefix.under(root), ("user1:".to_owned(), String::new()));
        assert_eq!(prefix.under(n), ("user11:".to_owned(), " xmlns:user11=\"mine\"".to_owned()));
    }
}

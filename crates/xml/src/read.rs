//! Reading, within limits.

use quick_xml::events::Event;
use roxmltree::{Attribute, Document, Node, ParsingOptions};

/// What a document may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole document.
    pub bytes: usize,
    /// Elements within elements.
    pub depth: usize,
    /// Elements, texts, comments and processing instructions together.
    pub nodes: u32,
    /// Attributes and namespace declarations of one element.
    pub attributes: usize,
    /// Namespace declarations of the whole document (tree builders are quadratic in them).
    pub namespaces: usize,
}

impl Limits {
    /// Enough for a request of some thousand nodes.
    pub const RSPEC: Self =
        Self { bytes: 16 << 20, depth: 64, nodes: 500_000, attributes: 128, namespaces: 20_000 };
    /// Enough for a credential delegated ten times.
    pub const CREDENTIAL: Self =
        Self { bytes: 1 << 20, depth: 64, nodes: 20_000, attributes: 64, namespaces: 1000 };
    /// Enough for an XML-RPC call that carries both.
    pub const XML_RPC: Self =
        Self { bytes: 32 << 20, depth: 64, nodes: 500_000, attributes: 16, namespaces: 64 };
}

/// Why a document was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Larger than [`Limits::bytes`].
    #[error("the document has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A limit other than the size is exceeded.
    #[error("the document has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A document type declaration: it could define entities and default attributes.
    #[error("the document has a DOCTYPE; document type declarations are not accepted")]
    Doctype,
    /// Not well-formed, or not namespace-well-formed.
    #[error("not well-formed XML: {0}")]
    Malformed(String),
    /// Bytes that are not UTF-8, or another encoding than UTF-8.
    #[error("the document is not UTF-8")]
    Encoding,
}

/// Reads a document within limits. A byte order mark is allowed; the encoding name in an XML declaration is not
/// looked at, since the text is Unicode already when it comes out of an XML-RPC string.
///
/// # Errors
/// [`XmlError`]; its text is fit to be shown to the caller.
pub fn parse<'a>(text: &'a str, limits: &Limits) -> Result<Document<'a>, XmlError> {
    if text.len() > limits.bytes {
        return Err(XmlError::TooLarge { bytes: text.len(), limit: limits.bytes });
    }
    scan(text, limits)?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: limits.nodes, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => XmlError::Doctype,
        roxmltree::Error::NodesLimitReached => {
            XmlError::TooMuch { what: "elements and texts", limit: limits.nodes as usize }
        }
        error => XmlError::Malformed(shorten(&error.to_string())),
    })?;
    // The tree builder lets an XML declaration in the middle pass as an instruction, if a line break follows its name.
    let is_misplaced = |node: Node<'_, '_>| node.pi().is_some_and(|pi| pi.target.eq_ignore_ascii_case("xml"));
    match document.descendants().find(|node| is_misplaced(*node)) {
        Some(node) => {
            let (line, column) = position(node);
            Err(XmlError::Malformed(format!("an XML declaration in the middle, at {line}:{column}")))
        }
        None => Ok(document),
    }
}

fn scan(text: &str, limits: &Limits) -> Result<(), XmlError> {
    let too_much = |what, limit| Err(XmlError::TooMuch { what, limit });
    let mut reader = quick_xml::Reader::from_str(text);
    // Ends and entities are the tree builder's to check; here they only cost time.
    reader.config_mut().check_end_names = false;
    reader.config_mut().allow_unmatched_ends = true;
    let (mut depth, mut namespaces) = (0usize, 0usize);
    loop {
        let event = reader.read_event().map_err(|error| XmlError::Malformed(shorten(&error.to_string())))?;
        let start = match &event {
            Event::Eof => return Ok(()),
            Event::DocType(_) => return Err(XmlError::Doctype),
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                continue;
            }
            Event::Start(start) => {
                depth += 1;
                start
            }
            Event::Empty(start) => start,
            _ => continue,
        };
        if depth > limits.depth {
            return too_much("levels of elements", limits.depth);
        }
        // An attribute has one `=` at least, so this counts from above without parsing the attributes.
        let tag: &str = start.as_ref();
        let tag = tag.as_bytes();
        let equals = tag.iter().filter(|byte| **byte == b'=').count();
        if equals > limits.attributes {
            let exact = start.attributes().with_checks(false).take(limits.attributes + 1).count();
            if exact > limits.attributes {
                return too_much("attributes on one element", limits.attributes);
            }
        }
        if equals > 0 {
            namespaces += tag.windows(5).filter(|window| window == b"xmlns").count();
            if namespaces > limits.namespaces {
                return too_much("namespace declarations", limits.namespaces);
            }
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

/// The text of an element and everything in it. A tree's own `text()` gives the first piece only, and a comment in
/// the middle would hide the rest.
#[must_use]
pub fn text_of(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|piece| piece.text()).collect()
}

/// The value of an attribute that is in no namespace. A tree's own `attribute("id")` takes the first of that local name,
/// so that `x:id` in front of `id` would hide it.
#[must_use]
pub fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    attribute_node(node, name).map(|attribute| attribute.value())
}

pub(crate) fn attribute_node<'a, 'input>(
    node: Node<'a, 'input>,
    name: &str,
) -> Option<Attribute<'a, 'input>> {
    node.attributes().find(|attribute| attribute.namespace().is_none() && attribute.name() == name)
}

/// Line and column of a node, both from 1.
#[must_use]
pub fn position(node: Node<'_, '_>) -> (u32, u32) {
    let position = node.document().text_pos_at(node.range().start);
    (position.row, position.col)
}

/// The prefix that an element is written with, colon included, or `""`: what a new element beside it needs.
#[must_use]
pub fn prefix_of<'input>(node: Node<'_, 'input>) -> &'input str {
    let source = &node.document().input_text()[node.range()];
    let name = source.strip_prefix('<').unwrap_or(source);
    let end = name.find(|c: char| c.is_whitespace() || matches!(c, '/' | '>')).unwrap_or(name.len());
    name[..end].find(':').map_or("", |colon| &name[..=colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_before_the_tree_is_built() {
        let started = std::time::Instant::now();
        let deep = "<a>".repeat(200_000) + &"</a>".repeat(200_000);
        assert!(matches!(
            parse(&deep, &Limits::RSPEC),
            Err(XmlError::TooMuch { what: "levels of elements", .. })
        ));
        let wide = format!("<a {}/>", (0..30_000).map(|n| format!("x{n}='1' ")).collect::<String>());
        assert!(matches!(parse(&wide, &Limits::RSPEC), Err(XmlError::TooMuch { .. })));
        let spaces: String = (0..30_000).map(|n| format!("<a xmlns:n{n}='u{n}'/>")).collect();
        assert!(matches!(parse(&format!("<r>{spaces}</r>"), &Limits::RSPEC), Err(XmlError::TooMuch { .. })));
        let bomb = "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>";
        assert_eq!(parse(bomb, &Limits::RSPEC).unwrap_err(), XmlError::Doctype);
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn a_declaration_belongs_to_the_beginning() {
        assert!(parse("\u{feff}<?xml version='1.0'?><a/>", &Limits::RSPEC).is_ok());
        for bad in ["<a><?xml\nversion='1.0'?></a>", "<a/><?XML x?>", "<!-- --><?xml version='1.0'?><a/>"] {
            assert!(matches!(parse(bad, &Limits::RSPEC), Err(XmlError::Malformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn an_attribute_of_another_namespace_hides_none() {
        let document = parse("<a xmlns:x='u' x:id='theirs' id='ours' x:only='1'/>", &Limits::RSPEC).unwrap();
        let root = document.root_element();
        assert_eq!((attribute(root, "id"), attribute(root, "only")), (Some("ours"), None));
        let mut edits = crate::Edits::new();
        edits.set_attribute(root, "id", "new");
        edits.set_attribute(root, "only", "2");
        let text = edits.apply(document.input_text());
        let document = parse(&text, &Limits::RSPEC).unwrap();
        let root = document.root_element();
        assert_eq!((attribute(root, "id"), attribute(root, "only")), (Some("new"), Some("2")));
        assert_eq!(root.attribute(("u", "id")), Some("theirs"));
    }

    #[test]
    fn text_prefix_position() {
        let text = "<x:a xmlns:x='u'>al<!-- -->i\n <x:b/>ce</x:a>";
        let document = parse(text, &Limits::RSPEC).unwrap();
        assert_eq!(text_of(document.root_element()), "ali\n ce");
        assert_eq!(prefix_of(document.root_element()), "x:");
        let b = document.descendants().find(|node| node.has_tag_name(("u", "b"))).unwrap();
        assert_eq!(position(b), (2, 2));
    }
}

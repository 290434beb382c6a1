//! Canonical XML 1.0, inclusive and exclusive, without comments: the octets that are signed.
//!
//! What is canonicalised is always one element with everything in it. The inclusive kind takes the namespaces in
//! scope and the `xml:` attributes of the ancestors along, as the recommendation demands and most signers of
//! credentials rely on. Prefixes are not in the tree, so they come from the source text.

use testyard_xml::{Node, prefix_of};

const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Which canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum C14n {
    /// `http://www.w3.org/TR/2001/REC-xml-c14n-20010315`
    Inclusive,
    /// `http://www.w3.org/2001/10/xml-exc-c14n#`, without a prefix list.
    Exclusive,
}

/// The canonical form of an element and everything in it.
#[must_use]
pub fn canonicalize(element: Node<'_, '_>, method: C14n) -> String {
    let mut writer =
        Writer { out: String::with_capacity(element.range().len() + 256), method, rendered: Vec::new() };
    writer.element(element, true);
    writer.out
}

struct Writer<'a> {
    out: String,
    method: C14n,
    /// Namespaces that the output has in scope, for the exclusive form: the last of a prefix counts.
    rendered: Vec<(&'a str, &'a str)>,
}

struct Attribute<'a> {
    namespace: &'a str,
    local: &'a str,
    name: &'a str,
    value: &'a str,
}

impl<'a> Writer<'a> {
    fn element(&mut self, node: Node<'a, '_>, apex: bool) {
        let scope = self.rendered.len();
        let (prefix, local) = (prefix_of(node), node.tag_name().name());
        let attributes = self.attributes(node, apex);
        self.out.push('<');
        self.out.push_str(prefix);
        self.out.push_str(local);
        let mut namespaces = match self.method {
            C14n::Inclusive => inclusive_namespaces(node, apex),
            C14n::Exclusive => self.exclusive_namespaces(node, prefix, &attributes),
        };
        namespaces.sort_unstable();
        for (prefix, uri) in namespaces {
            self.out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
            self.out.push_str(prefix);
            self.out.push_str("=\"");
            self.escape_attribute(uri);
            self.out.push('"');
        }
        for attribute in attributes {
            self.out.push(' ');
            self.out.push_str(attribute.name);
            self.out.push_str("=\"");
            self.escape_attribute(attribute.value);
            self.out.push('"');
        }
        self.out.push('>');
        for child in node.children() {
            if child.is_element() {
                self.element(child, false);
            } else if let Some(text) = child.text().filter(|_| child.is_text()) {
                self.escape_text(text);
            } else if let Some(instruction) = child.pi() {
                self.out.push_str("<?");
                self.out.push_str(instruction.target);
                if let Some(value) = instruction.value {
                    self.out.push(' ');
                    self.escape_instruction(value);
                }
                self.out.push_str("?>");
            }
        }
        self.out.push_str("</");
        self.out.push_str(prefix);
        self.out.push_str(local);
        self.out.push('>');
        self.rendered.truncate(scope);
    }

    fn attributes(&self, node: Node<'a, '_>, apex: bool) -> Vec<Attribute<'a>> {
        let own = |node: Node<'a, '_>| {
            let source = node.document().input_text();
            node.attributes().map(move |attribute| Attribute {
                namespace: attribute.namespace().unwrap_or_default(),
                local: attribute.name(),
                name: &source[attribute.range_qname()],
                value: attribute.value(),
            })
        };
        let mut found: Vec<Attribute<'a>> = own(node).collect();
        if apex && self.method == C14n::Inclusive {
            for ancestor in node.ancestors().skip(1) {
                for inherited in own(ancestor).filter(|attribute| attribute.namespace == XML) {
                    if !found.iter().any(|known| known.namespace == XML && known.local == inherited.local) {
                        found.push(inherited);
                    }
                }
            }
        }
        found.sort_unstable_by(|a, b| (a.namespace, a.local).cmp(&(b.namespace, b.local)));
        found
    }

    /// Namespaces that the element or its attributes use and the output does not have in scope.
    fn exclusive_namespaces(
        &mut self,
        node: Node<'a, '_>,
        prefix: &'a str,
        attributes: &[Attribute<'a>],
    ) -> Vec<(&'a str, &'a str)> {
        let mut used = vec![(prefix.trim_end_matches(':'), node.tag_name().namespace().unwrap_or_default())];
        for attribute in attributes {
            if let Some((prefix, _)) = attribute.name.split_once(':') {
                used.push((prefix, attribute.namespace));
            }
        }
        let mut fresh: Vec<(&str, &str)> = Vec::new();
        for (prefix, uri) in used {
            let known =
                self.rendered.iter().rev().find(|(known, _)| *known == prefix).map_or("", |(_, uri)| uri);
            if prefix != "xml" && known != uri && !fresh.iter().any(|(known, _)| *known == prefix) {
                fresh.push((prefix, uri));
            }
        }
        self.rendered.extend(&fresh);
        fresh
    }

    fn escape_text(&mut self, text: &str) {
        self.escape(text, |byte| match byte {
            b'&' => Some("&amp;"),
            b'<' => Some("&lt;"),
            b'>' => Some("&gt;"),
            b'\r' => Some("&#xD;"),
            _ => None,
        });
    }

    fn escape_attribute(&mut self, text: &str) {
        self.escape(text, |byte| match byte {
            b'&' => Some("&amp;"),
            b'<' => Some("&lt;"),
            b'"' => Some("&quot;"),
            b'\t' => Some("&#x9;"),
            b'\n' => Some("&#xA;"),
            b'\r' => Some("&#xD;"),
            _ => None,
        });
    }

    /// In a processing instruction the source's own line ends still stand: they count as line feeds.
    fn escape_instruction(&mut self, text: &str) {
        self.out.push_str(&text.replace("\r\n", "\n").replace('\r', "\n"));
    }

    /// Most text is base64 and needs no escapes: it is looked over in one go and copied in one piece.
    fn escape(&mut self, mut text: &str, entity: impl Fn(u8) -> Option<&'static str>) {
        while let Some(index) = text.bytes().position(|byte| byte <= b'>' && entity(byte).is_some()) {
            self.out.push_str(&text[..index]);
            self.out.push_str(entity(text.as_bytes()[index]).unwrap_or_default());
            text = &text[index + 1..];
        }
        self.out.push_str(text);
    }
}

/// Namespaces in scope that the parent's output does not have in scope; for the apex, all of them.
fn inclusive_namespaces<'a>(node: Node<'a, '_>, apex: bool) -> Vec<(&'a str, &'a str)> {
    let parent = node.parent_element().filter(|_| !apex);
    let mut found = Vec::new();
    for namespace in node.namespaces() {
        let (prefix, uri) = (namespace.name().unwrap_or_default(), namespace.uri());
        if prefix == "xml" {
            continue;
        }
        let inherited =
            parent.and_then(|parent| parent.lookup_namespace_uri(namespace.name())).unwrap_or_default();
        if inherited != uri {
            found.push((prefix, uri));
        }
    }
    found
}

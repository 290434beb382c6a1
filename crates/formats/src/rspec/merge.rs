//! One manifest of several requests (`geni_many`): the first one's text is the frame, the others' contents move into
//! it, each with the namespace declarations that it loses with its own root.

use std::collections::HashSet;

use testyard_model::time;
use testyard_xml::{Edits, Node as Xml, escape_attribute};

use super::manifest::{ManifestInfo, remove};
use super::markup::{Element, Prefix, declared, end_of_name, end_of_start_tag, end_tag, free, in_scope};
use super::namespace::{DOCKER_AM, RSPEC, SCHEMA_MANIFEST, TESTYARD, USER, XSI};

/// The prefixes that new elements use.
pub(super) struct Prefixes {
    pub(super) user: Prefix,
    pub(super) docker_am: Prefix,
    pub(super) testyard: Prefix,
}

pub(super) struct Merge<'a, 'input> {
    info: ManifestInfo<'a>,
    frame: Option<(Xml<'a, 'input>, Edits)>,
    /// What the others add to the frame's content.
    added: String,
    prefixes: Prefixes,
    xsi: Prefix,
    /// Prefixes and namespaces at the manifest's root.
    known: Vec<(String, String)>,
    /// Declarations and attributes that its root gets.
    attributes: String,
    /// Names of extension attributes that its root has or gets.
    attribute_names: HashSet<(String, String)>,
    /// Pairs of namespace and schema.
    schemas: Vec<(String, String)>,
    /// Elements of other testbeds so far: a request that repeats the one before repeats them.
    seen: HashSet<&'a str>,
}

impl<'a, 'input: 'a> Merge<'a, 'input> {
    pub(super) fn new(frame: Option<Xml<'a, 'input>>, info: &ManifestInfo<'a>) -> Self {
        let mut known = frame.map_or_else(|| vec![(String::new(), RSPEC.to_owned())], in_scope);
        let mut attributes = String::new();
        let mut choose = |uri, wanted| Prefix::choose(uri, wanted, &mut known, &mut attributes);
        let xsi = choose(XSI, "xsi");
        let prefixes = if frame.is_some() {
            Prefixes {
                user: choose(USER, "user"),
                docker_am: choose(DOCKER_AM, "docker_am"),
                testyard: choose(TESTYARD, "testyard"),
            }
        } else {
            let mut unused = (Vec::new(), String::new());
            let mut none = |uri| Prefix::choose(uri, "x", &mut unused.0, &mut unused.1);
            Prefixes { user: none(USER), docker_am: none(DOCKER_AM), testyard: none(TESTYARD) }
        };
        Self {
            info: *info,
            frame: None,
            added: String::new(),
            prefixes,
            xsi,
            known,
            attributes,
            attribute_names: frame.map(attribute_names).unwrap_or_default(),
            schemas: vec![(RSPEC.to_owned(), SCHEMA_MANIFEST.to_owned())],
            seen: HashSet::new(),
        }
    }

    pub(super) fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// Adds a request with its changes; `is_listed` tells our nodes, which are never the same as others.
    pub(super) fn add(
        &mut self,
        root: Xml<'a, 'input>,
        mut edits: Edits,
        is_listed: impl Fn(Xml<'a, 'input>) -> bool,
    ) {
        let source = root.document().input_text();
        self.add_schemas(root);
        edits.replace(declaration(source), "");
        if self.frame.is_none() {
            let others = root.children().filter(|child| child.is_element() && !is_listed(*child));
            self.seen.extend(others.map(|child| &source[child.range()]));
            self.frame = Some((root, edits));
            return;
        }
        self.add_root_attributes(root);
        let needed = self.declarations_needed(root);
        for child in root.children().filter(Xml::is_element) {
            if is_listed(child) || !needed.is_empty() || self.seen.insert(&source[child.range()]) {
                declare(child, &needed, &mut edits);
            } else {
                remove(child, &mut edits);
            }
        }
        edits.replace(root.range().start..end_of_start_tag(root), "");
        edits.replace(end_tag(root), "");
        self.added.push_str(edits.apply(source).trim_end());
        self.added.push('\n');
    }

    pub(super) fn finish(mut self) -> String {
        let generated = time::format(self.info.generated);
        let expires = self.info.expires.map(time::format);
        let schemas: Vec<String> =
            self.schemas.iter().map(|(uri, schema)| format!("{uri} {schema}")).collect();
        let schemas = schemas.join(" ");
        let Some((root, mut edits)) = self.frame.take() else {
            let root = Element::new("", "rspec", &format!(" xmlns=\"{RSPEC}\"{}", self.attributes))
                .attribute(&format!("{}:schemaLocation", self.xsi.name()), schemas)
                .attribute("type", "manifest")
                .attribute("generated", generated)
                .attribute("generated_by", "testyard");
            return match expires {
                Some(expires) => root.attribute("expires", expires),
                None => root,
            }
            .empty();
        };
        edits.set_attribute(root, "type", "manifest");
        edits.set_attribute(root, "generated", &generated);
        edits.set_attribute(root, "generated_by", "testyard");
        if let Some(expires) = expires {
            edits.set_attribute(root, "expires", &expires);
        }
        match root.attribute_node((XSI, "schemaLocation")) {
            Some(attribute) => edits.replace(attribute.range_value(), escape_attribute(&schemas)),
            None => {
                let name = self.xsi.name();
                self.attributes
                    .push_str(&format!(" {name}:schemaLocation=\"{}\"", escape_attribute(&schemas)));
            }
        }
        let at = end_of_name(root);
        edits.replace(at..at, self.attributes);
        edits.append(root, &self.added);
        edits.apply(root.document().input_text())
    }

    fn add_schemas(&mut self, root: Xml<'_, '_>) {
        let words: Vec<&str> =
            root.attribute((XSI, "schemaLocation")).unwrap_or_default().split_whitespace().collect();
        for pair in words.chunks_exact(2) {
            if !self.schemas.iter().any(|(uri, _)| uri == pair[0]) {
                self.schemas.push((pair[0].to_owned(), pair[1].to_owned()));
            }
        }
    }

    /// Extension attributes of another root move to the manifest's.
    fn add_root_attributes(&mut self, root: Xml<'_, '_>) {
        for attribute in root.attributes() {
            let Some(uri) = attribute.namespace().filter(|uri| *uri != XSI) else { continue };
            if !self.attribute_names.insert((uri.to_owned(), attribute.name().to_owned())) {
                continue;
            }
            let bound = self.known.iter().find(|(name, known)| known == uri && !name.is_empty());
            let prefix = match bound {
                Some((name, _)) => name.clone(),
                None => {
                    let name = free(root.lookup_prefix(uri).unwrap_or("ext"), &self.known);
                    self.attributes.push_str(&format!(" xmlns:{name}=\"{}\"", escape_attribute(uri)));
                    self.known.push((name.clone(), uri.to_owned()));
                    name
                }
            };
            let value = escape_attribute(attribute.value());
            self.attributes.push_str(&format!(" {prefix}:{}=\"{value}\"", attribute.name()));
        }
    }

    /// What the children of another root need declared to mean the same under the manifest's.
    fn declarations_needed(&self, root: Xml<'_, '_>) -> Vec<(String, String)> {
        let theirs = in_scope(root);
        let mut needed: Vec<_> = theirs.iter().filter(|pair| !self.known.contains(pair)).cloned().collect();
        let has_default =
            |known: &[(String, String)]| known.iter().any(|(name, uri)| name.is_empty() && !uri.is_empty());
        if has_default(&self.known) && !has_default(&theirs) {
            needed.retain(|(name, _)| !name.is_empty());
            needed.push((String::new(), String::new()));
        }
        needed
    }
}

fn attribute_names(root: Xml<'_, '_>) -> HashSet<(String, String)> {
    let named = |a: testyard_xml::Attribute<'_, '_>| Some((a.namespace()?.to_owned(), a.name().to_owned()));
    root.attributes().filter_map(named).collect()
}

/// Adds declarations to an element, but for those that it makes itself.
fn declare(element: Xml<'_, '_>, needed: &[(String, String)], edits: &mut Edits) {
    if needed.is_empty() {
        return;
    }
    let own = declared(element);
    let text: String = needed
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, uri)| {
            let colon = if name.is_empty() { "" } else { ":" };
            format!(" xmlns{colon}{name}=\"{}\"", escape_attribute(uri))
        })
        .collect();
    let at = end_of_name(element);
    edits.replace(at..at, text);
}

/// The XML declaration with the line break behind it. Its encoding is not that of the manifest, and some parsers
/// refuse one in a text that is Unicode already.
fn declaration(source: &str) -> std::ops::Range<usize> {
    let end = source
        .find("?>")
        .map(|at| at + 2)
        .filter(|_| source.starts_with("<?xml") && !source.starts_with("<?xml-"));
    end.map_or(0..0, |end| {
        let rest = &source[end..];
        let space = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        0..end + space
    })
}

//! Small questions to an element.

use testyard_xml::{Node as Xml, attribute};

use super::namespace::RSPEC;

/// Whether an element is RSpec's own of this name; `jfed:location` is not `location`.
pub(super) fn is_core(node: Xml<'_, '_>, name: &str) -> bool {
    node.has_tag_name((RSPEC, name))
}

/// The children of RSpec's own of this name.
pub(super) fn core_children<'a, 'input>(
    node: Xml<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Xml<'a, 'input>> {
    node.children().filter(move |child| is_core(*child, name))
}

/// An attribute in no namespace, without white space around it; `None` if it is not there or empty.
pub(super) fn word<'a>(node: Xml<'a, '_>, name: &str) -> Option<&'a str> {
    attribute(node, name).map(str::trim).filter(|value| !value.is_empty())
}

/// A text shortened for a message.
pub(super) fn short(text: &str) -> String {
    const MAX: usize = 120;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `xs:boolean`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

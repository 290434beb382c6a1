//! Whose nodes are ours.

use testyard_model::urn::Urn;
use testyard_xml::Node as Xml;

use super::element::word;

/// What parsing needs to know of the testbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The URN that the testbed advertises.
    pub component_manager: Urn,
    /// Other spellings that mean the testbed too.
    pub aliases: Vec<Urn>,
    /// What becomes of nodes that name no component manager.
    pub unbound: Unbound,
    /// How much a request may ask for.
    pub limits: RequestLimits,
}

/// Whose a node is that names no component manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unbound {
    /// Ours if no node of the request names one (am-api.md §4.1).
    #[default]
    OursIfNoneIsBound,
    /// Always ours.
    Ours,
    /// Never ours.
    Foreign,
}

/// How much a request may ask for, beside the limits of XML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes of the whole request.
    pub bytes: usize,
    /// Nodes that are ours.
    pub nodes: usize,
    /// Interfaces of one node.
    pub interfaces: usize,
    /// Installs and executes of one node together.
    pub services: usize,
    /// Forwarded ports of one node.
    pub ports: usize,
    /// Bytes of one command.
    pub command: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { bytes: 16 << 20, nodes: 10_000, interfaces: 256, services: 200, ports: 64, command: 64 << 10 }
    }
}

/// Whom a node names as its manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names<'a> {
    Us,
    /// With the text that says so.
    Other(&'a str),
    Nobody,
}

impl Context {
    /// For the testbed with this URN; `+authority+cm` and `+authority+am` of one authority mean the same.
    #[must_use]
    pub fn new(component_manager: Urn) -> Self {
        let aliases = ["am", "cm"]
            .iter()
            .filter(|name| **name != component_manager.name())
            .filter_map(|name| Urn::new(component_manager.authority(), "authority", name).ok())
            .collect();
        Self { component_manager, aliases, unbound: Unbound::default(), limits: RequestLimits::default() }
    }

    /// Whether a text is the testbed's URN in one of its spellings.
    #[must_use]
    pub fn is_us(&self, text: &str) -> bool {
        text.trim()
            .parse::<Urn>()
            .is_ok_and(|urn| urn == self.component_manager || self.aliases.contains(&urn))
    }

    pub(super) fn named_by<'a>(&self, node: Xml<'a, '_>) -> Names<'a> {
        if let Some(manager) = word(node, "component_manager_id") {
            return if self.is_us(manager) { Names::Us } else { Names::Other(manager) };
        }
        // A node bound to a component names the component's manager by that.
        match word(node, "component_id").map(|component| (component, component.parse::<Urn>())) {
            Some((_, Ok(urn))) if urn.authority() == self.component_manager.authority() => Names::Us,
            Some((component, Ok(_))) => Names::Other(component),
            _ => Names::Nobody,
        }
    }

    pub(super) fn takes_unbound(&self, any_bound: bool) -> bool {
        match self.unbound {
            Unbound::OursIfNoneIsBound => !any_bound,
            Unbound::Ours => true,
            Unbound::Foreign => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_us() {
        let context = Context::new("urn:publicid:IDN+am.example.net+authority+am".parse().unwrap());
        for us in
            ["am.example.net+authority+am", "am.example.net+authority+cm", "AM.Example.net+authority+am"]
        {
            assert!(context.is_us(&format!(" urn:publicid:IDN+{us}\n")), "{us}");
        }
        for other in
            ["am.example.net+authority+sa", "am.example.net:x+authority+am", "x.example.net+authority+am"]
        {
            assert!(!context.is_us(&format!("urn:publicid:IDN+{other}")), "{other}");
        }
        assert!(!context.is_us("") && !context.is_us("am.example.net"));
    }
}

//! Writing topologies in other languages, and saying what is lost.

mod drawing;
mod ns;
mod ns_event;
mod ns_link;
mod ns_names;
mod ns_node;
mod ns_queue;
mod rspec;

use std::collections::HashSet;

use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::link::Link;
use testyard_model::name::SliverTypeName;
use testyard_model::topology::{Node, Topology};

use crate::language::Language;
use crate::{own, topdl};

/// Remarks beyond this many are counted, not kept.
const MAX_LOSSES: usize = 100;

/// A topology in some language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The text.
    pub text: String,
    /// What the language cannot say, or says in another way.
    pub losses: Vec<Diagnostic>,
}

/// Why there is no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The language has no links of its own.
    #[error("topologies are not written as {0}: it has no links (write yaml, rspec, ns or topdl)")]
    Language(Language),
}

/// Writes a topology for whatever testbed.
///
/// # Errors
/// [`ExportError`] for container lists, which say nothing of links.
pub fn export(topology: &Topology, language: Language) -> Result<Export, ExportError> {
    export_for(topology, language, None)
}

/// Writes a topology for a testbed by its default kind of node: an RSpec names it where a node has an image and no kind of
/// its own.
///
/// # Errors
/// As [`export`].
pub fn export_for(
    topology: &Topology,
    language: Language,
    default_type: Option<&SliverTypeName>,
) -> Result<Export, ExportError> {
    let mut losses = Losses::default();
    let text = match language {
        Language::Rspec => rspec::write(topology, default_type, &mut losses),
        Language::Topdl => topdl::write(topology, &mut losses),
        Language::Ns => ns::write(topology, &mut losses),
        Language::Json => own::to_json(topology),
        Language::Yaml => own::to_yaml(topology),
        Language::Graphviz => drawing::graphviz(topology),
        Language::Mermaid => drawing::mermaid(topology),
        Language::Containers => return Err(ExportError::Language(language)),
    };
    Ok(Export { text, losses: losses.finish() })
}

/// What is lost, each once.
#[derive(Default)]
pub(crate) struct Losses {
    found: Vec<Diagnostic>,
    seen: HashSet<String>,
    dropped: usize,
}

impl Losses {
    pub(crate) fn add(&mut self, message: impl Into<String>) {
        let message = message.into();
        if self.found.len() >= MAX_LOSSES {
            self.dropped += 1;
        } else if self.seen.insert(message.clone()) {
            self.found.push(Diagnostic::new(Severity::Warning, message));
        }
    }

    fn lost(&mut self, is_lost: bool, what: &str, of: &str, language: &str) {
        if is_lost {
            self.add(format!("{language} cannot say {what} of {of}"));
        }
    }

    /// What of the whole only our own language says.
    pub(crate) fn whole(&mut self, topology: &Topology, language: &str) {
        self.lost(!topology.schedule.is_empty(), "the schedule", "the topology", language);
        self.lost(!topology.environment.is_empty(), "the environment", "the topology", language);
    }

    /// What of a link only our own language says.
    pub(crate) fn link(&mut self, link: &Link, language: &str) {
        let name = format!("link {}", link.client_id);
        self.lost(link.mtu.is_some(), "the mtu", &name, language);
        self.lost(link.prefix_length.is_some(), "how large the network is", &name, language);
        self.lost(link.down, "the state", &name, language);
        self.lost(link.seed.is_some(), "the seed", &name, language);
        self.lost(link.capture.is_some(), "the capture", &name, language);
        self.lost(link.members.is_empty(), "that nothing is on it", &name, language);
    }

    /// What of a node topdl and NS do not say.
    pub(crate) fn node(&mut self, node: &Node, language: &str) {
        let name = format!("node {}", node.client_id);
        self.lost(node.component.is_some(), "the component", &name, language);
        self.lost(node.exclusive, "the exclusive use", &name, language);
        self.lost(!node.ports.is_empty(), "the ports", &name, language);
        self.lost(!node.programs.is_empty(), "the programs", &name, language);
        self.lost(!node.routes.is_empty(), "the routes", &name, language);
        self.lost(!node.storage.is_empty(), "the storage", &name, language);
    }

    fn finish(mut self) -> Vec<Diagnostic> {
        if self.dropped > 0 {
            self.found.push(Diagnostic::new(Severity::Warning, format!("and {} more", self.dropped)));
        }
        self.found
    }
}

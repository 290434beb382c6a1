//! The languages of topologies, and which of them a file is in.

use std::fmt;
use std::str::FromStr;

use crate::tree::{Kind, Limits, json};

/// A language of topologies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// GENI RSpec v3.
    Rspec,
    /// The NS of Emulab and DETER: a Tcl program. Whoever reads it brings an interpreter
    /// ([`Reader`](crate::read::Reader)).
    Ns,
    /// NeoContainers' container list.
    Containers,
    /// DETER's topdl.
    Topdl,
    /// Testyard's own, in JSON.
    Json,
    /// Testyard's own, in YAML.
    Yaml,
    /// A drawing for Graphviz; written only.
    Graphviz,
    /// A drawing for Mermaid; written only.
    Mermaid,
}

/// A file whose language is not to be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LanguageError {
    /// Neither name nor content tell.
    #[error(
        "{name:?} is in no language that is known here: an RSpec or topdl begins with <, NS files end in .ns, \
         topologies in .yaml or .json (name the language if it is another one)"
    )]
    Unknown {
        /// The name of the file.
        name: String,
    },
    /// XML with a root that nobody knows.
    #[error(
        "{name:?} is XML, but its root element {root:?} is neither rspec nor that of topdl (topology, experiment)"
    )]
    Root {
        /// The name of the file.
        name: String,
        /// Its root element.
        root: String,
    },
    /// A word that names no language.
    #[error("there is no language {given:?}{}", like(.given))]
    Name {
        /// What was given.
        given: String,
    },
}

fn like(given: &str) -> String {
    let names = Language::ALL.map(Language::as_str);
    testyard_model::suggest::closest(given, names).map_or_else(
        || format!(": it can be {}", names.join(", ")),
        |meant| format!(": did you mean {meant}?"),
    )
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Rspec,
        Self::Ns,
        Self::Containers,
        Self::Topdl,
        Self::Json,
        Self::Yaml,
        Self::Graphviz,
        Self::Mermaid,
    ];

    /// The word that names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rspec => "rspec",
            Self::Ns => "ns",
            Self::Containers => "containers",
            Self::Topdl => "topdl",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Graphviz => "graphviz",
            Self::Mermaid => "mermaid",
        }
    }

    /// The language of a file, by its name where that is clear, else by its content.
    ///
    /// # Errors
    /// [`LanguageError`], with what would help.
    pub fn detect(name: &str, text: &str) -> Result<Self, LanguageError> {
        let base = name.rsplit(['/', '\\']).next().unwrap_or(name).to_ascii_lowercase();
        let ending = base.rsplit_once('.').map_or("", |(_, ending)| ending);
        match ending {
            "ns" | "tcl" => return Ok(Self::Ns),
            "yaml" | "yml" => return Ok(Self::Yaml),
            "json" if is_list(text) => return Ok(Self::Containers),
            "json" => return Ok(Self::Json),
            _ => {}
        }
        let body = text.trim_start_matches('\u{feff}').trim_start();
        if body.starts_with('<') {
            return Self::of_xml(&base, body);
        }
        match ending {
            // A broken one: its reader says what is wrong.
            "rspec" => return Ok(Self::Rspec),
            "topdl" => return Ok(Self::Topdl),
            _ => {}
        }
        if body.starts_with('[') {
            Ok(Self::Containers)
        } else if body.starts_with('{') {
            Ok(Self::Json)
        } else if lines(body).any(|line| line.contains("new Simulator")) {
            Ok(Self::Ns)
        } else if lines(body).any(|line| line.starts_with("nodes:") || line.starts_with("testyard:")) {
            Ok(Self::Yaml)
        } else {
            Err(LanguageError::Unknown { name: base })
        }
    }

    /// The language of a text that begins with `<`, by its root element's local name.
    fn of_xml(name: &str, body: &str) -> Result<Self, LanguageError> {
        let root = root(body);
        let local = root.rsplit(':').next().unwrap_or(root);
        match local.to_ascii_lowercase().as_str() {
            "rspec" => Ok(Self::Rspec),
            "topology" | "experiment" => Ok(Self::Topdl),
            _ if name.ends_with(".rspec") => Ok(Self::Rspec),
            _ => Err(LanguageError::Root { name: name.to_owned(), root: root.chars().take(40).collect() }),
        }
    }
}

/// The first lines, of which a long one is not looked through.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take(1000).filter(|line| line.len() < 1000)
}

/// Whether a JSON text is a list; one that is broken is what it begins with.
fn is_list(text: &str) -> bool {
    let body = text.trim_start_matches('\u{feff}').trim_start();
    match json::parse(body.get(..1).unwrap_or_default(), &Limits::CONTAINERS) {
        Ok(value) => matches!(value.kind, Kind::List(_)),
        Err(_) => body.starts_with('['),
    }
}

/// The name of the root element: the first that begins with neither `?` nor `!`.
fn root(body: &str) -> &str {
    let mut rest = body;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, behind)| behind);
        } else if !rest.starts_with(['?', '!']) {
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '/' | '>')).unwrap_or(rest.len());
            return &rest[..end];
        }
    }
    ""
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Language {
    type Err = LanguageError;

    fn from_str(text: &str) -> Result<Self, LanguageError> {
        let named = match text {
            "dot" => Some(Self::Graphviz),
            "yml" => Some(Self::Yaml),
            "tcl" => Some(Self::Ns),
            _ => Self::ALL.into_iter().find(|language| language.as_str() == text),
        };
        named.ok_or_else(|| LanguageError::Name { given: text.chars().take(40).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        for (name, text, language) in [
            ("a/b.ns", "", Language::Ns),
            ("b.tcl", "<", Language::Ns),
            ("x.YAML", "{}", Language::Yaml),
            ("x.yml", "", Language::Yaml),
            ("containers.json", " [{}]", Language::Containers),
            ("broken.json", "[{\"a\" 1}", Language::Containers),
            ("topology.json", "\u{feff}{\"nodes\": {}}", Language::Json),
            ("a.rspec", "<?xml version='1.0'?>\n<!-- <topology> -->\n<rspec xmlns='x'>", Language::Rspec),
            ("a.rspec", "nothing", Language::Rspec),
            ("a.xml", "<r:rspec/>", Language::Rspec),
            ("a.xml", "<experiment>", Language::Topdl),
            ("a.xml", "<!DOCTYPE x><topology/>", Language::Topdl),
            ("-", "set ns [new Simulator]", Language::Ns),
            ("-", "# x\nnodes:\n  a:\n", Language::Yaml),
            ("-", "{", Language::Json),
        ] {
            assert_eq!(Language::detect(name, text), Ok(language), "{name} {text}");
        }
        let unknown = Language::detect("x.txt", "hello").unwrap_err().to_string();
        assert!(unknown.contains("\"x.txt\" is in no language"), "{unknown}");
        let root = Language::detect("page.xml", "<html>").unwrap_err().to_string();
        assert!(root.contains("its root element \"html\""), "{root}");
        assert!(Language::detect("x", "<").is_err() && Language::detect("", "").is_err());
    }

    #[test]
    fn words() {
        for language in Language::ALL {
            assert_eq!(language.as_str().parse(), Ok(language));
        }
        assert!("topdll".parse::<Language>().unwrap_err().to_string().contains("did you mean topdl?"));
    }
}

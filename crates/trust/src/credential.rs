//! One `credential` element as a value.
//!
//! Children are found by name, in any order, each at most once: libabac writes them in another order than the schema.
//! Nothing is ever looked for deeper than where it belongs (am-api.md §3.1).

use jiff::Timestamp;
use testyard_model::time;
use testyard_xml::{Node, text_of};

use crate::abac::Statement;
use crate::pem::{self, PemError};
use crate::privilege::Privilege;
use crate::refusal::{Reason, Refusal, Step};

const KNOWN: [&str; 14] = [
    "type",
    "serial",
    "owner_gid",
    "owner_urn",
    "target_gid",
    "target_urn",
    "uuid",
    "expires",
    "privileges",
    "ticket",
    "capabilities",
    "abac",
    "extensions",
    "parent",
];
const MAX_PRIVILEGES: usize = 64;

/// A credential, unverified.
#[derive(Debug)]
pub(crate) struct Credential {
    pub(crate) expires: Timestamp,
    pub(crate) body: Body,
}

/// What kind of credential it is.
#[derive(Debug)]
pub(crate) enum Body {
    /// Rights of an owner over a target.
    Privilege(Rights),
    /// A statement of one key about another.
    Abac(Statement),
    /// A type that nothing is done with here.
    Other,
}

/// The content of a privilege credential.
#[derive(Debug)]
pub(crate) struct Rights {
    pub(crate) owner: Holder,
    pub(crate) target: Holder,
    pub(crate) privileges: Vec<Privilege>,
}

/// A GID and the URN that stands beside it for information.
#[derive(Debug)]
pub(crate) struct Holder {
    /// DER of each certificate of the GID.
    pub(crate) gid: Result<Vec<Vec<u8>>, PemError>,
    pub(crate) urn: Option<String>,
}

pub(crate) fn shape<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(Step::Shape, Reason::Shape, message))
}

/// The children of an element, each of which is in no namespace and may be there once.
pub(crate) struct Fields<'a, 'input> {
    parent: &'a str,
    found: Vec<(&'a str, Node<'a, 'input>)>,
}

impl<'a, 'input: 'a> Fields<'a, 'input> {
    /// Reads the children of `node`; all must be of `known`, and only those of `many` may be repeated.
    pub(crate) fn of(node: Node<'a, 'input>, known: &[&str], many: &[&str]) -> Result<Self, Refusal> {
        let parent = node.tag_name().name();
        let mut found: Vec<(&str, Node<'_, '_>)> = Vec::new();
        for child in node.children().filter(Node::is_element) {
            let name = child.tag_name().name();
            if child.tag_name().namespace().is_some() || !known.contains(&name) {
                return shape(format!("{parent} holds an element that does not belong there"));
            }
            if !many.contains(&name) && found.iter().any(|(other, _)| *other == name) {
                return shape(format!("{parent} holds more than one {name}"));
            }
            found.push((name, child));
        }
        Ok(Self { parent, found })
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = Node<'a, 'input>> {
        self.found.iter().filter(move |(other, _)| *other == name).map(|(_, node)| *node)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Node<'a, 'input>> {
        self.all(name).next()
    }

    pub(crate) fn need(&self, name: &str) -> Result<Node<'a, 'input>, Refusal> {
        match self.get(name) {
            Some(node) => Ok(node),
            None => shape(format!("{} has no {name}", self.parent)),
        }
    }

    /// The text of a child that holds nothing else, without white space around it.
    pub(crate) fn text(&self, name: &str) -> Result<String, Refusal> {
        text(self.need(name)?)
    }
}

fn text(node: Node<'_, '_>) -> Result<String, Refusal> {
    match node.children().any(|child| child.is_element()) {
        true => shape(format!("{} holds elements", node.tag_name().name())),
        false => Ok(text_of(node).trim().to_owned()),
    }
}

impl Credential {
    /// Reads a `credential` element, without its parent.
    pub(crate) fn read(node: Node<'_, '_>) -> Result<Self, Refusal> {
        let fields = Fields::of(node, &KNOWN, &["extensions"])?;
        let kind = fields.text("type")?.to_ascii_lowercase();
        let Ok(expires) = time::parse(&fields.text("expires")?) else {
            return shape("expires is not a time");
        };
        let body = match kind.as_str() {
            "privilege" => Body::Privilege(Rights {
                owner: Holder::read(&fields, "owner_gid", "owner_urn")?,
                target: Holder::read(&fields, "target_gid", "target_urn")?,
                privileges: privileges(fields.need("privileges")?)?,
            }),
            "abac" => match fields.get("abac") {
                Some(node) => Body::Abac(Statement::read(node)?),
                None => Body::Other,
            },
            _ => Body::Other,
        };
        Ok(Self { expires, body })
    }

    pub(crate) fn rights(&self) -> Option<&Rights> {
        match &self.body {
            Body::Privilege(rights) => Some(rights),
            _ => None,
        }
    }
}

impl Holder {
    fn read(fields: &Fields<'_, '_>, gid: &str, urn: &str) -> Result<Self, Refusal> {
        let gid = pem::certificates(&fields.text(gid)?);
        if gid == Err(PemError::TooLarge) {
            return Err(Refusal::new(Step::Size, Reason::Limit, "a GID is too large"));
        }
        // An empty element says nothing.
        let urn = fields.get(urn).map(text).transpose()?.filter(|urn| !urn.is_empty());
        Ok(Self { gid, urn })
    }
}

/// The parent credential inside a credential, if it has one.
pub(crate) fn parent<'a, 'input>(node: Node<'a, 'input>) -> Result<Option<Node<'a, 'input>>, Refusal> {
    let Some(parent) = Fields::of(node, &KNOWN, &["extensions"])?.get("parent") else {
        return Ok(None);
    };
    Fields::of(parent, &["credential"], &[])?.need("credential").map(Some)
}

fn privileges(node: Node<'_, '_>) -> Result<Vec<Privilege>, Refusal> {
    let mut list = Vec::new();
    for privilege in Fields::of(node, &["privilege"], &["privilege"])?.all("privilege") {
        let fields = Fields::of(privilege, &["name", "can_delegate"], &[])?;
        let can_delegate = match fields.get("can_delegate").map(text).transpose()?.as_deref() {
            Some("1" | "true") => true,
            // What nobody said may not be done.
            Some("0" | "false") | None => false,
            Some(_) => return shape("can_delegate is neither true nor false"),
        };
        list.push(Privilege { name: fields.text("name")?, can_delegate });
    }
    match list.len() > MAX_PRIVILEGES {
        true => Err(Refusal::new(Step::Size, Reason::Limit, "there are too many privileges")),
        false => Ok(list),
    }
}

//! A statement of a file, and what may become of it.

use testyard_model::diagnostic::Position;
use testyard_model::suggest::closest;

use super::commands::Entry;
use super::drafts::Object;

/// What is wrong with a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    /// A mistake of the file's: it is refused.
    Error {
        /// What.
        message: String,
        /// What to do about it.
        suggestion: Option<String>,
    },
    /// It speaks of an object that another statement failed to make, which has been told already.
    Broken(String),
}

impl Complaint {
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self::Error { message: message.into(), suggestion: None }
    }

    pub(super) fn suggest(self, text: impl Into<String>) -> Self {
        match self {
            Self::Error { message, .. } => Self::Error { message, suggestion: Some(text.into()) },
            broken @ Self::Broken(_) => broken,
        }
    }

    pub(super) fn like<'a>(self, given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match closest(given, candidates) {
            Some(meant) => self.suggest(format!("did you mean {meant}?")),
            None => self,
        }
    }
}

/// What became of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// What its row of the table says.
    AsListed,
    /// Taken as near as can be, in this case.
    Approximated(String),
    /// Taken as near as can be, and perhaps not as it was meant: a warning.
    Doubtful(String),
    /// Not taken, in this case.
    Ignored(String),
    /// What becomes of it is told when all of the file is read.
    Later,
}

/// A statement.
pub(super) struct Call<'c> {
    pub(super) position: Option<Position>,
    pub(super) entry: &'static Entry,
    /// What it is called on.
    pub(super) object: Object,
    pub(super) arguments: &'c [String],
    /// The name of the object that it makes.
    pub(super) made: Option<&'c str>,
}

impl<'c> Call<'c> {
    /// The arguments, which must be so many.
    pub(super) fn exactly<const N: usize>(&self) -> Result<[&'c str; N], Complaint> {
        let given: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        given.try_into().map_err(|given: Vec<&str>| self.wants(given.len()))
    }

    /// The first arguments, and the rest.
    pub(super) fn at_least<const N: usize>(&self) -> Result<([&'c str; N], &'c [String]), Complaint> {
        let count = self.arguments.len();
        let (first, rest) = self.arguments.split_at_checked(N).ok_or_else(|| self.wants(count))?;
        let first: Vec<&str> = first.iter().map(String::as_str).collect();
        Ok((first.try_into().map_err(|_| self.wants(count))?, rest))
    }

    fn wants(&self, count: usize) -> Complaint {
        let plural = if count == 1 { "" } else { "s" };
        Complaint::error(format!("{} has {count} argument{plural}", self.entry.title())).suggest(
            format!("write it like {} {}", self.entry.title(), self.entry.form).trim_end().to_owned(),
        )
    }

    /// The node that it is called on.
    pub(super) fn node(&self) -> Result<usize, Complaint> {
        match self.object {
            Object::Node(node) => Ok(node),
            _ => Err(Complaint::Broken("its node could not be made".to_owned())),
        }
    }

    /// The link or LAN that it is called on.
    pub(super) fn link(&self) -> Result<usize, Complaint> {
        match self.object {
            Object::Link(link) => Ok(link),
            _ => Err(Complaint::Broken("its link could not be made".to_owned())),
        }
    }
}

/// A text of the file, for a message.
pub(super) fn short(text: &str) -> String {
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

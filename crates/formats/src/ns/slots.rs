//! What a file may say once of a thing: that it says it again, and otherwise, is told.

use std::collections::HashMap;

use testyard_model::diagnostic::{Position, Severity};

use super::call::{Call, short};
use super::reader::Reader;

/// What is said; numbers are places in the reader's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    Address { link: usize, member: usize },
    Netmask(usize),
    Routing,
    Kind(usize),
    Image(usize),
    Start(usize),
    Failure(usize),
    Host(usize),
}

impl Slot {
    /// Saying it of all nodes and then otherwise of one is how such files are written; of these it is hardly meant.
    const fn severity(self) -> Severity {
        match self {
            Self::Address { .. } | Self::Netmask(_) | Self::Routing => Severity::Warning,
            Self::Kind(_) | Self::Image(_) | Self::Start(_) | Self::Failure(_) | Self::Host(_) => {
                Severity::Notice
            }
        }
    }
}

/// What was said last.
#[derive(Clone, Debug)]
struct Said {
    position: Option<Position>,
    command: String,
    value: String,
}

/// All that was said.
#[derive(Debug, Default)]
pub(super) struct Slots {
    said: HashMap<Slot, Said>,
}

impl Reader<'_> {
    /// A statement says this of a thing. The one before it has no effect any more.
    pub(super) fn say(&mut self, call: &Call<'_>, slot: Slot, value: &str) {
        let (position, command) = (call.position, call.entry.title());
        let said = Said { position, command, value: value.to_owned() };
        let Some(before) = self.slots.said.insert(slot, said) else { return };
        if before.value == value {
            return;
        }
        let of = before.position.map(|at| format!(" of line {}", at.line)).unwrap_or_default();
        let text = format!("{} takes the place of {}{of}", short(value), short(&before.value));
        self.tell(slot.severity(), position, text, None);
        let by = position.map(|at| format!(" by line {}", at.line)).unwrap_or_default();
        let is_in_effect = self.slots.said.values().any(|said| said.position == before.position);
        self.retract(before.position, &before.command, format!("replaced{by}"), is_in_effect);
    }
}

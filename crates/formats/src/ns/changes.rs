//! Events that change queues. NS sets one variable at a time, and the rest of the queue is what earlier events have made of
//! it: earlier by time, not by place in the file.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use testyard_model::diagnostic::Position;
use testyard_model::impairment::{Impairment, Queue};
use testyard_model::quantity::Span;
use testyard_model::schedule::{Action, Event};
use testyard_model::setting::Setting;

use super::call::{Complaint, Taken};
use super::queue::{NOT_RED, QueueDraft, is_of_red};
use super::reader::Reader;

/// What an event does to queues of a link.
pub(super) struct Change {
    /// Its number among the events.
    event: usize,
    position: Option<Position>,
    link: usize,
    members: Range<usize>,
    what: What,
}

enum What {
    /// A variable is set.
    Variable(String, String),
    /// All of it is said (`testyard:set queue=…`).
    Whole(Option<Queue>),
}

impl Change {
    /// What an event, by its number and place, with these words does to queues of a link; none if nothing.
    pub(super) fn of(
        (event, position): (usize, Option<Position>),
        (link, members): (usize, Range<usize>),
        words: &[String],
        action: &Action,
    ) -> Option<Self> {
        let Action::LinkSet { settings, .. } = action else { return None };
        let queue = settings.iter().rev().find_map(|setting| match setting {
            Setting::Queue(queue) => Some(*queue),
            _ => None,
        })?;
        let what = match words {
            [set, variable, value] if set == "set" => What::Variable(variable.clone(), value.clone()),
            _ => What::Whole(queue),
        };
        Some(Self { event, position, link, members, what })
    }
}

/// Gives each event what the queue is by then, and tells what became of statements that mean something to RED alone.
pub(super) fn settle(reader: &mut Reader<'_>, events: &mut [Event], mut changes: Vec<Change>) {
    // Those of one time in the order of the file.
    changes.sort_by_key(|change| events[change.event].at);
    let mut queues: HashMap<(usize, usize), QueueDraft> = HashMap::new();
    // Of several changes at one time only what comes of them all is ever there.
    let mut by_then: HashMap<(Span, usize, usize), Queue> = HashMap::new();
    let mut ever_red: HashSet<(usize, usize)> = HashSet::new();
    for change in &changes {
        for member in change.members.clone() {
            let at = (change.link, member);
            let before = || reader.links[at.0].members[at.1].queue.clone().unwrap_or_default();
            let queue = queues.entry(at).or_insert_with(before);
            match &change.what {
                // It was set once already, so it can be.
                What::Variable(variable, value) => {
                    let _ = queue.set(variable, value);
                }
                What::Whole(whole) => *queue = whole.map(QueueDraft::of).unwrap_or_default(),
            }
            if queue.is_red() {
                ever_red.insert(at);
            }
            by_then.insert((events[change.event].at, at.0, at.1), queue.queue());
        }
    }
    for change in &changes {
        let What::Variable(variable, _) = &change.what else { continue };
        let member = change.members.start;
        let event = &mut events[change.event];
        let Some(queue) = by_then.get(&(event.at, change.link, member)).copied() else { continue };
        if let Action::LinkSet { settings, .. } = &mut event.action {
            *settings = vec![Setting::Queue(Some(queue))];
        }
        let whole = Impairment { queue: Some(queue), ..Impairment::default() };
        if let Err(error) = whole.check() {
            reader.complain(change.position, Complaint::error(error.to_string()));
        }
        let was_red =
            reader.links[change.link].members[member].queue.as_ref().is_some_and(QueueDraft::is_red);
        let has_effect = !is_of_red(variable) || was_red || ever_red.contains(&(change.link, member));
        let taken = if has_effect { Taken::AsListed } else { Taken::Ignored(NOT_RED.to_owned()) };
        reader.conclude(change.position, "event queue set".to_owned(), taken);
    }
    for link in 0..reader.links.len() {
        for member in 0..reader.links[link].members.len() {
            let Some(queue) = &mut reader.links[link].members[member].queue else { continue };
            let has_effect = queue.is_red() || ever_red.contains(&(link, member));
            let taken = if has_effect { Taken::AsListed } else { Taken::Ignored(NOT_RED.to_owned()) };
            for position in std::mem::take(&mut queue.of_red) {
                reader.conclude(position, "$queue set".to_owned(), taken.clone());
            }
        }
    }
}

//! What happens when: `$ns at`, sequences, timelines and groups.

use testyard_model::diagnostic::Position;
use testyard_model::link::LinkKind;
use testyard_model::quantity::Span;
use testyard_model::schedule::{Action, Event, MOST_EVENTS};
use testyard_model::setting::Setting;

use super::call::{Call, Complaint, Taken, short};
use super::changes::{self, Change};
use super::drafts::{Composite, Object};
use super::finish::Names;
use super::programs::program_options;
use super::queue::QueueDraft;
use super::reader::Reader;
use super::units;
use super::words::{statements, words};
use crate::import::Treatment;

type Outcome = Result<Taken, Complaint>;

/// An event as the file gives it: names in it may not be final yet.
pub(super) struct Scheduled {
    position: Option<Position>,
    at: Span,
    words: Vec<String>,
}

/// Our own event of links and directions of them, which can change everything: each argument is a setting.
const SET: &str = "testyard:set";
/// How deep groups may be in groups.
const DEPTH: usize = 8;

/// `$ns at TIME "OBJECT EVENT ARGUMENTS; …"`.
pub(super) fn at(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [time, text] = call.exactly()?;
    if time == "swapout" {
        return Ok(Taken::Ignored("nothing is run when a slice ends".to_owned()));
    }
    let at = units::time(time)?;
    let given = statements(text);
    if given.is_empty() {
        return Err(Complaint::error("the event is empty").suggest("write it like $ns at 10 \"$link0 down\""));
    }
    let position = call.position;
    reader.scheduled.extend(given.into_iter().map(|words| Scheduled { position, at, words }));
    Ok(Taken::AsListed)
}

fn composite(reader: &mut Reader<'_>, call: &Call<'_>, composite: Composite) -> Outcome {
    reader.made(call, Object::Composite(reader.composites.len()));
    reader.composites.push(composite);
    Ok(Taken::AsListed)
}

pub(super) fn sequence(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let steps = call.arguments.iter().flat_map(|list| statements(list)).flat_map(steps).collect();
    composite(reader, call, Composite::Sequence(steps))
}

/// The events of one line of a sequence: each in quotes, or the whole line is one.
fn steps(line: Vec<String>) -> Vec<String> {
    if line.iter().all(|word| word.contains(' ')) {
        return line;
    }
    // A single word is the simulator, which old forms have in front.
    if line.len() < 2 {
        return Vec::new();
    }
    let quote = |word: &String| if word.contains([' ', ';']) { format!("{{{word}}}") } else { word.clone() };
    vec![line.iter().map(quote).collect::<Vec<_>>().join(" ")]
}

pub(super) fn timeline(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    composite(reader, call, Composite::Timeline(Vec::new()))
}

pub(super) fn group(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let members = call.arguments.iter().flat_map(|list| words(list));
    let members = members.filter(|name| reader.object(name) != Some(Object::Simulator)).collect();
    composite(reader, call, Composite::Group(members))
}

/// `$sequence append EVENT`, `$timeline at TIME EVENT`, `$group add MEMBER`.
pub(super) fn extend(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let Object::Composite(which) = call.object else {
        return Err(Complaint::Broken("its group of events could not be made".to_owned()));
    };
    match &mut reader.composites[which] {
        Composite::Sequence(steps) => {
            let [step] = call.exactly()?;
            steps.push(step.to_owned());
        }
        Composite::Timeline(events) => {
            let [time, event] = call.exactly()?;
            units::time(time)?;
            events.push((time.to_owned(), event.to_owned()));
        }
        Composite::Group(members) => members.extend(call.arguments.iter().flat_map(|list| words(list))),
    }
    Ok(Taken::AsListed)
}

/// The schedule, once all names are final.
pub(super) fn schedule(reader: &mut Reader<'_>, names: &Names) -> Vec<Event> {
    let mut made = Made::default();
    for scheduled in std::mem::take(&mut reader.scheduled) {
        expand(reader, names, &scheduled, 0, &mut made);
    }
    let Made { mut events, changes, .. } = made;
    changes::settle(reader, &mut events, changes);
    events
}

/// Events, and those of them that change queues.
#[derive(Default)]
struct Made {
    events: Vec<Event>,
    changes: Vec<Change>,
    /// There are more than there may be.
    is_full: bool,
}

fn expand(reader: &mut Reader<'_>, names: &Names, scheduled: &Scheduled, depth: usize, made: &mut Made) {
    let Scheduled { position, at, words } = scheduled;
    let (name, rest) = words.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let event = rest.first().map_or("", String::as_str);
    if depth > DEPTH {
        reader.complain(*position, Complaint::error("groups of events contain each other"));
        return;
    }
    if made.events.len() >= MOST_EVENTS {
        // What follows is too many as well, and is told once.
        if !std::mem::replace(&mut made.is_full, true) {
            reader.complain(*position, Complaint::error(format!("more than {MOST_EVENTS} events")));
        }
        return;
    }
    let mut go_on = |reader: &mut Reader<'_>, at: Span, words: Vec<String>| {
        expand(reader, names, &Scheduled { position: *position, at, words }, depth + 1, made);
    };
    if let Some(Object::Composite(which)) = reader.object(name) {
        match (&reader.composites[which], event) {
            (Composite::Group(members), _) => {
                for member in members.clone() {
                    let words = std::iter::once(member).chain(rest.iter().cloned()).collect();
                    go_on(reader, *at, words);
                }
            }
            (Composite::Sequence(steps), "start" | "run") => {
                for step in steps.clone() {
                    for words in statements(&step) {
                        go_on(reader, *at, words);
                    }
                }
            }
            (Composite::Timeline(parts), "start" | "run") => {
                for (time, part) in parts.clone() {
                    let at = at.plus(units::time(&time).unwrap_or_default());
                    for words in statements(&part) {
                        go_on(reader, at, words);
                    }
                }
            }
            _ => ignore(reader, *position, "group", event),
        }
        return;
    }
    // Of a whole link some settings are events of NS's own, one each: then so are all, or a file that is read and written
    // again might say more events than before.
    if event == SET && rest.len() > 2 && matches!(reader.object(name), Some(Object::Link(_))) {
        for setting in &rest[1..] {
            go_on(reader, *at, vec![name.to_owned(), SET.to_owned(), setting.clone()]);
        }
        return;
    }
    match one(reader, names, name, event, rest.get(1..).unwrap_or_default()) {
        Ok(Some((kind, action, taken))) => {
            let (link, member) = match reader.object(name) {
                Some(Object::Link(link)) => (Some(link), None),
                Some(Object::Half { link, member } | Object::Queue { link, member }) => {
                    (Some(link), Some(member))
                }
                _ => (None, None),
            };
            let change = link.and_then(|link| {
                let members = member.map_or(0..reader.links[link].members.len(), |one| one..one + 1);
                Change::of((made.events.len(), *position), (link, members), rest, &action)
            });
            made.changes.extend(change);
            made.events.push(Event { at: *at, action });
            reader.conclude(*position, format!("event {kind} {event}"), taken);
        }
        Ok(None) => {
            let kind = reader.object(name).map_or("", |object| object.kind(reader));
            let kind = kind.rsplit(' ').next().unwrap_or_default().to_owned();
            ignore(reader, *position, &kind, event);
        }
        Err(Complaint::Broken(_)) => ignore(reader, *position, "object", event),
        Err(error) => reader.complain(*position, error),
    }
}

fn ignore(reader: &mut Reader<'_>, position: Option<Position>, kind: &str, event: &str) {
    let note = "there is no such event here".to_owned();
    reader.file(
        position,
        format!("event {kind} {}", short(event)).trim_end().to_owned(),
        Treatment::Ignored,
        Some(note),
    );
}

fn settings(arguments: &[String]) -> Result<Vec<Setting>, Complaint> {
    if arguments.is_empty() {
        return Err(
            Complaint::error("testyard:set changes nothing").suggest("write it like testyard:set delay=50ms")
        );
    }
    arguments
        .iter()
        .map(|setting| setting.parse().map_err(|error| Complaint::error(format!("{error}"))))
        .collect()
}

type Done = Option<(&'static str, Action, Taken)>;

/// One event of one object; none if it has none such.
fn one(
    reader: &mut Reader<'_>,
    names: &Names,
    name: &str,
    event: &str,
    arguments: &[String],
) -> Result<Done, Complaint> {
    let first = || {
        arguments
            .first()
            .map(String::as_str)
            .ok_or_else(|| Complaint::error(format!("event {event} lacks its value")))
    };
    match reader.object(name) {
        Some(Object::Link(link)) => {
            let id = || names.links[link].clone();
            let setting = match event {
                "up" => return Ok(Some(("link", Action::LinkUp(id()), Taken::AsListed))),
                "down" => return Ok(Some(("link", Action::LinkDown(id()), Taken::AsListed))),
                "bandwidth" => Setting::Rate(units::rate(first()?)?),
                "delay" => Setting::Delay(units::event_delay(first()?)?),
                "plr" => Setting::Loss(units::loss(first()?)?),
                SET => {
                    let settings = settings(arguments)?;
                    let action = Action::LinkSet { link: id(), from: None, settings };
                    return Ok(Some(("link", action, Taken::AsListed)));
                }
                _ => return Ok(None),
            };
            let action = Action::LinkSet { link: id(), from: None, settings: vec![setting] };
            if reader.links[link].kind != LinkKind::Lan {
                return Ok(Some(("link", action, Taken::AsListed)));
            }
            let [delay, loss, rate] = reader.lan_events.entry(link).or_default();
            match setting {
                Setting::Delay(_) => *delay = true,
                Setting::Loss(_) => *loss = true,
                _ => *rate = true,
            }
            Ok(Some((
                "link",
                action,
                Taken::Approximated(
                    "on a LAN it is set for what each node sends, the way back is clear".to_owned(),
                ),
            )))
        }
        Some(Object::Half { link, member } | Object::Queue { link, member }) => {
            let from = Some(names.interfaces[link][member].clone());
            let setting = match (event, arguments) {
                (SET, _) => {
                    let (link, settings) = (names.links[link].clone(), settings(arguments)?);
                    return Ok(Some(("queue", Action::LinkSet { link, from, settings }, Taken::AsListed)));
                }
                ("set", [variable, value]) => {
                    let mut queue = QueueDraft::default();
                    if !queue.set(variable, value)? {
                        return Ok(None);
                    }
                    // What the queue is by then is known when all events are.
                    let settings = vec![Setting::Queue(Some(queue.queue()))];
                    let action = Action::LinkSet { link: names.links[link].clone(), from, settings };
                    return Ok(Some(("queue", action, Taken::Later)));
                }
                ("bandwidth", _) => Setting::Rate(units::rate(first()?)?),
                ("delay", _) => Setting::Delay(units::event_delay(first()?)?),
                ("plr", _) => Setting::Loss(units::loss(first()?)?),
                _ => return Ok(None),
            };
            let action = Action::LinkSet { link: names.links[link].clone(), from, settings: vec![setting] };
            Ok(Some(("queue", action, Taken::AsListed)))
        }
        Some(Object::Program(which)) => {
            let id = names.programs[which].clone();
            let action = match event {
                "start" | "run" => {
                    let mut program = reader.programs[which].program.clone();
                    let own = program.command.clone();
                    let mut taken = program_options(&mut program, arguments)?;
                    let command = Some(program.command).filter(|command| *command != own);
                    if arguments.iter().step_by(2).any(|option| option != "-command") {
                        let note = "only its command is changed; the rest stays the program's own";
                        taken = Taken::Approximated(note.to_owned());
                    }
                    return Ok(Some(("program", Action::ProgramStart { program: id, command }, taken)));
                }
                "stop" => Action::ProgramStop(id),
                "kill" => {
                    let signal = first().unwrap_or("TERM").trim_start_matches("SIG").to_uppercase();
                    if signal.is_empty() || !signal.bytes().all(|b| b.is_ascii_alphanumeric()) {
                        return Err(Complaint::error(format!("{:?} is no signal", short(&signal))));
                    }
                    Action::ProgramSignal { program: id, signal }
                }
                _ => return Ok(None),
            };
            Ok(Some(("program", action, Taken::AsListed)))
        }
        Some(Object::Node(node)) => {
            let id = names.nodes[node].clone();
            match event {
                "reboot" => Ok(Some(("node", Action::NodeRestart(id), Taken::AsListed))),
                "reload" => {
                    let taken = if arguments.is_empty() {
                        Taken::AsListed
                    } else {
                        Taken::Approximated("the node gets its own image, no other".to_owned())
                    };
                    Ok(Some(("node", Action::NodeReload(id), taken)))
                }
                _ => Ok(None),
            }
        }
        Some(Object::Broken) => Err(Complaint::Broken(String::new())),
        Some(_) => Ok(None),
        None => Err(Complaint::error(format!("there is nothing called {:?} for an event", short(name)))
            .suggest("write $ns at TIME \"$object event\"")),
    }
}

//! The state of a reading: what a file has made so far, and what there is to say about it.

use std::collections::{BTreeMap, HashMap, HashSet};

use testyard_model::diagnostic::{Diagnostic, Position, Severity};
use testyard_model::route::Routing;
use testyard_model::suggest::closest;
use testyard_model::topology::{OnFailure, Variable};

use super::call::{Call, Complaint, Taken, short};
use super::commands::{On, Words};
use super::drafts::{Composite, LinkDraft, NodeDraft, Object, ProgramDraft, StoreDraft};
use super::events::Scheduled;
use super::slots::Slots;
use crate::import::{Site, Statement, Treatment};

/// A reading.
pub(super) struct Reader<'a> {
    pub(super) site: &'a Site,
    words: Words,
    /// By the name that each was made under.
    objects: HashMap<String, Object>,
    /// By the name that the file gave.
    names: HashMap<String, String>,
    pub(super) nodes: Vec<NodeDraft>,
    pub(super) links: Vec<LinkDraft>,
    pub(super) programs: Vec<ProgramDraft>,
    pub(super) stores: Vec<StoreDraft>,
    pub(super) composites: Vec<Composite>,
    pub(super) scheduled: Vec<Scheduled>,
    pub(super) routing: Routing,
    pub(super) environment: Vec<Variable>,
    /// Kinds of hardware that the file made up, with those that may stand for each.
    pub(super) vtypes: BTreeMap<String, Vec<String>>,
    pub(super) on_failure: Option<OnFailure>,
    /// Installs of every node.
    pub(super) installs: Vec<testyard_model::service::Install>,
    /// LANs that events of NS's own change: whether their delay, loss, rate.
    pub(super) lan_events: HashMap<usize, [bool; 3]>,
    /// Of the last thing that the file does.
    pub(super) last: Option<Position>,
    pub(super) ran: bool,
    pub(super) simulator: bool,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) report: Vec<Statement>,
    pub(super) slots: Slots,
    told: HashSet<(Severity, Option<Position>, String)>,
    reported: HashSet<(Option<Position>, String, Treatment, Option<String>)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(site: &'a Site) -> Self {
        Self {
            site,
            words: Words::new(),
            objects: HashMap::new(),
            names: HashMap::new(),
            nodes: Vec::new(),
            links: Vec::new(),
            programs: Vec::new(),
            stores: Vec::new(),
            composites: Vec::new(),
            scheduled: Vec::new(),
            routing: Routing::None,
            environment: Vec::new(),
            vtypes: BTreeMap::new(),
            on_failure: None,
            installs: Vec::new(),
            lan_events: HashMap::new(),
            last: None,
            ran: false,
            simulator: false,
            diagnostics: Vec::new(),
            report: Vec::new(),
            slots: Slots::default(),
            told: HashSet::new(),
            reported: HashSet::new(),
        }
    }

    // === what there is to say ===

    pub(super) fn tell(
        &mut self,
        severity: Severity,
        position: Option<Position>,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        let message = message.into();
        // A statement in a loop is told once.
        if self.told.insert((severity, position, message.clone())) {
            self.diagnostics.push(Diagnostic { severity, position, message, suggestion });
        }
    }

    pub(super) fn warn(&mut self, position: Option<Position>, message: impl Into<String>) {
        self.tell(Severity::Warning, position, message, None);
    }

    pub(super) fn complain(&mut self, position: Option<Position>, complaint: Complaint) {
        if let Complaint::Error { message, suggestion } = complaint {
            self.tell(Severity::Error, position, message, suggestion);
        }
    }

    /// Files what became of a statement, and tells what is not honoured.
    pub(super) fn file(
        &mut self,
        position: Option<Position>,
        command: String,
        treatment: Treatment,
        note: Option<String>,
    ) {
        let (severity, verb) = match treatment {
            Treatment::Honoured => (None, ""),
            Treatment::Approximated => (Some(Severity::Notice), "is approximated"),
            Treatment::Ignored => (Some(Severity::Warning), "is ignored"),
        };
        if let (Some(severity), Some(note)) = (severity, &note) {
            self.tell(severity, position, format!("{command} {verb}: {note}"), None);
        }
        self.file_quietly(position, command, treatment, note);
    }

    /// Files what became of a statement in its case.
    pub(super) fn conclude(&mut self, position: Option<Position>, command: String, taken: Taken) {
        match taken {
            Taken::AsListed => self.file(position, command, Treatment::Honoured, None),
            Taken::Approximated(note) => self.file(position, command, Treatment::Approximated, Some(note)),
            Taken::Doubtful(note) => {
                self.warn(position, format!("{command} is approximated: {note}"));
                self.file_quietly(position, command, Treatment::Approximated, Some(note));
            }
            Taken::Ignored(note) => self.file(position, command, Treatment::Ignored, Some(note)),
            Taken::Later => {}
        }
    }

    /// Files what became of a statement that is told already, or elsewhere.
    pub(super) fn file_quietly(
        &mut self,
        position: Option<Position>,
        command: String,
        treatment: Treatment,
        note: Option<String>,
    ) {
        if self.reported.insert((position, command.clone(), treatment, note.clone())) {
            // Code that the file put together while it ran has no place: it is told, but it is on no line.
            let position = position.unwrap_or(Position { line: 0, column: 0 });
            self.report.push(Statement { position, command, treatment, note });
        }
    }

    /// What was filed of a statement is so no longer: of all of it, or where it stands in a loop of a part (`in_part`).
    pub(super) fn retract(&mut self, position: Option<Position>, command: &str, note: String, in_part: bool) {
        let at = position.unwrap_or(Position { line: 0, column: 0 });
        let is_it = |filed: &&mut Statement| {
            filed.position == at && filed.command == command && filed.treatment != Treatment::Ignored
        };
        match self.report.iter_mut().find(is_it) {
            Some(filed) if !in_part => (filed.treatment, filed.note) = (Treatment::Ignored, Some(note)),
            _ => self.file_quietly(position, command.to_owned(), Treatment::Ignored, Some(note)),
        }
    }

    // === statements ===

    /// A method of an object, by the name that it was made under.
    pub(super) fn call(
        &mut self,
        position: Option<Position>,
        (object, class, method): (&str, &str, &str),
        made: Option<&str>,
        arguments: &[String],
    ) {
        let target = self.objects.get(object).copied().unwrap_or(Object::Broken);
        let on = On::of_class(class);
        let Some((on, entry)) = on.and_then(|on| Some((on, self.words.method(on, method)?))) else {
            if let Some(made) = made {
                self.objects.insert(made.to_owned(), Object::Broken);
            }
            match on {
                Some(on) => self.unknown_method(position, on, method),
                None => self.file_quietly(
                    position,
                    format!("$object {method}"),
                    Treatment::Ignored,
                    Some("its object is of no known kind".to_owned()),
                ),
            }
            return;
        };
        debug_assert_eq!(entry.on, on);
        self.perform(&Call { position, entry, object: target, arguments, made });
    }

    fn unknown_method(&mut self, position: Option<Position>, on: On, method: &str) {
        let command = format!("{} {}", on.title(), short(method));
        let suggestion =
            closest(method, self.words.methods(on)).map(|meant| format!("did you mean {meant}?"));
        self.tell(Severity::Warning, position, format!("{command} is unknown, and ignored"), suggestion);
        self.file_quietly(position, command, Treatment::Ignored, Some("it is unknown".to_owned()));
    }

    /// An object of a class.
    pub(super) fn make(&mut self, position: Option<Position>, class: &str, made: &str, arguments: &[String]) {
        self.objects.insert(made.to_owned(), Object::Broken);
        match self.words.class(class) {
            Some(entry) => {
                self.perform(&Call { position, entry, object: Object::Broken, arguments, made: Some(made) });
            }
            None => {
                let command = format!("new {}", short(class));
                let suggestion =
                    closest(class, self.words.classes()).map(|meant| format!("did you mean {meant}?"));
                self.tell(
                    Severity::Warning,
                    position,
                    format!("{command} is unknown, and ignored"),
                    suggestion,
                );
                self.file_quietly(position, command, Treatment::Ignored, Some("it is unknown".to_owned()));
            }
        }
    }

    /// A command.
    pub(super) fn command(&mut self, position: Option<Position>, name: &str, arguments: &[String]) {
        if let Some(entry) = self.words.command(name) {
            self.perform(&Call { position, entry, object: Object::Broken, arguments, made: None });
        }
    }

    fn perform(&mut self, call: &Call<'_>) {
        if let Some(made) = call.made {
            self.objects.insert(made.to_owned(), Object::Broken);
        }
        let title = call.entry.title();
        if self.ran && call.entry.name != "run" {
            self.file(call.position, title, Treatment::Ignored, Some("it comes after $ns run".to_owned()));
            return;
        }
        let listed = || Some(call.entry.note.to_owned()).filter(|note| !note.is_empty());
        let taken = match call.entry.handler {
            Some(handler) => handler(self, call),
            None => Ok(Taken::AsListed),
        };
        match taken {
            Ok(Taken::AsListed) => {
                // What the table says of an honoured statement is for those who write one.
                let note = listed().filter(|_| call.entry.treatment != Treatment::Honoured);
                self.file(call.position, title, call.entry.treatment, note);
            }
            Ok(taken) => self.conclude(call.position, title, taken),
            Err(Complaint::Broken(note)) => {
                self.file_quietly(call.position, title, Treatment::Ignored, Some(note));
            }
            Err(error) => {
                self.complain(call.position, error);
                self.file_quietly(call.position, title, Treatment::Ignored, Some("it is wrong".to_owned()));
            }
        }
    }

    // === names ===

    /// Says what the object that a statement makes is.
    pub(super) fn made(&mut self, call: &Call<'_>, object: Object) {
        if let Some(made) = call.made {
            self.objects.insert(made.to_owned(), object);
        }
    }

    /// An object has been named.
    pub(super) fn name(&mut self, object: &str, name: &str) {
        match self.objects.get(object) {
            Some(Object::Node(node)) => self.nodes[*node].name = name.to_owned(),
            Some(Object::Link(link)) => self.links[*link].name = name.to_owned(),
            Some(Object::Program(program)) => self.programs[*program].name = name.to_owned(),
            _ => {}
        }
        self.names.insert(name.to_owned(), object.to_owned());
    }

    /// What a name stands for. A text that was not substituted (`{$prog start}`) may have its dollar still.
    pub(super) fn object(&self, name: &str) -> Option<Object> {
        let find = |name: &str| {
            let object = self.names.get(name).map_or(name, String::as_str);
            self.objects.get(object).copied()
        };
        find(name).or_else(|| find(&name.strip_prefix('$')?.replace('(', "-").replace(')', "")))
    }

    pub(super) fn node(&self, name: &str) -> Result<usize, Complaint> {
        match self.object(name) {
            Some(Object::Node(node)) => Ok(node),
            other => Err(self.no("node", name, other, self.nodes.iter().map(|node| node.name.as_str()))),
        }
    }

    /// A link or a LAN.
    pub(super) fn link(&self, name: &str) -> Result<usize, Complaint> {
        match self.object(name) {
            Some(Object::Link(link)) => Ok(link),
            other => {
                Err(self.no("link or LAN", name, other, self.links.iter().map(|link| link.name.as_str())))
            }
        }
    }

    fn no<'n>(
        &self,
        what: &str,
        name: &str,
        found: Option<Object>,
        candidates: impl Iterator<Item = &'n str>,
    ) -> Complaint {
        match found {
            Some(Object::Broken) => Complaint::Broken(format!("there is no {} to do it to", short(name))),
            Some(other) => Complaint::error(format!("{} is {}, no {what}", short(name), other.kind(self))),
            None => Complaint::error(format!("there is no {what} {:?}", short(name))).like(name, candidates),
        }
    }

    /// The first port of a node on a link.
    pub(super) fn member(&self, node: usize, link: usize) -> Result<usize, Complaint> {
        self.links[link].members.iter().position(|member| member.node == node).ok_or_else(|| {
            let (node, link) = (&self.nodes[node].name, &self.links[link]);
            let members: Vec<&str> =
                link.members.iter().map(|member| self.nodes[member.node].name.as_str()).collect();
            Complaint::error(format!("{node} is not on {}", link.name))
                .suggest(format!("its nodes are {}", members.join(", ")))
        })
    }

    /// The last link or LAN made that two nodes share.
    pub(super) fn between(&self, from: usize, to: usize) -> Result<usize, Complaint> {
        let has = |link: &LinkDraft, node| link.members.iter().any(|member| member.node == node);
        self.links.iter().rposition(|link| has(link, from) && has(link, to)).ok_or_else(|| {
            Complaint::error(format!(
                "there is no link between {} and {}",
                self.nodes[from].name, self.nodes[to].name
            ))
        })
    }
}

//! Where questions of the node's programs and answers of the agent meet.
//!
//! ```text
//! server ── ask("manifest") ─► open question ─── unsent ─► link ──► agent
//! server ◄─ take_told ──────── told ◄──────────────────── link ◄── agent
//! ```
//!
//! There is one open question of a kind at most: who asks the same meanwhile waits for the same answer. So a flood of
//! questions in the node is a few questions to the agent.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use testyard_guest_protocol::{Answer, Ask, Desired, Facts, Told};

/// A question that the agent has not answered by then is asked anew by the next who wants to know.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The desk.
#[derive(Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    /// Wakes the server; one byte a wake-up.
    bell: OnceLock<UnixStream>,
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    /// The agent of this stream has said what it answers.
    ready: bool,
    questions: BTreeMap<&'static str, Question>,
    last: u64,
    told: Vec<(u64, Arc<Answer>)>,
}

/// What came with the desired state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Known {
    pub(super) facts: Facts,
    /// Logins with their public keys.
    pub(super) keys: Vec<(String, Vec<String>)>,
}

struct Question {
    id: u64,
    since: Instant,
    sent: bool,
}

/// Why the agent is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotAsked {
    /// It has said nothing yet, or is too old for this.
    NothingKnown,
    /// It does not answer this.
    NotAnswered,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === for the link ===

    /// Notes what the desired state says.
    pub(crate) fn learn(&self, desired: &Desired) {
        let keys =
            desired.accounts.iter().map(|account| (account.login.clone(), account.keys.clone())).collect();
        let mut state = self.lock();
        state.known = desired.facts.clone().map(|facts| Known { facts, keys });
        state.ready = state.known.is_some();
    }

    /// The stream has been made anew: what was asked on the old one is asked again, once the agent has said that it
    /// answers.
    pub(crate) fn reconnected(&self) {
        let mut state = self.lock();
        state.ready = false;
        state.questions.values_mut().for_each(|question| question.sent = false);
    }

    /// The next question to send.
    pub(crate) fn unsent(&self) -> Option<Ask> {
        let mut state = self.lock();
        let what = state.to_send()?;
        let question = state.questions.get_mut(what)?;
        question.sent = true;
        Some(Ask { id: question.id, what: what.to_owned() })
    }

    /// Whether there is a question to send.
    pub(crate) fn has_unsent(&self) -> bool {
        self.lock().to_send().is_some()
    }

    /// An answer. What nobody waits for is dropped.
    pub(crate) fn tell(&self, told: Told) {
        let mut state = self.lock();
        let before = state.questions.len();
        state.questions.retain(|_, question| question.id != told.id);
        if state.questions.len() < before {
            state.told.push((told.id, Arc::new(told.answer)));
            drop(state);
            self.ring();
        }
    }

    // === for the server ===

    /// Where a byte arrives whenever there is an answer. Only the first who asks gets it.
    pub(super) fn bell(&self) -> std::io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        self.bell.set(ours).map_err(|_| std::io::ErrorKind::AlreadyExists)?;
        Ok(theirs)
    }

    fn ring(&self) {
        if let Some(mut bell) = self.bell.get() {
            // One that is full has been rung enough.
            let _ = bell.write(&[0]);
        }
    }

    pub(super) fn known(&self) -> Option<Known> {
        self.lock().known.clone()
    }

    /// Asks the agent, or joins who has asked already; the number of the question.
    pub(super) fn ask(&self, what: &'static str, now: Instant) -> Result<u64, NotAsked> {
        let mut state = self.lock();
        // A question that is open stays open while the agent is away for a moment.
        if let Some(question) = state.questions.get(what).filter(|q| now.duration_since(q.since) < PATIENCE) {
            return Ok(question.id);
        }
        if !state.known.as_ref().ok_or(NotAsked::NothingKnown)?.answers(what) {
            return Err(NotAsked::NotAnswered);
        }
        state.last += 1;
        let id = state.last;
        state.questions.insert(what, Question { id, since: now, sent: false });
        Ok(id)
    }

    /// Answers that have come since this was last called.
    pub(super) fn take_told(&self) -> Vec<(u64, Arc<Answer>)> {
        std::mem::take(&mut self.lock().told)
    }
}

// === impl State ===

impl State {
    fn to_send(&self) -> Option<&'static str> {
        let known = self.known.as_ref().filter(|_| self.ready)?;
        self.questions
            .iter()
            .find(|(what, question)| !question.sent && known.answers(what))
            .map(|(what, _)| *what)
    }
}

// === impl Known ===

impl Known {
    /// Whether the agent answers this.
    fn answers(&self, what: &str) -> bool {
        self.facts.asks.iter().any(|ask| ask == what)
    }

    /// The accounts with their public keys, as other testbeds' `geni_user` gives them; the login is ours.
    pub(super) fn users(&self) -> String {
        let user = |(login, keys): &(String, Vec<String>)| {
            let urn = self.facts.users.iter().find(|user| user.login == *login).map(|user| user.urn.as_str());
            serde_json::json!({ "urn": urn.unwrap_or_default(), "login": login, "keys": keys })
        };
        serde_json::Value::Array(self.keys.iter().map(user).collect()).to_string()
    }

    /// The first address of the control interface that is one of these.
    pub(super) fn address(&self, is: impl Fn(&IpAddr) -> bool) -> String {
        self.facts.addresses.iter().find(|address| is(address)).map(ToString::to_string).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testyard_guest_protocol::{Account, FactUser};

    fn desired() -> Desired {
        let facts = Facts {
            users: vec![FactUser { login: "ann".into(), urn: "urn:ann".into() }],
            addresses: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            asks: vec!["manifest".into(), "status".into()],
            ..Facts::default()
        };
        let ann = Account { login: "ann".into(), keys: vec!["ssh-ed25519 AA \"x\"".into()], sudo: false };
        Desired { facts: Some(facts), accounts: vec![ann], ..Desired::default() }
    }

    #[test]
    fn many_ask_and_the_agent_is_asked_once() {
        let (desk, now) = (Desk::default(), Instant::now());
        assert_eq!(desk.ask("status", now), Err(NotAsked::NothingKnown));
        desk.learn(&desired());
        assert_eq!(desk.ask("getversion", now), Err(NotAsked::NotAnswered));
        let first = desk.ask("status", now).unwrap();
        assert!((0..1000).all(|_| desk.ask("status", now) == Ok(first)));
        assert!(desk.has_unsent());
        assert_eq!(desk.unsent(), Some(Ask { id: first, what: "status".into() }));
        assert!(!desk.has_unsent() && desk.unsent().is_none());
        desk.tell(Told { id: first + 9, answer: Answer::Text("a lie".into()) });
        desk.tell(Told { id: first, answer: Answer::Text("so".into()) });
        desk.tell(Told { id: first, answer: Answer::Text("late".into()) });
        let told = desk.take_told();
        assert_eq!(told, [(first, Arc::new(Answer::Text("so".into())))]);
        assert!(desk.take_told().is_empty());
        // The next question gets a fresh answer, and one that was never answered is asked anew.
        let second = desk.ask("status", now).unwrap();
        assert!(second != first && desk.ask("status", now + PATIENCE).unwrap() != second);
    }

    #[test]
    fn a_new_stream_is_asked_what_the_old_one_left_open() {
        let (desk, now) = (Desk::default(), Instant::now());
        desk.learn(&desired());
        let id = desk.ask("manifest", now).unwrap();
        assert!(desk.unsent().is_some());
        desk.reconnected();
        assert!(!desk.has_unsent(), "whether this agent answers is not known yet");
        assert_eq!(desk.ask("manifest", now), Ok(id));
        desk.learn(&desired());
        assert_eq!(desk.unsent(), Some(Ask { id, what: "manifest".into() }));
        // An older agent is not asked.
        desk.reconnected();
        desk.learn(&Desired { facts: None, ..desired() });
        assert!(!desk.has_unsent() && desk.known().is_none());
    }

    #[test]
    fn users_as_other_testbeds_say_them() {
        let desk = Desk::default();
        desk.learn(&desired());
        let known = desk.known().unwrap();
        let users: serde_json::Value = serde_json::from_str(&known.users()).unwrap();
        assert_eq!(
            users,
            serde_json::json!([{ "urn": "urn:ann", "login": "ann", "keys": ["ssh-ed25519 AA \"x\""] }])
        );
        assert_eq!(
            (known.address(IpAddr::is_ipv4), known.address(IpAddr::is_ipv6)),
            ("10.0.0.2".into(), "fd00::2".into())
        );
    }
}

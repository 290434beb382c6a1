//! authorized_keys: which keys open an account, and what each of them is good for. Pure.
//!
//! An option is kept, or its key does not count. None is ignored: who wrote `command=` meant it.

mod pattern;

use std::net::IpAddr;

use russh::keys::PublicKey;

pub(crate) use self::pattern::{Place, Sources};

/// Lines that are read of one source of keys.
const LINES: usize = 4096;
/// Bytes of a line; RSA keys of 16384 bits need 3000.
const LINE: usize = 16 << 10;

/// A key and what it may do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: PublicKey,
    /// What it may do.
    pub(crate) options: Options,
}

/// What a key may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Run instead of whatever is asked for.
    pub(crate) command: Option<String>,
    pub(crate) from: Option<Sources>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) terminal: bool,
    pub(crate) forwarding: bool,
    pub(crate) agent: bool,
    /// Empty: everywhere.
    pub(crate) open: Vec<Place>,
    pub(crate) listen: Vec<Place>,
}

/// What a line is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    /// Blank, or a comment.
    Nothing,
    /// A key.
    Key(Box<Entry>),
    /// Not used, because of this.
    Refused(Refusal),
}

/// Why a line does not count. Never holds the line itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not a line of keys.
    #[error("not a public key")]
    NoKey,
    /// Longer than any key.
    #[error("longer than {LINE} bytes")]
    TooLong,
    /// An option that this server cannot keep.
    #[error("option '{0}' is not kept by this server")]
    Unknown(String),
    /// An option that says nothing that can be kept.
    #[error("option '{0}' is not understood")]
    Malformed(String),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            command: None,
            from: None,
            environment: Vec::new(),
            terminal: true,
            forwarding: true,
            agent: true,
            open: Vec::new(),
            listen: Vec::new(),
        }
    }
}

/// The lines of a file.
pub(crate) fn parse(text: &[u8]) -> impl Iterator<Item = Line> + '_ {
    text.split(|byte| *byte == b'\n').take(LINES).map(parse_line)
}

/// One line.
#[must_use]
pub(crate) fn parse_line(line: &[u8]) -> Line {
    if line.len() > LINE {
        return Line::Refused(Refusal::TooLong);
    }
    let Ok(line) = std::str::from_utf8(line) else { return Line::Refused(Refusal::NoKey) };
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    // A line that is a key without the options: a type is never the name of an option.
    if let Some(key) = key(line) {
        return Line::Key(Box::new(Entry { key, options: Options::default() }));
    }
    if ["ssh-", "ecdsa-", "sk-"].iter().any(|kind| line.starts_with(kind)) {
        return Line::Refused(Refusal::NoKey);
    }
    let (options, rest) = match options(line) {
        Ok(parsed) => parsed,
        Err(refusal) => return Line::Refused(refusal),
    };
    match key(rest.trim_start()) {
        Some(key) => Line::Key(Box::new(Entry { key, options })),
        None => Line::Refused(Refusal::NoKey),
    }
}

/// The options of the first of `entries` that has `key` and may come from `peer`.
pub(crate) fn find<'a>(entries: &'a [Entry], key: &PublicKey, peer: IpAddr) -> Option<&'a Options> {
    entries
        .iter()
        .filter(|entry| entry.key.key_data() == key.key_data())
        .map(|entry| &entry.options)
        .find(|options| options.from.as_ref().is_none_or(|from| from.match_peer(peer)))
}

/// `TYPE BASE64 [COMMENT]`.
fn key(text: &str) -> Option<PublicKey> {
    let mut words = text.split_ascii_whitespace();
    let (kind, body) = (words.next()?, words.next()?);
    let key = PublicKey::from_openssh(&format!("{kind} {body}")).ok()?;
    // The name before a key is for people, but a wrong one is a damaged line.
    (key.algorithm().as_str() == kind).then_some(key)
}

/// The options that `line` begins with, and what is left.
fn options(line: &str) -> Result<(Options, &str), Refusal> {
    let mut options = Options::default();
    let mut rest = line;
    loop {
        let end =
            rest.find(|byte: char| !(byte.is_ascii_alphanumeric() || byte == '-')).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = &rest[end..];
        let value = match rest.strip_prefix('=') {
            Some(after) => {
                let (value, after) = quoted(after).ok_or_else(|| Refusal::Malformed(name.clone()))?;
                rest = after;
                Some(value)
            }
            None => None,
        };
        apply(&mut options, &name, value)?;
        match rest.chars().next() {
            Some(',') => rest = &rest[1..],
            Some(' ' | '\t') => return Ok((options, rest)),
            _ => return Err(Refusal::NoKey),
        }
    }
}

/// The text in double quotes that `text` begins with, where `\"` is a quote; and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' if text[at + 1..].starts_with('"') => {
                characters.next();
                value.push('"');
            }
            character => value.push(character),
        }
    }
    None
}

fn apply(options: &mut Options, name: &str, value: Option<String>) -> Result<(), Refusal> {
    let malformed = || Refusal::Malformed(name.to_owned());
    match (name, value) {
        ("restrict", None) => (options.terminal, options.forwarding, options.agent) = (false, false, false),
        ("pty", None) => options.terminal = true,
        ("no-pty", None) => options.terminal = false,
        ("port-forwarding", None) => options.forwarding = true,
        ("no-port-forwarding", None) => options.forwarding = false,
        ("agent-forwarding", None) => options.agent = true,
        ("no-agent-forwarding", None) => options.agent = false,
        // Neither X11 nor ~/.ssh/rc is served to anybody.
        ("no-x11-forwarding" | "no-user-rc" | "user-rc" | "x11-forwarding", None) => {}
        ("command", Some(command)) => options.command = Some(command),
        ("from", Some(list)) => options.from = Some(Sources::parse(&list).ok_or_else(malformed)?),
        ("environment", Some(assignment)) => {
            let (name, value) = assignment.split_once('=').ok_or_else(malformed)?;
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if name.is_empty() || !plain || value.contains('\0') {
                return Err(malformed());
            }
            options.environment.push((name.to_owned(), value.to_owned()));
        }
        ("permitopen", Some(place)) => options.open.push(Place::parse(&place).ok_or_else(malformed)?),
        ("permitlisten", Some(place)) => options.listen.push(Place::parse(&place).ok_or_else(malformed)?),
        ("", _) => return Err(Refusal::NoKey),
        _ => return Err(Refusal::Unknown(name.chars().take(40).collect())),
    }
    Ok(())
}

#[cfg(test)]
mod tests;

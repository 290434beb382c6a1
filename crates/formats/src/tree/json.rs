//! Reading JSON (RFC 8259) within limits, each value with its place. What people get wrong by hand is told with the fix:
//! a comma that is missing or too many, single quotes, bare words, comments.
//!
//! A reader of our own, since those at hand keep no places of values, and say where but not what to do.

use testyard_model::diagnostic::{Diagnostic, Position, Severity};

use super::{Entry, Kind, Limits, Value, repeated};
use crate::import::Refused;
use crate::remarks::{refuse, short};

/// Reads a text that is one JSON value.
pub(crate) fn parse(text: &str, limits: &Limits) -> Result<Value, Refused> {
    if text.len() > limits.bytes {
        return Err(refuse(format!("the file has {} bytes, more than {}", text.len(), limits.bytes), None));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { text, at: 0, line: 1, line_start: 0, column_at: 0, column: 1, values: 0, limits: *limits };
    let value = reader.document();
    value.map_err(|fault| Refused { diagnostics: vec![fault.0] })
}

struct Reader<'a> {
    text: &'a str,
    /// The next byte.
    at: usize,
    line: u32,
    /// Where the line begins.
    line_start: usize,
    /// A byte of the line whose column is known: columns count characters, and lines may be long.
    column_at: usize,
    column: u32,
    values: usize,
    limits: Limits,
}

struct Fault(Diagnostic);

impl Fault {
    fn new(at: Position, message: impl Into<String>) -> Self {
        Self(Diagnostic::new(Severity::Error, message).at(at))
    }

    fn suggest(self, suggestion: impl Into<String>) -> Self {
        Self(self.0.suggest(suggestion))
    }
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Value, Fault> {
        self.blank();
        if self.peek().is_none() {
            return Err(Fault::new(self.position(), "the file is empty"));
        }
        let value = self.value(0)?;
        self.blank();
        match self.peek() {
            None => Ok(value),
            Some(_) => {
                let found = self.word();
                Err(Fault::new(self.position(), format!("there is {found} behind the end"))
                    .suggest("a file holds one value: is a bracket closed too early?"))
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The place of the next byte.
    fn position(&mut self) -> Position {
        let new = self.text.get(self.column_at..self.at).map_or(0, |passed| passed.chars().count());
        self.column = self.column.saturating_add(u32::try_from(new).unwrap_or(u32::MAX));
        self.column_at = self.at;
        Position { line: self.line, column: self.column }
    }

    /// Skips white space.
    fn blank(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line = self.line.saturating_add(1);
                    self.line_start = self.at;
                    (self.column_at, self.column) = (self.at, 1);
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                _ => return,
            }
        }
    }

    /// What stands here, for messages.
    fn word(&self) -> String {
        let rest = &self.text[self.at..];
        if let Some(end) = rest.strip_prefix('"').and_then(|inside| inside.find(['"', '\n'])) {
            return short(&rest[..end + 2]);
        }
        let end = rest
            .char_indices()
            .find(|(index, c)| *index > 0 && (c.is_whitespace() || ",:[]{}\"".contains(*c)))
            .filter(|_| !rest.starts_with([',', ':', '[', ']', '{', '}']))
            .or_else(|| {
                rest.char_indices().nth(1).filter(|_| rest.starts_with([',', ':', '[', ']', '{', '}']))
            })
            .map_or(rest.len(), |(index, _)| index);
        if rest.is_empty() { "the end of the file".to_owned() } else { format!("{:?}", short(&rest[..end])) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        let at = self.position();
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Fault::new(at, format!("the file has more than {} values", self.limits.values)));
        }
        if depth > self.limits.depth {
            return Err(Fault::new(
                at,
                format!("the file is nested deeper than {} levels", self.limits.depth),
            ));
        }
        let kind = match self.peek() {
            Some(b'{') => self.map(at, depth)?,
            Some(b'[') => self.list(at, depth)?,
            Some(b'"') => Kind::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Kind::Number(self.number()?),
            Some(b'\'') => {
                return Err(Fault::new(at, "a text in single quotes").suggest("JSON wants double quotes"));
            }
            Some(b'/' | b'#') => {
                return Err(
                    Fault::new(at, "a comment").suggest("JSON has no comments: write YAML, or leave it out")
                );
            }
            _ => self.literal(at)?,
        };
        Ok(Value { at, kind })
    }

    fn literal(&mut self, at: Position) -> Result<Kind, Fault> {
        let rest = &self.text[self.at..];
        for (word, kind) in [("true", Kind::Bool(true)), ("false", Kind::Bool(false)), ("null", Kind::Null)] {
            let ends = |c: char| !c.is_alphanumeric() && c != '_';
            if rest.strip_prefix(word).is_some_and(|rest| rest.chars().next().is_none_or(ends)) {
                self.at += word.len();
                return Ok(kind);
            }
        }
        let found = self.word();
        let fault = Fault::new(at, format!("{found} stands where a value belongs"));
        Err(match self.peek() {
            Some(b',') => fault.suggest("there is a comma too many, or a value is missing"),
            Some(b']' | b'}') => fault.suggest("take away the comma in front of it, or add what is missing"),
            None => fault.suggest("a bracket or a brace is not closed"),
            Some(_) => fault.suggest(format!("texts stand in double quotes: {:?}", found.trim_matches('"'))),
        })
    }

    /// What separates the items of a list or map: whether there is another one. `last` is where the one before ends,
    /// with its text.
    fn another(&mut self, close: u8, opened: Position, last: usize) -> Result<bool, Fault> {
        let end = (self.at, self.position());
        self.blank();
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') => {
                let comma = self.position();
                self.at += 1;
                self.blank();
                if self.peek() == Some(close) {
                    let close = char::from(close);
                    return Err(Fault::new(comma, format!("there is a comma in front of {close:?}"))
                        .suggest("take it away"));
                }
                Ok(true)
            }
            None => Err(Fault::new(
                self.position(),
                format!(
                    "the file ends within what begins with {:?} at {opened}",
                    if close == b']' { '[' } else { '{' }
                ),
            )
            .suggest(format!("add {:?}", char::from(close)))),
            Some(b':') => Err(Fault::new(self.position(), "there is a \":\" too many")
                .suggest("a key has one value: is a comma or a quote missing before it?")),
            Some(b']' | b'}') => {
                let found = self.word();
                Err(Fault::new(
                    self.position(),
                    format!("{found} closes what another bracket opened at {opened}"),
                )
                .suggest(format!("put {:?} in front of it", char::from(close))))
            }
            Some(_) => {
                let next = self.word();
                let value = self.text.get(last..end.0).unwrap_or_default();
                Err(Fault::new(end.1, format!("a comma is missing between {} and {next}", tail(value)))
                    .suggest(format!("put a comma after {}", tail(value))))
            }
        }
    }

    fn list(&mut self, opened: Position, depth: usize) -> Result<Kind, Fault> {
        self.at += 1;
        self.blank();
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Kind::List(items));
        }
        loop {
            let begins = self.at;
            items.push(self.value(depth + 1)?);
            if !self.another(b']', opened, begins)? {
                return Ok(Kind::List(items));
            }
        }
    }

    fn map(&mut self, opened: Position, depth: usize) -> Result<Kind, Fault> {
        self.at += 1;
        self.blank();
        let mut entries = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Kind::Map(entries));
        }
        loop {
            let at = self.position();
            if self.peek() != Some(b'"') {
                let found = self.word();
                let fault = Fault::new(at, format!("{found} stands where a key belongs"));
                return Err(fault.suggest(match self.peek() {
                    Some(b',') => "there is a comma too many",
                    None => "a brace is not closed",
                    _ => "keys stand in double quotes",
                }));
            }
            let key = self.string()?;
            let (end, place) = (self.at, self.position());
            self.blank();
            if self.peek() != Some(b':') {
                self.at = end;
                return Err(Fault::new(place, format!("the key {:?} has no value", short(&key))).suggest(
                    format!("write {:?}: and the value, or put a comma in front of it", short(&key)),
                ));
            }
            self.at += 1;
            self.blank();
            let begins = self.at;
            let value = self.value(depth + 1)?;
            entries.push(Entry { key, at, value });
            if !self.another(b'}', opened, begins)? {
                break;
            }
        }
        match repeated(&entries) {
            None => Ok(Kind::Map(entries)),
            Some((entry, first)) => Err(Fault::new(
                entry.at,
                format!("the key {:?} is there twice, first at {first}", short(&entry.key)),
            )
            .suggest("take one away")),
        }
    }

    fn number(&mut self) -> Result<String, Fault> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'))
            .unwrap_or(rest.len());
        let number = &rest[..end];
        if is_number(number) {
            self.at += end;
            return Ok(number.to_owned());
        }
        let at = self.position();
        Err(Fault::new(at, format!("{:?} is no number", short(number)))
            .suggest("put quotes around what has a unit, like \"50ms\""))
    }

    fn string(&mut self) -> Result<String, Fault> {
        let opened = self.position();
        self.at += 1;
        let mut result = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c| matches!(c, '"' | '\\') || c < ' ').unwrap_or(rest.len());
            result.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(result);
                }
                Some(b'\\') => result.push(self.escape()?),
                Some(b'\n' | b'\r') | None => {
                    return Err(Fault::new(opened, format!("the text {:?} is not closed", short(&result)))
                        .suggest("add a double quote at its end; a line break in it is \\n"));
                }
                Some(control) => {
                    let at = self.position();
                    return Err(Fault::new(at, format!("a control character (U+{control:04X}) in a text"))
                        .suggest(format!("write \\u{control:04x}")));
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let at = self.position();
        let bad = |what: &str| {
            Err(Fault::new(at, format!("{:?} is no escape", short(what)))
                .suggest("write a backslash itself as two: \\\\"))
        };
        let rest = &self.text[self.at + 1..];
        let Some(c) = rest.chars().next() else { return bad("\\") };
        let plain = match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = |text: &str| {
                    let digits = text.strip_prefix("\\u").and_then(|text| text.get(..4))?;
                    let good = digits.bytes().all(|b| b.is_ascii_hexdigit());
                    u32::from_str_radix(digits, 16).ok().filter(|_| good)
                };
                let escape = &self.text[self.at..];
                let Some(first) = unit(escape) else {
                    return bad(&escape.chars().take(6).collect::<String>());
                };
                if let Some(c) = char::from_u32(first) {
                    self.at += 6;
                    return Ok(c);
                }
                let second = escape.get(6..).and_then(unit).filter(|low| (0xdc00..0xe000).contains(low));
                let whole = second.filter(|_| first < 0xdc00);
                let c =
                    whole.and_then(|low| char::from_u32(0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00)));
                let Some(c) = c else {
                    return Err(Fault::new(at, "half a character").suggest("write the character itself"));
                };
                self.at += 12;
                return Ok(c);
            }
            other => return bad(&format!("\\{other}")),
        };
        self.at += 2;
        Ok(plain)
    }
}

/// The last word of a value, for messages.
fn tail(value: &str) -> String {
    let value = value.trim();
    let start = match value.as_bytes().last() {
        Some(b'"') => value[..value.len() - 1].rfind('"').unwrap_or(0),
        Some(b']' | b'}') => value.len() - 1,
        _ => value.rfind([',', ':', '[', '{', '"', ' ', '\n']).map_or(0, |at| at + 1),
    };
    short(value[start..].trim())
}

/// Whether a text is a number of JSON.
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        None => (text, None),
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        None => (mantissa, None),
        Some((whole, fraction)) => (whole, Some(fraction)),
    };
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text, &Limits { bytes: 100_000, depth: 8, values: 50 }).unwrap_err().to_string()
    }

    #[test]
    fn places() {
        let value = parse("\u{feff}{\"a\":\r\n [1, \"é\", {\"b\": null}]}", &Limits::TOPOLOGY).unwrap();
        let Kind::Map(entries) = &value.kind else { panic!("{value:?}") };
        let Kind::List(items) = &entries[0].value.kind else { panic!("{value:?}") };
        assert_eq!(entries[0].at.to_string(), "1:2");
        let places: Vec<String> = items.iter().map(|item| item.at.to_string()).collect();
        assert_eq!(places, ["2:3".to_owned(), "2:6".to_owned(), "2:11".to_owned()]);
    }

    #[test]
    fn texts() {
        for (json, text) in [
            (r#""a\"\\\/\b\f\n\r\té""#, "a\"\\/\u{8}\u{c}\n\r\té"),
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            ("\"\u{7f}\u{feff}\"", "\u{7f}\u{feff}"),
        ] {
            assert_eq!(parse(json, &Limits::TOPOLOGY).unwrap().as_text(), Some(text), "{json}");
            assert_eq!(serde_json::from_str::<String>(json).unwrap(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_the_fix() {
        for (text, expected) in [
            ("", "1:1: the file is empty"),
            (
                "{\"a\": \"x\"\n \"b\": 1}",
                "1:10: a comma is missing between \"x\" and \"b\" (put a comma after \"x\")",
            ),
            ("[1 2]", "1:3: a comma is missing between 1 and \"2\" (put a comma after 1)"),
            ("[{} {}]", "1:4: a comma is missing between } and \"{\" (put a comma after })"),
            ("[1,]", "1:3: there is a comma in front of ']' (take it away)"),
            ("[1,,2]", "1:4: \",\" stands where a value belongs (there is a comma too many"),
            ("{\"a\" 1}", "1:5: the key \"a\" has no value"),
            ("{\"a\": 1, \"a\": 2}", "1:10: the key \"a\" is there twice, first at 1:2"),
            ("{a: 1}", "1:2: \"a\" stands where a key belongs (keys stand in double quotes)"),
            ("['a']", "JSON wants double quotes"),
            ("[50ms]", "1:2: \"50ms\" is no number (put quotes around what has a unit"),
            ("[01]", "\"01\" is no number"),
            ("[web]", "1:2: \"web\" stands where a value belongs (texts stand in double quotes: \"web\")"),
            ("[1] x", "1:5: there is \"x\" behind the end"),
            ("[1}", "closes what another bracket opened at 1:1"),
            ("{\"a\": [1, {\"b\": 2}", "the file ends within what begins with '[' at 1:7 (add ']')"),
            ("\"abc", "the text \"abc\" is not closed"),
            ("\"a\tb\"", "1:3: a control character (U+0009) in a text (write \\u0009)"),
            ("\"\0\"", "a control character (U+0000)"),
            ("\"\\ud800\"", "half a character"),
            ("\"\\x\"", "is no escape"),
            ("// x", "JSON has no comments"),
            ("[[[[[[[[[[1]]]]]]]]]]", "nested deeper than 8 levels"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}\n{error}\n{expected}");
        }
        assert!(error(&format!("[{}1]", "1,".repeat(60))).contains("more than 50 values"));
    }

    #[test]
    fn long_lines_take_no_longer_than_short_ones() {
        let started = std::time::Instant::now();
        let text = format!("[{}0]", "\"é\",".repeat(300_000));
        assert!(parse(&text, &Limits::TOPOLOGY).is_ok());
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}

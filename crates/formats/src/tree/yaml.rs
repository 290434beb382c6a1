//! Reading YAML 1.2 within limits, each value with its place. Aliases are resolved and count as what they stand for;
//! tags, merge keys and several documents in one file are refused.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use testyard_model::diagnostic::{Diagnostic, Position, Severity};

use super::json::is_number;
use super::{Entry, Kind, Limits, START, Value, repeated};
use crate::import::Refused;
use crate::remarks::{refuse, short};

/// Reads a text that is one YAML document.
pub(crate) fn parse(text: &str, limits: &Limits) -> Result<Value, Refused> {
    if text.len() > limits.bytes {
        return Err(refuse(format!("the file has {} bytes, more than {}", text.len(), limits.bytes), None));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(offset) = text.find('\0') {
        return Err(fault(place_of(text, offset), "a NUL character", "it is no text file"));
    }
    flow_depth(text, limits.depth)?;
    let mut reader =
        Reader { open: Vec::new(), anchors: HashMap::new(), values: 0, root: None, limits: *limits };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let message = format!("not YAML: {}", short(error.info()));
            fault(position(*error.marker()), message, hint(error.info()))
        })?;
        reader.event(event, span)?;
    }
    reader.root.ok_or_else(|| fault(START, "the file is empty", "a topology has nodes and links"))
}

fn fault(at: Position, message: impl Into<String>, suggestion: &str) -> Refused {
    let diagnostic = Diagnostic::new(Severity::Error, message).at(at);
    let diagnostic = if suggestion.is_empty() { diagnostic } else { diagnostic.suggest(suggestion) };
    Refused { diagnostics: vec![diagnostic] }
}

fn hint(info: &str) -> &'static str {
    if info.contains("tab") {
        "indent with blanks"
    } else if info.contains("mapping values") || info.contains("simple key") || info.contains("':'") {
        "is the indentation right, and is there a blank behind each \":\"? Texts with \": \" in them need quotes"
    } else {
        ""
    }
}

fn place_of(text: &str, offset: usize) -> Position {
    let line_start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let line = text[..offset].bytes().filter(|b| *b == b'\n').count() + 1;
    let column = text[line_start..offset].chars().count() + 1;
    Position {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    }
}

fn position(marker: saphyr_parser::Marker) -> Position {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: number(marker.line()).max(1), column: number(marker.col()).saturating_add(1) }
}

/// Brackets beyond any sensible depth are refused before the scanner sees them. Those in texts count too; closing ones
/// take away, so only a file made to be nasty gets here.
fn flow_depth(text: &str, limit: usize) -> Result<(), Refused> {
    const SLACK: usize = 1000;
    let mut depth = 0_usize;
    for (offset, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limit + SLACK {
            return Err(fault(
                place_of(text, offset),
                format!("the file is nested deeper than {limit} levels"),
                "",
            ));
        }
    }
    Ok(())
}

struct Reader {
    /// Lists and maps that are not closed yet.
    open: Vec<Open>,
    /// Values by the number of their anchor, with how many values are in them.
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
    root: Option<Value>,
    limits: Limits,
}

struct Open {
    at: Position,
    anchor: usize,
    /// How many values there were when it began.
    before: usize,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    /// With the key that waits for its value.
    Map(Vec<Entry>, Option<(String, Position)>),
}

impl Reader {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Refused> {
        let at = position(span.start);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(fault(at, "a second document begins here", "a file holds one topology"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.no_tag(tag.is_some(), at)?;
                self.count(at, 1)?;
                let is_key = matches!(self.open.last(), Some(Open { content: Content::Map(_, None), .. }));
                if is_key && style == ScalarStyle::Plain && text == "<<" {
                    return Err(fault(at, "merge keys (<<) are not YAML 1.2", "write out what is merged"));
                }
                let kind =
                    if style == ScalarStyle::Plain { plain(text) } else { Kind::Text(text.into_owned()) };
                self.done(Value { at, kind }, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                self.no_tag(tag.is_some(), at)?;
                self.begin(at, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.no_tag(tag.is_some(), at)?;
                self.begin(at, anchor, Content::Map(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(number) => {
                let known = self.anchors.get(&number).cloned();
                let Some((value, size)) = known else {
                    return Err(fault(
                        at,
                        "an alias stands for something that it is in, or that is not there",
                        "",
                    ));
                };
                self.count(at, size)?;
                self.done(value, 0, size)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn no_tag(&self, is_there: bool, at: Position) -> Result<(), Refused> {
        if is_there { Err(fault(at, "a tag (!…) has no meaning here", "take it away")) } else { Ok(()) }
    }

    fn count(&mut self, at: Position, more: usize) -> Result<(), Refused> {
        self.values = self.values.saturating_add(more);
        if self.values > self.limits.values {
            let message =
                format!("the file has more than {} values, aliases written out", self.limits.values);
            return Err(fault(at, message, ""));
        }
        Ok(())
    }

    fn begin(&mut self, at: Position, anchor: usize, content: Content) -> Result<(), Refused> {
        if self.open.len() > self.limits.depth {
            let message = format!("the file is nested deeper than {} levels", self.limits.depth);
            return Err(fault(at, message, ""));
        }
        let before = self.values;
        self.count(at, 1)?;
        self.open.push(Open { at, anchor, before, content });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Refused> {
        let Some(Open { at, anchor, before, content }) = self.open.pop() else { return Ok(()) };
        let kind = match content {
            Content::List(items) => Kind::List(items),
            Content::Map(entries, _) => {
                if let Some((entry, first)) = repeated(&entries) {
                    let message = format!("the key {:?} is there twice, first at {first}", short(&entry.key));
                    return Err(fault(entry.at, message, "take one away"));
                }
                Kind::Map(entries)
            }
        };
        let size = self.values - before;
        self.done(Value { at, kind }, anchor, size)
    }

    /// A value is whole: it goes where it belongs.
    fn done(&mut self, value: Value, anchor: usize, size: usize) -> Result<(), Refused> {
        if anchor > 0 {
            self.count(value.at, size)?;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(value),
            Some(Content::List(items)) => items.push(value),
            Some(Content::Map(entries, waiting)) => match waiting.take() {
                Some((key, at)) => entries.push(Entry { key, at, value }),
                None => *waiting = Some(key(value)?),
            },
        }
        Ok(())
    }
}

fn key(value: Value) -> Result<(String, Position), Refused> {
    let text = match value.kind {
        Kind::Text(text) | Kind::Number(text) => text,
        Kind::Bool(word) => word.to_string(),
        Kind::Null => String::new(),
        Kind::List(_) | Kind::Map(_) => {
            return Err(fault(value.at, "a list or a map cannot be a key", "quote it if it is a text"));
        }
    };
    Ok((text, value.at))
}

/// The core schema of YAML 1.2, except that numbers are those of JSON: `0x10` and `.5` are texts.
fn plain(text: Cow<'_, str>) -> Kind {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        number if is_number(number) => Kind::Number(text.into_owned()),
        _ => Kind::Text(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text, &Limits { bytes: 1_000_000, depth: 8, values: 200 }).unwrap_err().to_string()
    }

    #[test]
    fn what_is_read() {
        let text = "# a\nnodes:\n  web: {image: debian:12}\n  1:\nlinks:\n- delay: 50ms\n  down: true\n  mtu: 1400\n- 'x'\n";
        let value = parse(text, &Limits::TOPOLOGY).unwrap();
        let same = "{\"nodes\": {\"web\": {\"image\": \"debian:12\"}, \"1\": null},\
                    \"links\": [{\"delay\": \"50ms\", \"down\": true, \"mtu\": 1400}, \"x\"]}";
        let shown = |value: &Value| super::super::write::json(value);
        assert_eq!(shown(&value), shown(&super::super::json::parse(same, &Limits::TOPOLOGY).unwrap()));
        let links = &value.entries().unwrap()[1];
        let Kind::List(items) = &links.value.kind else { panic!() };
        let places = [links.at, items[0].at, items[0].entries().unwrap()[1].value.at, items[1].at];
        assert_eq!(places.map(|at| at.to_string()), ["5:1", "6:3", "7:9", "9:3"].map(str::to_owned));
    }

    #[test]
    fn aliases_are_what_they_stand_for() {
        let value = parse("- &a {x: [1, 2]}\n- *a\n", &Limits::TOPOLOGY).unwrap();
        let Kind::List(items) = value.kind else { panic!() };
        assert_eq!(items[0], items[1]);
    }

    #[test]
    fn what_is_wrong() {
        let bomb = "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a]\n\
                    c: &c [*b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c, *c]\n";
        for (text, expected) in [
            ("", "the file is empty"),
            ("# nothing\n", "the file is empty"),
            ("a: 1\na: 2\n", "2:1: the key \"a\" is there twice, first at 1:1"),
            ("a: !!str x", "a tag (!…) has no meaning here"),
            ("<<: {a: 1}", "merge keys"),
            ("[a]: 1", "cannot be a key"),
            ("a: 1\n---\nb: 2\n", "2:1: a second document begins here"),
            ("a: *b", "not YAML"),
            ("&a [*a]", "an alias stands for something that it is in"),
            ("a: b: c", "1:5: not YAML"),
            ("a: [1, 2", "not YAML"),
            ("a:\n\t- b", "indent with blanks"),
            ("a: \"b\0\"", "1:6: a NUL character"),
            ("[[[[[[[[[[[[1]]]]]]]]]]]]", "nested deeper than 8 levels"),
            (bomb, "more than 200 values, aliases written out"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}\n{error}\n{expected}");
        }
        let deep = parse(&"[".repeat(200_000), &Limits::TOPOLOGY).unwrap_err().to_string();
        assert!(deep.contains("nested deeper"), "{deep}");
        let deep = (0..2000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
        assert!(error(&deep[..900_000]).contains("nested deeper"));
    }
}

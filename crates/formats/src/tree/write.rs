//! Writing trees as JSON and YAML, for people: short lists and maps stand on one line.

use super::{Entry, Kind, Value};

/// What fits stands on one line.
const WIDTH: usize = 96;

/// As JSON, with a line break at the end.
pub(crate) fn json(value: &Value) -> String {
    let mut out = String::new();
    write_json(value, 0, &mut out);
    out.push('\n');
    out
}

/// As YAML 1.2 that older parsers read alike.
pub(crate) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match &value.kind {
        Kind::Map(entries) if !entries.is_empty() => block_map(entries, 0, &mut out),
        Kind::List(items) if !items.is_empty() => block_list(items, 0, &mut out),
        _ => {
            flow(value, Style::Yaml, &mut out);
            out.push('\n');
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Json,
    Yaml,
    /// Within brackets, where older parsers stumble over colons.
    YamlFlow,
}

impl Style {
    const fn inside(self) -> Self {
        match self {
            Self::Json => Self::Json,
            Self::Yaml | Self::YamlFlow => Self::YamlFlow,
        }
    }
}

/// On one line.
fn flow(value: &Value, style: Style, out: &mut String) {
    match &value.kind {
        Kind::Null => out.push_str("null"),
        Kind::Bool(word) => out.push_str(if *word { "true" } else { "false" }),
        Kind::Number(number) => out.push_str(number),
        Kind::Text(text) => scalar(text, style, out),
        Kind::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                flow(item, style.inside(), out);
            }
            out.push(']');
        }
        Kind::Map(entries) => {
            out.push('{');
            for (index, entry) in entries.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                scalar(&entry.key, style.inside(), out);
                out.push_str(": ");
                flow(&entry.value, style.inside(), out);
            }
            out.push('}');
        }
    }
}

/// How long a value would be on one line, at least; no more than `WIDTH` is looked at.
fn fits(value: &Value, left: &mut usize) -> bool {
    let take = |left: &mut usize, length: usize| {
        let fits = length <= *left;
        *left = left.saturating_sub(length);
        fits
    };
    match &value.kind {
        Kind::Null | Kind::Bool(_) => take(left, 5),
        Kind::Number(text) => take(left, text.len()),
        Kind::Text(text) => take(left, text.len() + 2),
        Kind::List(items) => take(left, 2) && items.iter().all(|item| take(left, 2) && fits(item, left)),
        Kind::Map(entries) => {
            take(left, 2)
                && entries.iter().all(|entry| take(left, entry.key.len() + 6) && fits(&entry.value, left))
        }
    }
}

fn is_short(value: &Value, indent: usize) -> bool {
    fits(value, &mut WIDTH.saturating_sub(indent))
}

fn is_collection(value: &Value) -> bool {
    matches!(value.kind, Kind::List(_) | Kind::Map(_))
}

fn write_json(value: &Value, indent: usize, out: &mut String) {
    let inner = indent + 2;
    let line = |indent: usize, first: bool, out: &mut String| {
        out.push_str(if first { "\n" } else { ",\n" });
        out.push_str(&" ".repeat(indent));
    };
    match &value.kind {
        Kind::List(items) if !items.is_empty() && (indent == 0 || !is_short(value, indent)) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                line(inner, index == 0, out);
                write_json(item, inner, out);
            }
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            out.push(']');
        }
        Kind::Map(entries) if !entries.is_empty() && (indent == 0 || !is_short(value, indent)) => {
            out.push('{');
            for (index, entry) in entries.iter().enumerate() {
                line(inner, index == 0, out);
                scalar(&entry.key, Style::Json, out);
                out.push_str(": ");
                write_json(&entry.value, inner, out);
            }
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            out.push('}');
        }
        _ => flow(value, Style::Json, out),
    }
}

fn block_map(entries: &[Entry], indent: usize, out: &mut String) {
    for (index, entry) in entries.iter().enumerate() {
        // The first line continues that of a list's hyphen.
        if index > 0 || indent == 0 || out.ends_with('\n') {
            out.push_str(&" ".repeat(indent));
        }
        scalar(&entry.key, Style::Yaml, out);
        out.push(':');
        block_value(&entry.value, indent, out);
    }
}

fn block_value(value: &Value, indent: usize, out: &mut String) {
    match &value.kind {
        Kind::Null => out.push('\n'),
        // The top level is a block in any case: it is what people look for.
        Kind::Map(entries) if !entries.is_empty() && (indent == 0 || !is_short(value, indent + 20)) => {
            out.push('\n');
            block_map(entries, indent + 2, out);
        }
        Kind::List(items)
            if !items.is_empty()
                && (!is_short(value, indent + 20) || (indent == 0 && items.iter().any(is_collection))) =>
        {
            out.push('\n');
            block_list(items, indent + 2, out);
        }
        _ => {
            out.push(' ');
            flow(value, Style::Yaml, out);
            out.push('\n');
        }
    }
}

fn block_list(items: &[Value], indent: usize, out: &mut String) {
    for item in items {
        out.push_str(&" ".repeat(indent));
        out.push_str("- ");
        match &item.kind {
            Kind::Map(entries) if !entries.is_empty() && !is_short(item, indent + 20) => {
                block_map(entries, indent + 2, out);
            }
            _ => {
                flow(item, Style::Yaml, out);
                out.push('\n');
            }
        }
    }
}

fn scalar(text: &str, style: Style, out: &mut String) {
    let has_colon = style == Style::YamlFlow && text.contains(':');
    if style != Style::Json && !has_colon && is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Those that YAML takes for no text or for line breaks.
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Whether a text needs no quotes in any YAML: nothing that some version takes for a number, a time, true or nothing.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 11] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b'%' | b'+');
    let starts = |c: char| c.is_ascii_alphabetic() || c == '/';
    if text.starts_with(starts) {
        let inner = |b: u8| good(b) || b == b':';
        return text.bytes().all(inner)
            && !text.ends_with(':')
            && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    }
    // Quantities and addresses.
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let is_quantity =
        ["%", "s", "ms", "us", "ns", "bit", "kbit", "Mbit", "Gbit", "B", "KiB", "MiB", "GiB"].contains(&unit);
    let is_address = |text: &str| text.parse::<std::net::Ipv4Addr>().is_ok();
    let network = text.split_once('/').is_some_and(|(address, length)| {
        is_address(address) && !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit())
    });
    text.starts_with(|c: char| c.is_ascii_digit()) && is_quantity || is_address(text) || network
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, json as read_json, yaml as read_yaml};
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["\\PC{0,12}", any::<String>(), "[a-z0-9.:%/ -]{0,8}", Just("no".to_owned())];
        let leaf = prop_oneof![
            Just(Kind::Null),
            any::<bool>().prop_map(Kind::Bool),
            any::<i32>().prop_map(|n| Kind::Number(n.to_string())),
            text.prop_map(Kind::Text),
        ];
        let leaf = leaf.prop_map(Value::made);
        leaf.prop_recursive(4, 40, 6, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..6).prop_map(Kind::List);
            let map = prop::collection::btree_map("\\PC{1,9}", inner, 0..6).prop_map(|map| {
                let entry = |(key, value)| Entry { key, at: super::super::START, value };
                Kind::Map(map.into_iter().map(entry).collect())
            });
            prop_oneof![list, map].prop_map(Value::made)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn what_is_written_reads_again(value in values()) {
            let text = json(&value);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
            let read = read_json::parse(&text, &Limits::TOPOLOGY).unwrap();
            prop_assert_eq!(json(&read), text.clone());
            let lines = yaml(&value);
            let read = read_yaml::parse(&lines, &Limits::TOPOLOGY).map_err(|e| TestCaseError::fail(format!("{e}\n{lines}")))?;
            prop_assert_eq!(json(&read), text, "{}", lines);
        }
    }
}

//! Writing values: few types, pure ASCII.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Value;

/// Adds `<value>…</value>`.
pub(super) fn value(out: &mut String, value: &Value) {
    out.push_str("<value>");
    match value {
        Value::Int(number) => match i32::try_from(*number) {
            Ok(number) => tagged(out, "int", &number.to_string()),
            Err(_) => tagged(out, "string", &number.to_string()),
        },
        Value::Bool(yes) => tagged(out, "boolean", if *yes { "1" } else { "0" }),
        Value::Double(number) => {
            let number = if number.is_finite() { *number } else { 0.0 };
            tagged(out, "double", &number.to_string());
        }
        Value::String(text) => {
            out.push_str("<string>");
            escape(out, text);
            out.push_str("</string>");
        }
        Value::Binary(bytes) => tagged(out, "string", &base64(bytes)),
        Value::Nil => out.push_str("<string></string>"),
        Value::Array(values) => {
            out.push_str("<array><data>");
            for element in values {
                self::value(out, element);
            }
            out.push_str("</data></array>");
        }
        Value::Struct(members) => {
            out.push_str("<struct>");
            for (name, member) in members {
                out.push_str("<member><name>");
                escape(out, name);
                out.push_str("</name>");
                self::value(out, member);
                out.push_str("</member>\n");
            }
            out.push_str("</struct>");
        }
    }
    out.push_str("</value>");
}

fn tagged(out: &mut String, tag: &str, text: &str) {
    let _ = write!(out, "<{tag}>{text}</{tag}>");
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Characters that XML cannot carry become U+FFFD; what is not ASCII becomes a reference.
pub(super) fn escape(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        let replacement: &str = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '\r' => "&#13;",
            '\n' | '\t' | ' '..='~' => continue,
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => "&#65533;",
            _ => "",
        };
        out.push_str(&text[plain..at]);
        if replacement.is_empty() {
            let _ = write!(out, "&#{};", u32::from(c));
        } else {
            out.push_str(replacement);
        }
        plain = at + c.len_utf8();
    }
    out.push_str(&text[plain..]);
}

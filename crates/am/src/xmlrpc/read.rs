//! Reading values, whatever dialect they are in.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use testyard_xml::{Node, XmlError, position, text_of};

use super::Value;

/// Why a message was not understood. The text is fit to be shown to the caller and holds nothing of the message but
/// element names and positions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not XML, or too much of it.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// XML, and no XML-RPC.
    #[error("{row}:{column}: {what}")]
    Shape {
        /// The line, from 1.
        row: u32,
        /// The column, from 1.
        column: u32,
        /// What is wrong.
        what: String,
    },
}

/// Line breaks are taken out first; padding is often forgotten.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn wrong<T>(node: Node<'_, '_>, what: impl Into<String>) -> Result<T, ReadError> {
    let (row, column) = position(node);
    Err(ReadError::Shape { row, column, what: what.into() })
}

/// Reads what a `value` element holds. The depth of the document is limited before, and so is that of the calls here.
pub(super) fn value(node: Node<'_, '_>) -> Result<Value, ReadError> {
    let mut elements = node.children().filter(Node::is_element);
    let Some(typed) = elements.next() else { return Ok(Value::String(text_of(node))) };
    if elements.next().is_some() {
        return wrong(node, "a value holds more than one element");
    }
    if node.children().filter(Node::is_text).any(|t| t.text().is_some_and(|text| !text.trim().is_empty())) {
        return wrong(node, "a value holds text beside an element");
    }
    let text = || text_of(typed);
    match typed.tag_name().name() {
        "string" | "dateTime.iso8601" | "dateTime" => leaf(typed).map(Value::String),
        "int" | "i1" | "i2" | "i4" | "i8" | "integer" => match text().trim().parse() {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => wrong(typed, "not a whole number"),
        },
        "boolean" => match text().trim().to_ascii_lowercase().as_str() {
            "1" | "true" => Ok(Value::Bool(true)),
            "0" | "false" => Ok(Value::Bool(false)),
            _ => wrong(typed, "not a boolean: write 0 or 1"),
        },
        "double" | "float" => match text().trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Double(number)),
            _ => wrong(typed, "not a number"),
        },
        "base64" => {
            let text: String = text().chars().filter(|c| !c.is_whitespace()).collect();
            match BASE64.decode(text) {
                Ok(bytes) => Ok(String::from_utf8(bytes)
                    .map_or_else(|error| Value::Binary(error.into_bytes()), Value::String)),
                Err(_) => wrong(typed, "not base64"),
            }
        }
        "nil" => Ok(Value::Nil),
        "array" => array(typed).map(Value::Array),
        "struct" => members(typed).map(Value::Struct),
        other => wrong(typed, format!("<{}> is not a type of XML-RPC", shown(other))),
    }
}

fn leaf(node: Node<'_, '_>) -> Result<String, ReadError> {
    match node.first_element_child() {
        None => Ok(text_of(node)),
        Some(child) => wrong(child, "markup inside a string: escape < as &lt;"),
    }
}

fn array(node: Node<'_, '_>) -> Result<Vec<Value>, ReadError> {
    let mut values = Vec::new();
    for data in node.children().filter(Node::is_element) {
        expect(data, "data")?;
        for element in data.children().filter(Node::is_element) {
            expect(element, "value")?;
            values.push(value(element)?);
        }
    }
    Ok(values)
}

fn members(node: Node<'_, '_>) -> Result<BTreeMap<String, Value>, ReadError> {
    let mut members = BTreeMap::new();
    for member in node.children().filter(Node::is_element) {
        expect(member, "member")?;
        let (mut name, mut content) = (None, None);
        for part in member.children().filter(Node::is_element) {
            match part.tag_name().name() {
                "name" if name.is_none() => name = Some(leaf(part)?),
                "value" if content.is_none() => content = Some(value(part)?),
                _ => return wrong(part, "a member is one name and one value"),
            }
        }
        match (name, content) {
            (Some(name), Some(content)) => {
                if members.insert(name, content).is_some() {
                    return wrong(member, "two members of one struct have the same name");
                }
            }
            _ => return wrong(member, "a member is one name and one value"),
        }
    }
    Ok(members)
}

/// Checks the local name of an element: prefixes are used by some, and mean nothing here.
pub(super) fn expect(node: Node<'_, '_>, name: &'static str) -> Result<(), ReadError> {
    let found = node.tag_name().name();
    if found == name { Ok(()) } else { wrong(node, format!("<{name}> is expected, not <{}>", shown(found))) }
}

fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(40).collect()
}

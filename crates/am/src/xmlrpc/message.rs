//! Calls and replies.

use testyard_xml::{Document, Limits, Node, XmlError, parse, text_of};

use super::read::{self, ReadError, wrong};
use super::write;
use super::{Fault, Value};

/// A call of a method.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method.
    pub method: String,
    /// Its arguments, in order.
    pub arguments: Vec<Value>,
}

/// Method names are short; what is longer is not one.
const MAX_METHOD: usize = 100;

/// Reads a call.
///
/// # Errors
/// [`ReadError`] if it is not one, or exceeds [`Limits::XML_RPC`].
pub fn parse_call(bytes: &[u8]) -> Result<Call, ReadError> {
    let text = text(bytes)?;
    let document = open(text, &Limits::XML_RPC)?;
    let root = document.root_element();
    read::expect(root, "methodCall")?;
    let (mut method, mut arguments) = (None, None);
    for part in root.children().filter(Node::is_element) {
        match part.tag_name().name() {
            "methodName" if method.is_none() => {
                let name = text_of(part).trim().to_owned();
                if name.is_empty() || name.len() > MAX_METHOD || !name.bytes().all(|b| b.is_ascii_graphic()) {
                    return wrong(part, "this is not the name of a method");
                }
                method = Some(name);
            }
            "params" if arguments.is_none() => arguments = Some(params(part)?),
            _ => return wrong(part, "a call is one methodName and one params"),
        }
    }
    match method {
        Some(method) => Ok(Call { method, arguments: arguments.unwrap_or_default() }),
        None => wrong(root, "the call has no methodName"),
    }
}

/// Reads a reply: the value, or the fault.
///
/// # Errors
/// [`ReadError`] if it is neither.
pub fn parse_reply(bytes: &[u8]) -> Result<Result<Value, Fault>, ReadError> {
    let text = text(bytes)?;
    let document = open(text, &Limits { bytes: 64 << 20, nodes: 2_000_000, ..Limits::XML_RPC })?;
    let root = document.root_element();
    read::expect(root, "methodResponse")?;
    let Some(part) = root.first_element_child() else { return wrong(root, "the reply is empty") };
    match part.tag_name().name() {
        "params" => {
            let mut values = params(part)?;
            match (values.pop(), values.pop()) {
                (Some(value), None) => Ok(Ok(value)),
                _ => wrong(part, "a reply has one value"),
            }
        }
        "fault" => {
            let Some(content) = part.first_element_child() else { return wrong(part, "the fault is empty") };
            read::expect(content, "value")?;
            let value = read::value(content)?;
            let code = value.get("faultCode").and_then(Value::as_int).unwrap_or_default();
            let text = value.get("faultString").and_then(Value::scalar).unwrap_or_default();
            Ok(Err(Fault::new(i32::try_from(code).unwrap_or_default(), text)))
        }
        _ => wrong(part, "a reply is params or fault"),
    }
}

/// Writes a call.
#[must_use]
pub fn write_call(call: &Call) -> String {
    let mut out = String::from("<?xml version=\"1.0\"?>\n<methodCall><methodName>");
    write::escape(&mut out, &call.method);
    out.push_str("</methodName><params>");
    for argument in &call.arguments {
        param(&mut out, argument);
    }
    out.push_str("</params></methodCall>\n");
    out
}

/// Writes a reply.
#[must_use]
pub fn write_reply(reply: &Result<Value, Fault>) -> String {
    let mut out = String::from("<?xml version=\"1.0\"?>\n<methodResponse>");
    match reply {
        Ok(value) => {
            out.push_str("<params>");
            param(&mut out, value);
            out.push_str("</params>");
        }
        Err(fault) => {
            let value = Value::members([
                ("faultCode", Value::from(fault.code)),
                ("faultString", Value::text(fault.text.as_str())),
            ]);
            out.push_str("<fault>");
            write::value(&mut out, &value);
            out.push_str("</fault>");
        }
    }
    out.push_str("</methodResponse>\n");
    out
}

fn param(out: &mut String, value: &Value) {
    out.push_str("<param>");
    write::value(out, value);
    out.push_str("</param>\n");
}

fn params(node: Node<'_, '_>) -> Result<Vec<Value>, ReadError> {
    let mut values = Vec::new();
    for param in node.children().filter(Node::is_element) {
        read::expect(param, "param")?;
        let mut content = param.children().filter(Node::is_element);
        match (content.next(), content.next()) {
            (Some(value), None) => {
                read::expect(value, "value")?;
                values.push(read::value(value)?);
            }
            _ => return wrong(param, "a param is one value"),
        }
    }
    Ok(values)
}

fn text(bytes: &[u8]) -> Result<&str, ReadError> {
    let text = std::str::from_utf8(bytes).map_err(|_| XmlError::Encoding)?;
    // White space in front of an XML declaration is an error that some clients make.
    Ok(text.trim_start_matches('\u{feff}').trim_start())
}

fn open<'a>(text: &'a str, limits: &Limits) -> Result<Document<'a>, ReadError> {
    Ok(parse(text, limits)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(params: &str) -> Result<Vec<Value>, ReadError> {
        let text = format!("<methodCall><methodName>m</methodName><params>{params}</params></methodCall>");
        parse_call(text.as_bytes()).map(|call| call.arguments)
    }

    fn one(value: &str) -> Result<Value, ReadError> {
        call(&format!("<param><value>{value}</value></param>")).map(|mut values| values.remove(0))
    }

    #[test]
    fn what_clients_send() {
        let text = |text: &str| Value::text(text);
        for (given, expected) in [
            ("plain &lt; text", text("plain < text")),
            ("  ", text("  ")),
            ("", text("")),
            ("<string/>", text("")),
            ("\n <string> a </string>\n", text(" a ")),
            ("<string>a<![CDATA[<b>]]>c<!-- x -->d</string>", text("a<b>cd")),
            ("<i4>-7</i4>", Value::Int(-7)),
            ("<int> +7 </int>", Value::Int(7)),
            ("<i8>4294967296</i8>", Value::Int(1 << 32)),
            ("<ex:i8 xmlns:ex='http://ws.apache.org/xmlrpc/namespaces/extensions'>1</ex:i8>", Value::Int(1)),
            ("<boolean>1</boolean>", Value::Bool(true)),
            ("<boolean>false</boolean>", Value::Bool(false)),
            ("<double>-1.5</double>", Value::Double(-1.5)),
            ("<base64>\nPGE+\n</base64>", text("<a>")),
            ("<base64>/w</base64>", Value::Binary(vec![0xff])),
            ("<dateTime.iso8601>2027-01-01T00:00:00Z</dateTime.iso8601>", text("2027-01-01T00:00:00Z")),
            ("<nil/>", Value::Nil),
            ("<array><data/></array>", Value::Array(vec![])),
            ("<array/>", Value::Array(vec![])),
            ("<struct/>", Value::Struct([].into())),
            (
                "<struct><member><name/><value>x</value></member></struct>",
                Value::members([("", Value::text("x"))]),
            ),
        ] {
            assert_eq!(one(given), Ok(expected), "{given}");
        }
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "<int>x</int>",
            "<int/>",
            "<boolean>2</boolean>",
            "<double>inf</double>",
            "<base64>!</base64>",
            "<float32>1</float32>",
            "text <int>1</int>",
            "<int>1</int><int>2</int>",
            "<string>a<b/>c</string>",
            "<array><value>1</value></array>",
            "<struct><member><name>a</name></member></struct>",
            "<struct><member><value>a</value></member></struct>",
            "<struct><member><name>a</name><value/></member><member><name>a</name><value/></member></struct>",
        ] {
            assert!(matches!(one(bad), Err(ReadError::Shape { .. })), "{bad}");
        }
        for bad in ["", "x", "<a/>", "<methodCall/>", "<methodCall><methodName> </methodName></methodCall>"] {
            assert!(parse_call(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = "<array><data><value>".repeat(30) + "x" + &"</value></data></array>".repeat(30);
        assert!(matches!(one(&deep), Err(ReadError::Xml(XmlError::TooMuch { .. }))));
        let bomb = b"<!DOCTYPE a [<!ENTITY b 'c'>]><methodCall><methodName>&b;</methodName></methodCall>";
        assert_eq!(parse_call(bomb), Err(ReadError::Xml(XmlError::Doctype)));
        assert_eq!(parse_call(b"<methodCall>\xff"), Err(ReadError::Xml(XmlError::Encoding)));
    }

    #[test]
    fn prologue() {
        for prologue in ["\u{feff}", " \r\n<?xml version='1.0' encoding='ISO-8859-1'?>", "<!-- x -->"] {
            let text = format!("{prologue}<methodCall><methodName>m</methodName></methodCall>");
            assert_eq!(parse_call(text.as_bytes()).unwrap().arguments, vec![], "{prologue:?}");
        }
    }

    #[test]
    fn written_in_few_types() {
        let value = Value::Array(vec![
            Value::Nil,
            Value::Int(1 << 40),
            Value::Binary(vec![1, 2]),
            Value::Double(f64::NAN),
            Value::text("\0\u{7}\r\u{e9}\u{fffe}\u{1f600}]]>"),
        ]);
        let text = write_reply(&Ok(value));
        assert!(text.is_ascii());
        for never in ["<nil", "<i8", "<base64", "dateTime", "NaN", "\0", "\u{7}"] {
            assert!(!text.contains(never), "{never:?} in {text}");
        }
        let Ok(Ok(Value::Array(read))) = parse_reply(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(read[1], Value::text("1099511627776"));
        assert_eq!(read[4], Value::text("\u{fffd}\u{fffd}\r\u{e9}\u{fffd}\u{1f600}]]>"));
    }

    #[test]
    fn faults() {
        let fault = Fault::new(Fault::NO_METHOD, "no <such> method");
        assert_eq!(parse_reply(write_reply(&Err(fault.clone())).as_bytes()), Ok(Err(fault)));
    }

    /// Every value that is written as it is.
    fn safe() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::from),
            any::<bool>().prop_map(Value::Bool),
            (-1e9..1e9f64).prop_map(Value::Double),
            "(\\PC|[\r\n\t<&>\"'\\]]){0,30}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::btree_map("\\PC{0,12}", inner, 0..6).prop_map(Value::Struct),
            ]
        })
    }

    proptest! {
        #[test]
        fn round_trip(arguments in prop::collection::vec(safe(), 0..4)) {
            let call = Call { method: "Some.method".to_owned(), arguments };
            prop_assert_eq!(parse_call(write_call(&call).as_bytes()).unwrap(), call);
        }

        #[test]
        fn any_text_can_be_answered(text in "(.|\n|\0){0,60}", code in any::<i32>()) {
            let reply = write_reply(&Err(Fault::new(code, text)));
            prop_assert!(reply.is_ascii());
            prop_assert_eq!(parse_reply(reply.as_bytes()).unwrap().unwrap_err().code, code);
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_call(&bytes);
            let _ = parse_reply(&bytes);
        }
    }
}

//! The one ABAC statement that is understood: "this tool may speak for me" (am-api.md §3.8).
//!
//! In RT0, version 1.1: the head is the user's key with the role `speaks_for_<user's key id>`, the only tail is the
//! tool's key. The text form of version 1.0 is deprecated and refused.

use testyard_xml::Node;

use crate::credential::{Fields, shape};
use crate::refusal::Refusal;

/// A statement, unverified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Key id in the head.
    pub(crate) head: String,
    /// Role in the head.
    pub(crate) role: String,
    /// Key id of the only tail.
    pub(crate) tail: String,
}

impl Statement {
    /// Reads an `abac` element.
    pub(crate) fn read(node: Node<'_, '_>) -> Result<Self, Refusal> {
        let rt0 = Fields::of(node, &["rt0"], &[])?.need("rt0")?;
        let rt0 = Fields::of(rt0, &["version", "head", "tail"], &["tail"])?;
        if rt0.text("version")? != "1.1" {
            return shape("the statement is not RT0 version 1.1");
        }
        let head = Fields::of(rt0.need("head")?, &["ABACprincipal", "role"], &[])?;
        if rt0.all("tail").count() != 1 {
            return shape("the statement must have exactly one tail");
        }
        // A role or a second principal in the tail would let everybody in who has them.
        let tail = Fields::of(rt0.need("tail")?, &["ABACprincipal"], &[])?;
        Ok(Self { head: key_id(&head)?, role: head.text("role")?.to_ascii_lowercase(), tail: key_id(&tail)? })
    }
}

fn key_id(fields: &Fields<'_, '_>) -> Result<String, Refusal> {
    let principal = Fields::of(fields.need("ABACprincipal")?, &["keyid", "mnemonic"], &[])?;
    let id = principal.text("keyid")?.to_ascii_lowercase();
    match id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(id),
        false => shape("a keyid is not 40 hexadecimal digits"),
    }
}

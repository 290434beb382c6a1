//! What the XML-RPC layer itself answers when there is no method to answer.

use std::fmt;

/// A fault. Everything that a method decides is an answer with a code instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// One of the constants, or what another server sent.
    pub code: i32,
    /// For people.
    pub text: String,
}

impl Fault {
    /// The call is not well-formed XML, or exceeds limits.
    pub const PARSE: i32 = -32700;
    /// The call is XML and no XML-RPC.
    pub const INVALID: i32 = -32600;
    /// There is no such method.
    pub const NO_METHOD: i32 = -32601;
    /// The method failed in a way that nobody foresaw.
    pub const INTERNAL: i32 = -32603;

    /// A fault.
    #[must_use]
    pub fn new(code: i32, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (XML-RPC fault {})", self.text, self.code)
    }
}

impl std::error::Error for Fault {}

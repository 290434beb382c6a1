//! XML-RPC as the field speaks it: read leniently, written strictly (am-api.md §1.2).
//!
//! Read: values without a type, every spelling of integers, base64 where text is meant, CDATA, dates as text, nil,
//! extension prefixes. Written: `string`, `int`, `boolean`, `double`, `array` and `struct` only, in pure ASCII with
//! everything else as character references, since every other type has broken a client and control characters have
//! broken all of them.

mod fault;
mod message;
mod read;
mod value;
mod write;

pub use fault::Fault;
pub use message::{Call, parse_call, parse_reply, write_call, write_reply};
pub use read::ReadError;
pub use value::Value;

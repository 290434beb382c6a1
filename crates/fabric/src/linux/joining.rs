//! Whether this kernel can join two links: what every cable that does nothing to packets needs.

use std::os::fd::AsRawFd as _;

use super::namespace;
use crate::netlink::{Change, Refusal, Routing as _, Rtnetlink, bpf};

/// The index of `lo` in every namespace.
const LO: u32 = 1;

/// Tries `clsact` and BPF as links will want them, in a namespace that ends with it. The calling thread is at home before and
/// after.
///
/// # Errors
/// What the kernel refused, in words.
pub fn try_joining() -> Result<(), String> {
    let tried = namespace::apart(|| {
        let mut kernel = Rtnetlink::open().map_err(|refusal: Refusal| refusal.to_string())?;
        let program = bpf::redirect_to(LO)
            .map_err(|refusal| format!("loading the program that joins two links: {refusal}"))?;
        let redirect = Change::Redirect { index: LO, to: LO, program: program.as_raw_fd() };
        kernel.apply(&[Change::Classify { index: LO }, redirect]).map_err(|error| error.to_string())
    });
    tried.unwrap_or_else(|error| Err(error.to_string()))
}

//! Two links joined in the kernel: what comes in at one goes out at the other. Every cable that does nothing to packets is two
//! of these.

use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use super::namespace;
use crate::netlink::{Change, ChangeError, Refusal, Routing, Rtnetlink, bpf};

/// The index of `lo` in every namespace.
const LO: u32 = 1;

/// Has what comes in at a link of the calling thread's namespace go out at another, or up to the kernel again.
pub(super) fn redirect(host: &mut impl Routing, index: u32, to: Option<u32>) -> Result<(), ChangeError> {
    let Some(to) = to else { return loosen(host, index) };
    let program = bpf::redirect_to(to).map_err(|refusal| ChangeError {
        change: "loading the program that joins two links".to_owned(),
        refusal,
    })?;
    // By the oldest way of three. With clsact the kernel keeps two entries a link in a list that it walks for every further
    // one; tcx has whoever attaches or removes a program wait for all processors, 17 ms a link.
    let redirect = Change::Redirect { index, to, program: program.as_raw_fd() };
    let changes = [Change::Classify { index }, redirect];
    match host.apply(&changes) {
        // Something else is in its place: an older version's clsact.
        Err(error) if error.refusal.errno == Errno::EINVAL => {
            loosen(host, index)?;
            host.apply(&changes)
        }
        other => other,
    }
}

fn loosen(host: &mut impl Routing, index: u32) -> Result<(), ChangeError> {
    match host.apply(&[Change::NoRedirect { index }]) {
        // There was none.
        Err(error) if matches!(error.refusal.errno, Errno::ENOENT | Errno::EINVAL) => Ok(()),
        other => other,
    }
}

/// Whether this kernel can: tried as links will want it, in a namespace that ends with it. The calling thread is at home before
/// and after.
///
/// # Errors
/// What the kernel refused, in words.
pub fn try_joining() -> Result<(), String> {
    let tried = namespace::apart(|| {
        let mut kernel = Rtnetlink::open().map_err(|refusal: Refusal| refusal.to_string())?;
        redirect(&mut kernel, LO, Some(LO)).map_err(|error| error.to_string())
    });
    tried.unwrap_or_else(|error| Err(error.to_string()))
}

//! Programs whose output nobody reads any more: `ssh node yes | head -1`.
//!
//! OpenSSH's client says so by the channel request `eow@openssh.com` (end of write), and only to servers whose greeting
//! begins with `OpenSSH` ([`GREETING`]). Else it drops what comes, opens the window again and again, and both sides go on
//! for ever. `russh` hands requests that it does not know to nobody: it refuses them, and writes a line to the `log` that
//! names the request but not the channel. That line is heard here, in the connection's own process. Where a connection
//! has had one program only, as without connection sharing, that is the one; where there were several nobody is stopped,
//! since it might be the wrong one.

use std::sync::{Arc, OnceLock};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::inbox::Inboxes;

/// What the server calls itself: OpenSSH's clients tell the end of reading to nobody else. No version, so that no
/// client takes it for one with defects to work around.
pub(super) const GREETING: &str = "SSH-2.0-OpenSSH_compatible_Testyard";

/// What `russh` says of the request.
const LINE: &str = "unknown channel request eow@openssh.com";

/// The channels of this process's one connection.
static INBOXES: OnceLock<Arc<Inboxes>> = OnceLock::new();

struct Ear;

impl Log for Ear {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.level() == Level::Warn && about.target().starts_with("russh::server")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata())
            && record.args().to_string() == LINE
            && let Some(inboxes) = INBOXES.get()
        {
            inboxes.unread();
        }
    }

    fn flush(&self) {}
}

/// Listens from now on for the connection whose channels these are.
pub(super) fn listen(inboxes: Arc<Inboxes>) {
    if INBOXES.set(inboxes).is_ok() && log::set_logger(&Ear).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

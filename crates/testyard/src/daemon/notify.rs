//! Telling a service manager how far we are (`sd_notify(3)`); silent where there is none.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The testbed serves, and what came before is done.
pub(crate) fn ready() {
    tell("READY=1");
}

/// The configuration is being read again.
pub(crate) fn reloading() {
    tell("RELOADING=1");
}

/// The end has begun.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(name) = std::env::var("NOTIFY_SOCKET").ok().filter(|name| !name.is_empty()) else { return };
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let told = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        tracing::debug!(%error, "the service manager was not told");
    }
}

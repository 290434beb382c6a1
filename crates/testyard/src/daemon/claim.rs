//! One agent of an instance on a machine: two would take each other's nodes for leftovers, and remove them.
//!
//! The claim is a local socket without a file, which the kernel knows per network namespace, as it knows the interfaces and
//! rules that agents would quarrel about, and takes back when the process ends, however it ends.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use testyard_model::id::Instance;

/// Held as long as this process is the agent of the instance here.
#[derive(Debug)]
pub(crate) struct Claim {
    _socket: UnixListener,
}

/// This process cannot be the agent of the instance here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// Another is.
    #[error(
        "another testyard is the agent of instance {0} on this machine, and each would remove what the other makes: end it, or \
         give this testbed another testbed.instance"
    )]
    Taken(Instance),
    /// The kernel refuses.
    #[error("the machine cannot be claimed for instance {instance}: {source}")]
    Kernel {
        /// For whom.
        instance: Instance,
        /// Why.
        source: io::Error,
    },
}

/// Claims this machine for an instance.
pub(crate) fn claim(instance: &Instance) -> Result<Claim, ClaimError> {
    let address = SocketAddr::from_abstract_name(format!("testyard.agent.{instance}"));
    match address.and_then(|address| UnixListener::bind_addr(&address)) {
        Ok(socket) => Ok(Claim { _socket: socket }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ClaimError::Taken(instance.clone())),
        Err(source) => Err(ClaimError::Kernel { instance: instance.clone(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let instance: Instance = format!("c{}", std::process::id()).parse().unwrap();
        let other: Instance = format!("d{}", std::process::id()).parse().unwrap();
        let held = claim(&instance).unwrap();
        let told = claim(&instance).unwrap_err().to_string();
        assert!(told.contains("another testyard is the agent of instance c"), "{told}");
        claim(&other).unwrap();
        drop(held);
        claim(&instance).unwrap();
    }
}

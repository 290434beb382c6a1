//! Ports of the host that lead to nodes. A forwarded port needs no socket, but one is bound (never listening) all the
//! same: it finds out whether a service of the host has the port, which our rules would hide, and it keeps programs
//! from taking it later. Sockets end with the agent; what counts is the look when a forward is made.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, sockopt};
use testyard_model::sliver_type::Protocol;

/// Host ports that are held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    sockets: HashMap<(Protocol, u16), OwnedFd>,
}

impl Held {
    /// Takes a port in the calling thread's network namespace; `false` if something else has it.
    pub(crate) fn take(&mut self, protocol: Protocol, port: u16) -> Result<bool, Errno> {
        if self.sockets.contains_key(&(protocol, port)) {
            return Ok(true);
        }
        // With address reuse only listening sockets are in the way of TCP: connections that linger after their service
        // has ended are no service. But such a socket is not in the way of anybody either.
        match bind(protocol, port, protocol == Protocol::Tcp) {
            Ok(_) => {}
            Err(Errno::EADDRINUSE) => return Ok(false),
            Err(errno) => return Err(errno),
        }
        if let Ok(socket) = bind(protocol, port, false) {
            self.sockets.insert((protocol, port), socket);
        }
        Ok(true)
    }

    /// Lets a port go.
    pub(crate) fn release(&mut self, protocol: Protocol, port: u16) {
        self.sockets.remove(&(protocol, port));
    }

    /// Lets all go.
    pub(crate) fn clear(&mut self) {
        self.sockets.clear();
    }
}

/// Binds both families with one socket; IPv4 alone where the kernel has no IPv6.
fn bind(protocol: Protocol, port: u16, reuse: bool) -> Result<OwnedFd, Errno> {
    let v6 = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    match open(AddressFamily::Inet6, protocol, reuse).and_then(|fd| {
        socket::setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
        socket::bind(fd.as_raw_fd(), &v6).map(|()| fd)
    }) {
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {}
        other => return other,
    }
    let v4 = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    let fd = open(AddressFamily::Inet, protocol, reuse)?;
    socket::bind(fd.as_raw_fd(), &v4).map(|()| fd)
}

fn open(family: AddressFamily, protocol: Protocol, reuse: bool) -> Result<OwnedFd, Errno> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let fd = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    socket::setsockopt(&fd, sockopt::ReuseAddr, &reuse)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_seen_and_a_held_port_is_closed_to_others() {
        let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = service.local_addr().unwrap().port();
        let mut held = Held::default();
        assert_eq!(held.take(Protocol::Tcp, port), Ok(false));
        drop(service);
        assert_eq!(held.take(Protocol::Tcp, port), Ok(true));
        assert_eq!(held.take(Protocol::Tcp, port), Ok(true), "ours already");
        assert!(std::net::UdpSocket::bind(("0.0.0.0", port)).is_ok(), "the other protocol is free");
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_err(), "this one is held");
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "nothing listens");
        held.release(Protocol::Tcp, port);
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
    }
}

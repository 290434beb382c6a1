//! What a plan takes of one host, beside what is in use there.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use testyard_model::sliver_type::Port;

use crate::plan::{HostView, PlannedNode};
use crate::ports::PortForward;
use crate::{address, ports};

/// See the module.
pub(crate) struct Pad<'a> {
    view: &'a HostView<'a>,
    ipv4: BTreeSet<Ipv4Addr>,
    ipv6: BTreeSet<Ipv6Addr>,
    last_ipv4: Option<Ipv4Addr>,
    last_ipv6: Option<Ipv6Addr>,
    /// Ports below are taken. None is left when it is out of the range.
    next_port: Option<u16>,
}

impl<'a> Pad<'a> {
    pub(crate) fn new(view: &'a HostView<'a>) -> Self {
        let (last_ipv4, last_ipv6) = (view.usage.ipv4().1, view.usage.ipv6().1);
        let next_port = Some(view.host.ports().first());
        Self { view, ipv4: BTreeSet::new(), ipv6: BTreeSet::new(), last_ipv4, last_ipv6, next_port }
    }

    /// Addresses and forwards for one more node, those that it has where it has some; none if something has run out.
    pub(crate) fn take(
        &mut self,
        wanted: &[Port],
        kept: Option<&PlannedNode>,
    ) -> Option<(Ipv4Addr, Option<Ipv6Addr>, Vec<PortForward>)> {
        let (ipv4, ipv6) = match kept {
            Some(kept) => (kept.ipv4, kept.ipv6),
            None => (self.next_ipv4()?, self.next_ipv6()?),
        };
        let mut forwards = Vec::with_capacity(wanted.len());
        for port in wanted {
            let had = kept.and_then(|kept| kept.forwards.iter().find(|forward| forward.port == *port));
            forwards.push(match had {
                Some(forward) => *forward,
                None => PortForward { host_port: self.next_port()?, port: *port },
            });
        }
        Some((ipv4, ipv6, forwards))
    }

    fn next_ipv4(&mut self) -> Option<Ipv4Addr> {
        let usage = self.view.usage;
        let used = |address: &Ipv4Addr| usage.ipv4().0.contains(address) || self.ipv4.contains(address);
        let ipv4 = address::next_v4(self.view.host.ipv4(), used, self.last_ipv4)?;
        self.ipv4.insert(ipv4);
        self.last_ipv4 = Some(ipv4);
        Some(ipv4)
    }

    /// The outer one is none if something has run out, the inner one if the host has no prefix.
    #[allow(clippy::option_option, reason = "two different nothings")]
    fn next_ipv6(&mut self) -> Option<Option<Ipv6Addr>> {
        let Some(prefix) = self.view.host.ipv6() else { return Some(None) };
        let usage = self.view.usage;
        let used = |address: &Ipv6Addr| usage.ipv6().0.contains(address) || self.ipv6.contains(address);
        let ipv6 = address::next_v6(prefix, used, self.last_ipv6)?;
        self.ipv6.insert(ipv6);
        self.last_ipv6 = Some(ipv6);
        Some(Some(ipv6))
    }

    fn next_port(&mut self) -> Option<u16> {
        let port = ports::lowest_free(self.view.host, self.view.usage, self.next_port?)?;
        self.next_port = port.checked_add(1);
        Some(port)
    }
}

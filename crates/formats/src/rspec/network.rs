//! Reading interfaces and their addresses.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use testyard_model::suggest::closest;
use testyard_model::topology::{Interface, InterfaceAddress};
use testyard_xml::{Node as Xml, attribute};

use super::context::RequestLimits;
use super::element::{core_children, short, word};
use super::findings::Findings;
use super::node::client_id;
use super::request::Census;

/// The interfaces of a request by name.
pub(super) struct Network<'a, 'input> {
    ours: HashMap<&'a str, Xml<'a, 'input>>,
    foreign: HashSet<&'a str>,
}

impl<'a, 'input> Network<'a, 'input> {
    pub(super) fn new(census: &Census<'a, 'input>, findings: &mut Findings<'_>) -> Self {
        let mut ours: HashMap<&'a str, Xml<'a, 'input>> = HashMap::new();
        let interfaces = |nodes: &[Xml<'a, 'input>]| -> Vec<(&'a str, Xml<'a, 'input>)> {
            let all = nodes.iter().flat_map(|node| core_children(*node, "interface"));
            all.filter_map(|interface| Some((attribute(interface, "client_id")?, interface))).collect()
        };
        for (id, interface) in interfaces(&census.ours) {
            match ours.get(id) {
                Some(first) => {
                    let message = format!("client_id {:?} is taken: another interface has it", short(id));
                    findings.error(interface, message).place_of(*first);
                }
                None => {
                    ours.insert(id, interface);
                }
            }
        }
        Self { ours, foreign: interfaces(&census.foreign).into_iter().map(|(id, _)| id).collect() }
    }

    pub(super) fn is_ours(&self, id: &str) -> bool {
        self.ours.contains_key(id)
    }

    pub(super) fn is_foreign(&self, id: &str) -> bool {
        self.foreign.contains(id)
    }

    /// The interface that was probably meant. Not looked for among many: it would take long.
    pub(super) fn like(&self, id: &str) -> Option<&'a str> {
        const MANY: usize = 200;
        let mut known: Vec<&str> = self.ours.keys().copied().take(MANY + 1).collect();
        known.sort_unstable();
        (known.len() <= MANY).then(|| closest(id, known)).flatten()
    }

    pub(super) fn interfaces(
        &self,
        node: Xml<'_, '_>,
        limits: &RequestLimits,
        findings: &mut Findings<'_>,
    ) -> Vec<Interface> {
        let mut result = Vec::new();
        for element in core_children(node, "interface") {
            if result.len() >= limits.interfaces {
                findings.error(element, format!("more than {} interfaces on one node", limits.interfaces));
                break;
            }
            let addresses = core_children(element, "ip").filter_map(|ip| address(ip, findings)).collect();
            if let Some(client_id) = client_id(element, "interface", findings) {
                result.push(Interface { addresses, ..Interface::new(client_id) });
            }
        }
        result
    }
}

fn address(ip: Xml<'_, '_>, findings: &mut Findings<'_>) -> Option<InterfaceAddress> {
    let Some(text) = word(ip, "address") else {
        findings.warning(ip, "ip has no address and is ignored");
        return None;
    };
    let (text, inline) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = text.parse::<IpAddr>() else {
        let message = format!("{:?} is no IP address", short(text));
        findings.error(ip, message).suggest("like 10.1.1.1, or leave it out to have one chosen");
        return None;
    };
    let kind = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    if let Some(given) = word(ip, "type")
        && !given.eq_ignore_ascii_case(kind)
    {
        findings.warning(ip, format!("type {:?} of {address} is taken for {kind}", short(given)));
    }
    let Some(mask) = word(ip, "netmask").or(inline) else {
        return Some(InterfaceAddress { address, prefix_length: None });
    };
    let prefix_length = prefix_length(mask, address);
    if prefix_length.is_none() {
        let message = format!("{:?} is no netmask of {address}", short(mask));
        findings.error(ip, message).suggest(if address.is_ipv4() {
            "like 255.255.255.0 or 24"
        } else {
            "like 64"
        });
    }
    prefix_length.map(|_| InterfaceAddress { address, prefix_length })
}

/// `255.255.255.0`, `ffff:ffff::`, `24` and `/24`.
pub(crate) fn prefix_length(mask: &str, address: IpAddr) -> Option<u8> {
    let digits = mask.strip_prefix('/').unwrap_or(mask);
    if let Ok(length) = digits.parse::<u8>() {
        return (length <= if address.is_ipv4() { 32 } else { 128 }).then_some(length);
    }
    let (bits, width) = match address {
        IpAddr::V4(_) => (u128::from(mask.parse::<Ipv4Addr>().ok()?.to_bits()) << 96, 32),
        IpAddr::V6(_) => (mask.parse::<Ipv6Addr>().ok()?.to_bits(), 128),
    };
    let length = bits.leading_ones();
    (bits.count_ones() == length && length <= width).then_some(length as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netmasks() {
        let v4: IpAddr = "10.0.0.1".parse().unwrap();
        let v6: IpAddr = "fd00::1".parse().unwrap();
        for (mask, address, expected) in [
            ("255.255.255.0", v4, Some(24)),
            ("0.0.0.0", v4, Some(0)),
            ("255.255.255.255", v4, Some(32)),
            ("/16", v4, Some(16)),
            ("33", v4, None),
            ("255.0.255.0", v4, None),
            ("0.255.255.255", v4, None),
            ("ffff:ffff::", v6, Some(32)),
            ("64", v6, Some(64)),
            ("129", v6, None),
            ("255.255.255.0", v6, None),
            ("x", v4, None),
        ] {
            assert_eq!(prefix_length(mask, address), expected, "{mask}");
        }
    }
}

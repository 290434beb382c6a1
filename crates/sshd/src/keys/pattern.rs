//! `from=` and the places of `permitopen=`: who and where a key is good for.

use std::net::IpAddr;

/// A list of address patterns: addresses, `ADDRESS/BITS`, or text with `*` and `?`; `!` before one excludes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources(Vec<(bool, Source)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Network(IpAddr, u32),
    Text(String),
}

/// `HOST:PORT` of permitopen and permitlisten; either may be `*`, and the host may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    host: Option<String>,
    port: Option<u16>,
}

// === impl Sources ===

impl Sources {
    /// `None` if the list says something that cannot be kept.
    pub(crate) fn parse(list: &str) -> Option<Self> {
        let mut sources = Vec::new();
        for item in list.split(',') {
            let (negated, item) = item.strip_prefix('!').map_or((false, item), |item| (true, item));
            let source = match item.split_once('/') {
                _ if item.is_empty() => return None,
                Some((address, bits)) => {
                    let address: IpAddr = address.parse().ok()?;
                    let bits = bits.parse().ok()?;
                    let most = if address.is_ipv4() { 32 } else { 128 };
                    if bits > most {
                        return None;
                    }
                    Source::Network(address, bits)
                }
                None => match item.parse::<IpAddr>() {
                    Ok(address) => Source::Network(address, if address.is_ipv4() { 32 } else { 128 }),
                    Err(_) => Source::Text(item.to_ascii_lowercase()),
                },
            };
            sources.push((negated, source));
        }
        Some(Self(sources))
    }

    /// Whether `peer` is meant: by one of the patterns, and by none that excludes. Names are not looked up.
    pub(crate) fn match_peer(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let mut found = false;
        for (negated, source) in &self.0 {
            let matches = match source {
                Source::Network(address, bits) => within(peer, address.to_canonical(), *bits),
                Source::Text(pattern) => wildcard(pattern.as_bytes(), peer.to_string().as_bytes()),
            };
            if matches && *negated {
                return false;
            }
            found |= matches;
        }
        found
    }
}

fn within(peer: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (peer, network) {
        (IpAddr::V4(peer), IpAddr::V4(network)) => {
            u64::from(peer.to_bits() ^ network.to_bits()) >> 32u32.saturating_sub(bits) == 0
        }
        (IpAddr::V6(peer), IpAddr::V6(network)) => {
            let differing = peer.to_bits() ^ network.to_bits();
            bits == 0 || differing >> (128 - bits.min(128)) == 0
        }
        _ => false,
    }
}

/// Whether `text` is described by `pattern`, `*` for any bytes and `?` for one.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where the last star was, and how much of the text it covers so far: the only place to come back to.
    let mut star = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((back, covered)) = star else { return false };
                star = Some((back, covered + 1));
                at = back + 1;
                seen = covered + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

// === impl Place ===

impl Place {
    /// `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host.trim_start_matches('[').trim_end_matches(']'), port),
            // permitlisten has a port alone, too.
            None => ("*", text),
        };
        let host = (host != "*").then(|| host.to_ascii_lowercase());
        let port = if port == "*" { None } else { Some(port.parse().ok()?) };
        if host.as_ref().is_some_and(|host| host.is_empty()) {
            return None;
        }
        Some(Self { host, port })
    }

    /// Whether `host` and `port` are this place.
    pub(crate) fn is(&self, host: &str, port: u32) -> bool {
        self.host.as_ref().is_none_or(|own| own.eq_ignore_ascii_case(host))
            && self.port.is_none_or(|own| u32::from(own) == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(list: &str, peer: &str) -> bool {
        Sources::parse(list).unwrap().match_peer(peer.parse().unwrap())
    }

    #[test]
    fn a_source_is_an_address_a_network_or_a_pattern() {
        assert!(admits("10.0.0.0/8", "10.200.3.4"));
        assert!(admits("10.1.2.3", "::ffff:10.1.2.3"));
        assert!(!admits("10.0.0.0/8", "11.0.0.1"));
        assert!(admits("2001:db8::/32", "2001:db8:1::2"));
        assert!(!admits("2001:db8::/32", "2001:db9::"));
        assert!(admits("0.0.0.0/0", "1.2.3.4") && admits("::/0", "ff::"));
        assert!(!admits("0.0.0.0/0", "ff::"));
        assert!(admits("192.168.*", "192.168.7.7"));
        assert!(admits("*.?", "1.2.3.4") && !admits("*.?", "1.2.3.44"));
    }

    #[test]
    fn an_excluded_source_is_out_whatever_else_matches() {
        assert!(!admits("*,!10.0.0.1", "10.0.0.1"));
        assert!(admits("*,!10.0.0.1", "10.0.0.2"));
        assert!(!admits("!10.0.0.1", "10.0.0.2"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for list in ["", "a,,b", "10.0.0.0/33", "10.0.0.0/x", "host/8", "!"] {
            assert_eq!(Sources::parse(list), None, "{list}");
        }
    }

    #[test]
    fn places_have_stars() {
        assert!(Place::parse("localhost:80").unwrap().is("LOCALHOST", 80));
        assert!(!Place::parse("localhost:80").unwrap().is("localhost", 81));
        assert!(Place::parse("*:*").unwrap().is("x", 1));
        assert!(Place::parse("[::1]:22").unwrap().is("::1", 22));
        assert!(Place::parse("8080").unwrap().is("anything", 8080));
        for text in ["", ":1", "host:", "host:99999", "host"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}

//! The names of facts: those that the `geni-get` of other testbeds has, and some of our own.

/// Where a fact comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The desired state.
    Desired,
    /// The agent, who is asked each time.
    Agent,
    /// This list.
    List,
    /// Nowhere, and the reason.
    Nowhere(&'static str),
}

/// A fact's name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) name: &'static str,
    pub(super) source: Source,
    /// It is JSON already; others are text.
    pub(super) json: bool,
    /// What it is, in a line.
    pub(super) what: &'static str,
}

const fn text(name: &'static str, what: &'static str) -> Name {
    Name { name, source: Source::Desired, json: false, what }
}

const fn asked(name: &'static str, json: bool, what: &'static str) -> Name {
    Name { name, source: Source::Agent, json, what }
}

const fn nowhere(name: &'static str, why: &'static str) -> Name {
    Name { name, source: Source::Nowhere(why), json: false, what: "" }
}

const SECRET: &str = "it is a secret, and every user of the node could read it here; copy your own key or certificate to \
                      the node, or let ssh forward your agent";

const NO_PARAMETERS: &str = "this testbed has no profiles, so no parameter is defined";

/// All names, as they are listed.
pub(super) const NAMES: &[Name] = &[
    text("client_id", "the name of this node in the request"),
    Name { name: "commands", source: Source::List, json: true, what: "the names that can be asked for" },
    text("control_ipv4", "the IPv4 address of the control interface"),
    text("control_ipv6", "the IPv6 address of the control interface; empty if there is none"),
    text("control_mac", "the MAC address of the control interface: 12 hexadecimal digits"),
    Name {
        name: "geni_user",
        source: Source::Desired,
        json: true,
        what: "the accounts on this node, with their public keys",
    },
    asked("getversion", true, "what the testbed says of itself"),
    asked("manifest", false, "the manifest of this node's slice"),
    asked("portalmanifest", false, "the same: there is one manifest"),
    text("slice_email", "empty: the testbed keeps no addresses of people"),
    text("slice_urn", "the URN of this node's slice"),
    text("sliver_urn", "the URN of this node"),
    asked("sliverstatus", true, "how the slice's nodes are, in the words of version 2 of the AM API"),
    asked("status", true, "how the slice's nodes are"),
    text("user_email", "empty: the testbed keeps no addresses of people"),
    text("user_urn", "the URN of who made the slice"),
    text("version", "the version of these names"),
    nowhere("cert", SECRET),
    nowhere("certificate", SECRET),
    nowhere("key", SECRET),
    nowhere("param", NO_PARAMETERS),
    nowhere("rpccert", SECRET),
    nowhere("rpckey", SECRET),
];

/// The version of the names, as `geni-get --version` gives it.
pub(super) const VERSION: &str = "1";

pub(super) fn find(name: &str) -> Option<&'static Name> {
    NAMES.iter().find(|known| known.name == name)
}

/// Those that can be had.
pub(super) fn listed() -> impl Iterator<Item = &'static Name> {
    NAMES.iter().filter(|name| !matches!(name.source, Source::Nowhere(_)))
}

impl Name {
    /// What the agent is asked for it.
    pub(super) fn question(&self) -> Option<&'static str> {
        match (self.source, self.name) {
            (Source::Agent, "portalmanifest") => Some("manifest"),
            (Source::Agent, name) => Some(name),
            _ => None,
        }
    }
}

/// All names with what they are, as a JSON object: a line each, so that people can read it.
pub(super) fn commands() -> String {
    let width = listed().map(|name| name.name.len()).max().unwrap_or(0) + 1;
    let line = |name: &Name| {
        let gap = width - name.name.len();
        format!(" \"{}\":{:gap$}{}", name.name, "", serde_json::Value::from(name.what))
    };
    format!("{{\n{}\n}}", listed().map(line).collect::<Vec<_>>().join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_word_and_one_each() {
        for (index, name) in NAMES.iter().enumerate() {
            assert!(name.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            assert!(NAMES[..index].iter().all(|other| other.name != name.name), "{}", name.name);
        }
    }

    #[test]
    fn the_list_is_json_and_names_no_secret() {
        let list: serde_json::Value = serde_json::from_str(&commands()).unwrap();
        let list = list.as_object().unwrap();
        assert!(list.contains_key("manifest") && list.contains_key("commands"));
        assert!(["key", "cert", "certificate", "rpccert"].iter().all(|name| !list.contains_key(*name)));
        assert!(matches!(find("key").unwrap().source, Source::Nowhere(_)) && find("Key").is_none());
    }
}

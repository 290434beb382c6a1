//! Host names: each unique in its slice, so that nodes can be told apart at the prompt.

use std::collections::BTreeSet;

use testyard_model::diagnostic::{Diagnostic, Severity};
use testyard_model::name::{ClientId, Hostname};

/// What every node is to itself: no node can be called so to the others.
const OWN: [&str; 3] = ["localhost", "ip6-localhost", "ip6-loopback"];

/// Whether a client id can be the name of its host as it is.
#[must_use]
pub fn is_hostname(client_id: &ClientId) -> bool {
    Hostname::from_client_id(client_id).as_str() == client_id.as_str()
}

/// What there is to say about a node that is called otherwise than its user called it.
#[must_use]
pub fn remark(client_id: &ClientId, hostname: &Hostname) -> Option<Diagnostic> {
    let plain = Hostname::from_client_id(client_id);
    let says_nothing = !client_id.as_str().contains(|c: char| c.is_ascii_alphanumeric());
    let is_number = plain.as_str().strip_prefix("node-").is_some_and(|rest| {
        Hostname::is_number(rest) && !client_id.as_str().to_ascii_lowercase().starts_with("node")
    });
    (*hostname != plain || says_nothing || is_number).then(|| {
        let why = if OWN.contains(&plain.as_str()) {
            format!("every node is {plain} to itself")
        } else if is_number {
            "programs would take the number for an address".to_owned()
        } else if says_nothing {
            "host names are of letters, digits and hyphens".to_owned()
        } else {
            format!("{plain} is another node's name")
        };
        Diagnostic::new(
            Severity::Notice,
            format!("node {:?} is called {hostname}: {why}", client_id.as_str()),
        )
    })
}

/// The host name for a client id that no other node of the slice has, and marks it as taken.
pub fn hostname(client_id: &ClientId, taken: &mut BTreeSet<Hostname>) -> Hostname {
    let plain = Hostname::from_client_id(client_id);
    let numbered = (2..).map(|number| plain.numbered(number));
    let is_free = |name: &Hostname| !taken.contains(name) && !OWN.contains(&name.as_str());
    let free = std::iter::once(plain.clone()).chain(numbered).find(is_free).unwrap_or(plain);
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_names_are_numbered() {
        let mut taken = BTreeSet::new();
        let names: Vec<_> = ["PC 1", "pc+1", "pc-1", "x"]
            .map(|id| hostname(&id.parse().unwrap(), &mut taken).to_string())
            .into();
        assert_eq!(names, ["pc-1", "pc-1-2", "pc-1-3", "x"]);
    }

    #[test]
    fn nobody_is_called_as_everybody_calls_itself() {
        let mut taken = BTreeSet::new();
        let id: ClientId = "localhost".parse().unwrap();
        let name = hostname(&id, &mut taken);
        assert_eq!(name.as_str(), "localhost-2");
        let told = remark(&id, &name).unwrap().message;
        assert_eq!(told, "node \"localhost\" is called localhost-2: every node is localhost to itself");
    }

    #[test]
    fn who_is_called_otherwise_is_told() {
        let told = |id: &str, name: &str| {
            remark(&id.parse().unwrap(), &name.parse().unwrap()).map(|told| told.message).unwrap_or_default()
        };
        assert_eq!(told("web", "web"), "");
        assert_eq!(told("PC 1", "pc-1"), "");
        assert!(told("a_b", "a-b-2").ends_with("a-b is another node's name"));
        assert!(told("\u{e9}", "node").ends_with("letters, digits and hyphens"));
        assert!(told("2", "node-2").ends_with("take the number for an address"));
        assert_eq!(told("node-2", "node-2"), "");
    }

    #[test]
    fn nobody_is_called_by_a_number() {
        let mut taken = BTreeSet::new();
        let names =
            ["2", "0x7F", "node-2", "2b"].map(|id| hostname(&id.parse().unwrap(), &mut taken).to_string());
        assert_eq!(names, ["node-2", "node-0x7f", "node-2-2", "2b"]);
    }
}

//! Host names: each unique in its slice, so that nodes can be told apart at the prompt.

use std::collections::BTreeSet;

use testyard_model::name::{ClientId, Hostname};

/// The host name for a client id that no other node of the slice has, and marks it as taken.
pub fn hostname(client_id: &ClientId, taken: &mut BTreeSet<Hostname>) -> Hostname {
    let plain = Hostname::from_client_id(client_id);
    let numbered = (2..).map(|number| plain.numbered(number));
    let free =
        std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(plain);
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
}

//! Texts of controller and hosts in the words of this door. Theirs are the AM API's: `geni_reload` is an action of a client
//! that nobody here has, where `testyard reload NODE` is what its user types.

use testyard_model::state::{Action, Allocation, Operational};

use crate::from::{plain, word};

/// A text for whoever uses the local commands; `node` is what its remedies name.
pub(crate) fn translated(text: &str, node: &str) -> String {
    const PREFIX: &str = "geni_";
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    // Part of a name or of a path it is somebody else's word.
    let is_of_name = |c: char| is_of_word(c) || matches!(c, '-' | '.' | '/');
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PREFIX) {
        let is_free = !rest[..at].ends_with(is_of_name);
        let end = rest[at..].find(|c| !is_of_word(c)).map_or(rest.len(), |length| at + length);
        told += &rest[..at];
        match ours(&rest[at..end], node).filter(|_| is_free) {
            Some(word) => told += &word,
            None => told += &rest[at..end],
        }
        rest = &rest[end..];
    }
    told + rest
}

/// One of the API's words, if there is one here.
fn ours(theirs: &str, node: &str) -> Option<String> {
    let command = |verb: &str| Some(format!("`testyard {verb} {node}`"));
    match theirs.parse() {
        Ok(Action::Start) => return command("start"),
        Ok(Action::Stop) => return command("stop"),
        Ok(Action::Restart) => return command("restart"),
        Ok(Action::Reload) => return command("reload"),
        Ok(Action::UpdateUsers | Action::CancelUpdateUsers) | Err(_) => {}
    }
    let state = theirs.parse::<Operational>().map(word);
    let state = state.or_else(|_| theirs.parse::<Allocation>().map(|state| plain(state.as_str())));
    state.ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_are_commands_of_this_door() {
        for (theirs, here) in [
            (
                "try geni_restart, then geni_reload",
                "try `testyard restart web.lab`, then `testyard reload web.lab`",
            ),
            ("geni_start", "`testyard start web.lab`"),
            ("when it is geni_ready; not geni_pending_allocation", "when it is ready; not allocated"),
            ("it is geni_provisioned", "it is provisioned"),
            ("geni_users and geni_extend_alap", "geni_users and geni_extend_alap"),
            ("/opt/my-geni_reload.sh and mygeni_reload", "/opt/my-geni_reload.sh and mygeni_reload"),
            ("geni_reloaded geni_ ü", "geni_reloaded geni_ ü"),
        ] {
            assert_eq!(translated(theirs, "web.lab"), here);
        }
    }
}

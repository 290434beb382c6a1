//! What programs in the node may know about it: `testyard-guest facts`, and `geni-get` as scripts of other testbeds
//! call it (docs/reference/facts.md).
//!
//! ```text
//!  any user: geni-get ──► socket ──► server, a thread of process 1 ──► desk ──► link ──► agent
//! ```

mod client;
mod desk;
mod door;
mod names;
mod server;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

pub(crate) use client::{facts, geni_get};
pub(crate) use desk::Desk;

use testyard_guest_protocol::GUEST_PROGRAM;

use crate::node::Node;
use crate::text;
use testyard_fetch::backoff::pause;

/// Where people and scripts find the programs that ask, also in sessions of the image's own SSH server, whose PATH does
/// not have our folder; and what the links lead to, in the folder that the engine mounts.
const LINKS: [(&str, &str); 2] =
    [("usr/bin/geni-get", "/.testyard/bin/geni-get"), ("usr/bin/testyard-guest", GUEST_PROGRAM)];

/// Answers the node's programs; never returns.
pub(crate) fn run(node: &'static Node) {
    place_links(&node.root);
    let wake = || node.board.wake();
    let listeners = door::listen(&node.root);
    let mut server = match server::Server::new(&node.facts, &wake, listeners) {
        Ok(server) => server,
        Err(error) => return text::log(&format!("programs of the node cannot ask for facts: {error}")),
    };
    loop {
        // A defect in an answer must not end the others.
        if catch_unwind(AssertUnwindSafe(|| server.turn())).is_err() {
            server.hang_up();
            pause(Duration::from_secs(1));
        }
    }
}

/// Puts the links into the image where there is room for them: a name that the image has is the image's.
fn place_links(root: &Path) {
    for (link, program) in LINKS {
        // A file system that is read-only, or an image without such a folder, does without.
        let _ = std::os::unix::fs::symlink(program, root.join(link));
    }
}

#[cfg(test)]
mod tests {
    use crate::program::environment;

    #[test]
    fn time_zone_and_locale_are_the_images() {
        let about = |env: Vec<(String, String)>| -> Vec<String> {
            let is = |name: &str| name == "TZ" || name.starts_with("LANG") || name.starts_with("LC_");
            env.into_iter()
                .filter(|(name, _)| is(name))
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        assert!(about(environment(&[], &[("HOME", "/root"), ("USER", "root")])).is_empty());
        let image = ["TZ=Europe/Oslo".to_owned(), "LANG=nb_NO.UTF-8".to_owned(), "LC_TIME=C".to_owned()];
        assert_eq!(about(environment(&image, &[])), image);
    }

    #[test]
    fn the_links_leave_a_name_of_the_image_alone() {
        let root = tempfile::tempdir().unwrap();
        super::place_links(root.path());
        assert!(!root.path().join("usr").exists(), "an image without the folder does without");
        std::fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        super::place_links(root.path());
        super::place_links(root.path());
        for (link, program) in super::LINKS {
            let link = root.path().join(link);
            assert_eq!(std::fs::read_link(&link).unwrap(), std::path::Path::new(program));
            std::fs::remove_file(&link).unwrap();
            std::fs::write(&link, "its own").unwrap();
            super::place_links(root.path());
            assert_eq!(std::fs::read(link).unwrap(), b"its own");
        }
    }
}

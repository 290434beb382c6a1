//! The names of owners, from the image's files: a static program asks no name service.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc;

/// How much of a file of accounts is read.
const MOST: u64 = 1 << 20;

/// Names by number.
#[derive(Debug, Default)]
pub(super) struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// As the files are now; nobody has a name where there are none.
    pub(super) fn read() -> Self {
        Self { users: parse(&contents("/etc/passwd")), groups: parse(&contents("/etc/group")) }
    }

    /// The user's name, else the number.
    pub(super) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The group's name, else the number.
    pub(super) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }
}

fn contents(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Without waiting: it may be a pipe.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    if let Ok(file) = file
        && file.metadata().is_ok_and(|found| found.is_file())
    {
        // What could be read is better than nothing.
        let _ = file.take(MOST).read_to_end(&mut bytes);
    }
    bytes
}

/// The first name of each number, as passwd and group both have them: `name:password:number:…`.
fn parse(bytes: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
        let mut fields = line.split(':');
        if let (Some(name), Some(number)) =
            (fields.next(), fields.nth(1).and_then(|field| field.parse().ok()))
            && !name.is_empty()
            && name.len() <= 32
            && name.chars().all(|c| c.is_ascii_graphic())
        {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_first_line_and_harmless() {
        let text =
            b"root:x:0:0::/:\ntoor:x:0:0::/:\nann:x:1000:\nnone\n:x:5:\nb b:x:6:\n\xff:x:7:\nodd:x:many:\n";
        let owners = Owners { users: parse(text), groups: HashMap::new() };
        assert_eq!(
            (owners.user(0), owners.user(1000), owners.group(0)),
            ("root".into(), "ann".into(), "0".into())
        );
        assert!([5, 6, 7].into_iter().all(|uid| owners.user(uid) == uid.to_string()));
    }
}

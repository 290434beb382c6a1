//! What every program expects of a root, made where the image lacks it: an image may be one static program and nothing
//! else.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::accounts::ShellPaths;
use crate::files::{self, FileError};
use crate::state;
use crate::table::Table;
use crate::text;

/// Folders and their modes.
const FOLDERS: &[(&str, u32)] = &[
    ("etc", 0o755),
    ("home", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// Makes what is missing; what is there is left as it is. What cannot be made is not told here: whoever needs it does.
pub(crate) fn make(root: &Path) {
    for (name, mode) in FOLDERS {
        let path = root.join(name);
        let made = || -> io::Result<()> {
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))
        };
        // A link that leads nowhere yet is the image's own business.
        if fs::symlink_metadata(&path).is_err()
            && !state::is_read_only(&path)
            && let Err(error) = made()
        {
            text::log(&format!("cannot make /{name}: {error}"));
        }
    }
    if !state::is_read_only(&root.join("etc"))
        && let Err(error) = root_account(root)
    {
        text::log(&text::chain(&error));
    }
}

/// Root has a name: `whoami`, `ps`, `tar` and SSH servers look for it.
fn root_account(root: &Path) -> Result<(), FileError> {
    let shell = ShellPaths::find(root).login;
    for (name, line) in
        [("group", "root:x:0:".to_owned()), ("passwd", format!("root:*:0:0:root:/root:{shell}"))]
    {
        let path = root.join("etc").join(name);
        let mut table = Table::parse(&files::read(&path)?.unwrap_or_default());
        if !table.contains("root") && !table.numbers(2).contains(&0) {
            table.set("root", &line);
            files::replace(&path, &table.bytes(), None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_a_root() {
        let root = tempfile::tempdir().unwrap();
        make(root.path());
        make(root.path());
        let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o7777;
        for (name, expected) in FOLDERS {
            assert_eq!(mode(name), *expected, "{name}");
        }
        let text = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
        assert_eq!(text("etc/passwd"), "root:*:0:0:root:/root:/bin/sh\n");
        assert_eq!(text("etc/group"), "root:x:0:\n");
    }

    #[test]
    fn what_the_image_has_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        fs::set_permissions(root.path().join("tmp"), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink("nowhere", root.path().join("home")).unwrap();
        fs::write(root.path().join("etc/passwd"), "toor:x:0:0::/:/bin/odd").unwrap();
        make(root.path());
        assert_eq!(fs::read_to_string(root.path().join("etc/passwd")).unwrap(), "toor:x:0:0::/:/bin/odd");
        assert_eq!(fs::metadata(root.path().join("tmp")).unwrap().permissions().mode() & 0o7777, 0o700);
        assert!(fs::symlink_metadata(root.path().join("home")).unwrap().is_symlink());
    }
}

//! Why a command may have failed, where its shell says too little: "not found" of a script that is there.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::text::printable;

/// How many words of a script are looked at.
const MAX_WORDS: usize = 200;

/// How much of a file is read to find its first line.
const MAX_LINE: u64 = 256;

/// What people should know about a script that `shell` read and that ended with this status.
pub(crate) fn reason(root: &Path, shell: &str, script: &str, status: i32) -> Option<String> {
    if status == 0 {
        return None;
    }
    // What a shell says if it cannot run a program that it was told to run.
    if matches!(status, 126 | 127)
        && let Some(reason) = words(script).take(MAX_WORDS).find_map(|word| of_file(root, word))
    {
        return Some(reason);
    }
    let asked = interpreter(script.as_bytes())?;
    let name = asked.rsplit('/').next().unwrap_or_default();
    (name != shell && name != "env")
        .then(|| format!("its first line asks for {asked}, but {shell} has read it, as the request says"))
}

/// The words of a script that may be paths.
fn words(script: &str) -> impl Iterator<Item = &str> {
    script
        .split(|c: char| c.is_whitespace() || ";&|()<>{}\"'`".contains(c))
        .filter(|word| word.contains('/') && word.len() < 1024)
}

/// What is wrong with the first line of a file, if it is a script that cannot be run.
pub(crate) fn of_file(root: &Path, word: &str) -> Option<String> {
    let path = root.join(word.trim_start_matches('/'));
    // Without waiting: it may be a pipe.
    let file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = Vec::new();
    file.take(MAX_LINE).read_to_end(&mut head).ok()?;
    let asked = interpreter(&head)?;
    let shown = printable(asked.as_bytes(), 100);
    if asked.ends_with('\r') {
        let asked = shown.trim_end_matches('?');
        return Some(format!(
            "{word} has the line ends of Windows, so that it asks for {asked:?} and a line end: convert it"
        ));
    }
    let there = root.join(asked.trim_start_matches('/')).exists();
    (!there)
        .then(|| format!("{word} asks for {shown}, which the image does not have: install it in the image"))
}

/// The program that a script's first line asks for.
fn interpreter(script: &[u8]) -> Option<String> {
    let line = script.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    // The kernel takes blanks and tabs only for the end of the name.
    let name = line.trim_start_matches([' ', '\t']).split([' ', '\t']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn scripts_that_nothing_can_run_are_told() {
        let root = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        fs::create_dir_all(root.path().join("bin")).unwrap();
        fs::create_dir_all(root.path().join("srv/folder")).unwrap();
        put("bin/sh", "");
        put("srv/bash", "#!/bin/bash -e\nx");
        put("srv/windows", "#!/bin/sh\r\nx\r\n");
        put("srv/good", "#! /bin/sh -e\n");
        put("srv/none", "x");
        let why = |script: &str, status| reason(root.path(), "sh", script, status);
        let told = why("cd /srv && \"/srv/bash\" 1 2>&1", 127).unwrap();
        assert!(told.starts_with("/srv/bash asks for /bin/bash, which the image does not have"), "{told}");
        let told = why("true; srv/windows|cat", 126).unwrap();
        assert!(
            told.contains("srv/windows has the line ends of Windows") && told.contains("\"/bin/sh\""),
            "{told}"
        );
        for quiet in ["/srv/good", "/srv/none", "/srv/folder", "/nowhere", "none", ""] {
            assert_eq!(why(quiet, 127), None, "{quiet}");
        }
        assert_eq!(why("/srv/bash", 1), None);
        assert_eq!(why("/srv/bash", 0), None);
    }

    #[test]
    fn a_first_line_has_no_effect_in_an_execute() {
        let root = Path::new("/nonexistent");
        let told = reason(root, "sh", "#!/bin/bash\n[[ 1 ]]\n", 2).unwrap();
        assert!(told.contains("/bin/bash") && told.contains("sh has read it"), "{told}");
        assert_eq!(reason(root, "sh", "#!/bin/bash\n", 0), None);
        for quiet in ["#!/usr/bin/sh\n", "#!/usr/bin/env bash\n", "# !\n", "#!\n", ""] {
            assert_eq!(reason(root, "sh", quiet, 2), None, "{quiet}");
        }
    }
}

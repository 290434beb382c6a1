//! What commands of users are read by, and in which environment: executes, and programs of a schedule.

use std::path::{Path, PathBuf};

use testyard_guest_protocol::Desired;

use crate::program;

/// Where shells are looked for first.
const FOLDERS: &str = "/bin:/usr/bin:/usr/local/bin";

/// The environment: the image's, root's HOME, USER and LOGNAME, and before all the topology's.
pub(crate) fn environment(desired: &Desired) -> Vec<(String, String)> {
    // What no environment can hold is left out.
    let own = || desired.environment.iter().filter(|line| !line.contains('\0') && line.contains('='));
    let is_own = |name: &str| own().any(|line| line.split_once('=').is_some_and(|(known, _)| known == name));
    let lines: Vec<String> = desired.program.env.iter().chain(own()).cloned().collect();
    let mut env = program::environment(&lines, &[]);
    for (name, value) in [("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root")] {
        if !is_own(name) {
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), value.to_owned()));
        }
    }
    env
}

/// The file of a shell, `sh` or `bash`; else why there is none, with what to do.
pub(crate) fn find(root: &Path, env: &[(String, String)], name: &str) -> Result<PathBuf, String> {
    let path = env.iter().find(|(name, _)| name == "PATH").map_or(program::PATH, |(_, path)| path.as_str());
    let find = |name: &str| {
        program::find(root, root, FOLDERS, name).or_else(|| program::find(root, root, path, name))
    };
    find(name).ok_or_else(|| {
        let other = if name == "bash" { "sh" } else { "bash" };
        let remedy = match find(other) {
            Some(_) => format!("install it in the image or use {other}, which is there"),
            None => "nor any other shell that is known here: install one in the image".to_owned(),
        };
        format!("the image has no {name}; {remedy}")
    })
}

/// Line ends as shells want them: a script that was written on Windows means the same.
pub(crate) fn script(command: &str) -> String {
    let mut text = command.replace("\r\n", "\n");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_of_windows_mean_the_same() {
        assert_eq!(script("echo a\r\necho b"), "echo a\necho b\n");
        assert_eq!(script("printf 'a\rb'\n"), "printf 'a\rb'\n");
    }

    #[test]
    fn root_is_root_whatever_the_image_says_and_the_topology_goes_first() {
        let mut desired = Desired::default();
        desired.program.env = ["HOME=/srv", "A=1", "USER=web"].map(str::to_owned).into();
        desired.environment = ["A=2=3", "USER=ann", "B=x\0y", "none"].map(str::to_owned).into();
        let env = environment(&desired);
        let of = |name: &str| env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(
            (of("A"), of("HOME"), of("USER"), of("LOGNAME")),
            (Some("2=3"), Some("/root"), Some("ann"), Some("root"))
        );
        assert_eq!((of("B"), env.len()), (None, 5));
    }
}

//! The environment that a command of sudo gets. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::options::Keep;

/// Variables of the caller that every command gets.
const KEPT: &[&str] = &[
    "COLORS",
    "DISPLAY",
    "HOSTNAME",
    "KRB5CCNAME",
    "LS_COLORS",
    "PS1",
    "PS2",
    "XAUTHORITY",
    "XAUTHORIZATION",
];

/// Those that it gets if they hold neither `/` nor `%`, with which a program might be led to a file.
const CHECKED: &[&str] = &["COLORTERM", "LANG", "LANGUAGE", "LINGUAS", "TERM", "TZ"];

/// Those that make programs load or run something; not even `-E` keeps them.
const HARMFUL: &[&str] = &[
    "IFS",
    "CDPATH",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "HOSTALIASES",
    "NLSPATH",
    "PATH_LOCALE",
    "TERMINFO",
    "TERMINFO_DIRS",
    "TERMPATH",
    "TERMCAP",
    "ENV",
    "BASH_ENV",
    "PS4",
    "GLOBIGNORE",
    "BASHOPTS",
    "SHELLOPTS",
    "JAVA_TOOL_OPTIONS",
    "FPATH",
    "NULLCMD",
    "READNULLCMD",
    "ZDOTDIR",
    "TMPPREFIX",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONINSPECT",
    "PYTHONUSERBASE",
    "RUBYLIB",
    "RUBYOPT",
    "PERLIO_DEBUG",
    "PERLLIB",
    "PERL5LIB",
    "PERL5OPT",
    "PERL5DB",
    "GCONV_PATH",
    "LOCPATH",
    "GLIBC_TUNABLES",
    "MALLOC_CHECK_",
    "MALLOC_TRACE",
    "SUDO_PS1",
];
const HARMFUL_BEGINNINGS: &[&str] = &["LD_", "_RLD", "DYLD_", "BASH_FUNC_", "SUDO_"];

/// What the command's own identity says.
pub(super) struct Own<'a> {
    pub(super) login: &'a str,
    pub(super) home: &'a str,
    pub(super) shell: &'a str,
    pub(super) path: &'a str,
    /// Who called, and with what.
    pub(super) caller: &'a str,
    pub(super) caller_ids: (u32, u32),
    pub(super) command: OsString,
}

/// Puts it together. `set_home`: HOME is the target's even where all of the caller's is kept.
pub(super) fn environment(
    callers: impl IntoIterator<Item = (OsString, OsString)>,
    keep: &Keep,
    set_home: bool,
    own: &Own<'_>,
    assignments: &[(OsString, OsString)],
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> =
        callers.into_iter().filter(|(name, value)| is_kept(name, value, keep)).collect();
    let mut set = |name: &str, value: &OsStr| {
        env.retain(|(known, _)| known != name);
        env.push((name.into(), value.to_owned()));
    };
    let all = *keep == Keep::All;
    if !all || set_home {
        set("HOME", own.home.as_ref());
    }
    if !all {
        set("SHELL", own.shell.as_ref());
    }
    for (name, value) in [("LOGNAME", own.login), ("USER", own.login), ("PATH", own.path)] {
        set(name, value.as_ref());
    }
    set("SUDO_USER", own.caller.as_ref());
    set("SUDO_UID", own.caller_ids.0.to_string().as_ref());
    set("SUDO_GID", own.caller_ids.1.to_string().as_ref());
    set("SUDO_COMMAND", &own.command);
    for (name, value) in [("TERM", "unknown"), ("HOME", own.home), ("SHELL", own.shell)] {
        if !env.iter().any(|(known, _)| known == name) {
            env.push((name.into(), value.into()));
        }
    }
    for (name, value) in assignments {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    env
}

fn is_kept(name: &OsStr, value: &OsStr, keep: &Keep) -> bool {
    let bytes = name.as_bytes();
    // A function that an old bash would define.
    if value.as_bytes().starts_with(b"()") {
        return false;
    }
    let checked = CHECKED.iter().any(|known| name == *known) || bytes.starts_with(b"LC_");
    if checked && value.as_bytes().iter().any(|b| matches!(b, b'/' | b'%')) {
        // A time zone has a slash in its name.
        return name == "TZ" && is_zone(value);
    }
    let harmful = HARMFUL.iter().any(|known| name == *known)
        || HARMFUL_BEGINNINGS.iter().any(|beginning| bytes.starts_with(beginning.as_bytes()));
    match keep {
        _ if harmful => false,
        Keep::All => true,
        Keep::Named(names) if names.iter().any(|known| known == name) => true,
        Keep::Few | Keep::Named(_) => checked || KEPT.iter().any(|known| name == *known),
    }
}

fn is_zone(value: &OsStr) -> bool {
    let value = value.as_bytes();
    !value.starts_with(b"/")
        && !value.starts_with(b":")
        && !value.windows(2).any(|pair| pair == b"..")
        && value.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own() -> Own<'static> {
        Own {
            login: "root",
            home: "/root",
            shell: "/bin/sh",
            path: "/bin",
            caller: "ann",
            caller_ids: (1000, 1001),
            command: "/bin/id".into(),
        }
    }

    fn made(
        callers: &[(&str, &str)],
        keep: &Keep,
        set_home: bool,
        more: &[(&str, &str)],
    ) -> Vec<(String, String)> {
        let os = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
        };
        environment(os(callers), keep, set_home, &own(), &os(more))
            .into_iter()
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
            .collect()
    }

    fn of<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut found = env.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice");
        value
    }

    const CALLERS: &[(&str, &str)] = &[
        ("PATH", "/home/ann/bin"),
        ("HOME", "/home/ann"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "../../evil"),
        ("TERM", "xterm"),
        ("TZ", "Europe/Berlin"),
        ("LD_PRELOAD", "/tmp/x.so"),
        ("BASH_ENV", "/tmp/x"),
        ("SUDO_USER", "root"),
        ("EDITOR", "vi"),
        ("SSH_AUTH_SOCK", "/tmp/a"),
        ("DISPLAY", "() { :; }; evil"),
    ];

    #[test]
    fn few_are_kept() {
        let env = made(CALLERS, &Keep::Few, false, &[("A", "1"), ("PATH", "/mine")]);
        let of = |name| of(&env, name);
        assert_eq!(
            (of("PATH"), of("HOME"), of("USER"), of("A")),
            (Some("/mine"), Some("/root"), Some("root"), Some("1"))
        );
        assert_eq!(
            (of("LANG"), of("TERM"), of("TZ")),
            (Some("C.UTF-8"), Some("xterm"), Some("Europe/Berlin"))
        );
        assert_eq!(
            (of("SUDO_USER"), of("SUDO_UID"), of("SUDO_GID")),
            (Some("ann"), Some("1000"), Some("1001"))
        );
        assert_eq!(of("SUDO_COMMAND"), Some("/bin/id"));
        for name in ["LC_ALL", "LD_PRELOAD", "BASH_ENV", "EDITOR", "SSH_AUTH_SOCK", "DISPLAY"] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn all_are_kept_but_harmful_ones() {
        let env = made(CALLERS, &Keep::All, false, &[]);
        let of = |name| of(&env, name);
        assert_eq!((of("EDITOR"), of("HOME"), of("PATH")), (Some("vi"), Some("/home/ann"), Some("/bin")));
        assert_eq!((of("LD_PRELOAD"), of("BASH_ENV"), of("SUDO_USER")), (None, None, Some("ann")));
        assert_eq!(self::of(&made(CALLERS, &Keep::All, true, &[]), "HOME"), Some("/root"));
        let named = made(CALLERS, &Keep::Named(vec!["EDITOR".into(), "LD_PRELOAD".into()]), false, &[]);
        assert_eq!((self::of(&named, "EDITOR"), self::of(&named, "LD_PRELOAD")), (Some("vi"), None));
        assert_eq!(self::of(&named, "SSH_AUTH_SOCK"), None);
    }

    proptest! {
        #[test]
        fn no_callers_variable_decides_what_is_run(name in "(LD_[A-Z]{1,8}|BASH_ENV|ENV|IFS|PATH|SUDO_UID)", value in ".{0,20}", all: bool) {
            let keep = if all { Keep::All } else { Keep::Few };
            let env = made(&[(&name, &value)], &keep, false, &[]);
            let expected = match name.as_str() { "PATH" => Some("/bin"), "SUDO_UID" => Some("1000"), _ => None };
            prop_assert_eq!(of(&env, &name), expected);
        }
    }
}

//! The variables of what a session starts. Pure.

use crate::settings::{Account, Settings};

/// Variables that a client may send, and what they may weigh together.
const VARIABLES: usize = 128;
const BYTES: usize = 64 << 10;

/// The variables that a client has sent and that were accepted.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    variables: Vec<(String, String)>,
    bytes: usize,
}

impl Sent {
    /// Takes a variable if it is one that only describes the client's terminal, language or authorship: nothing that
    /// changes which program runs or what it loads.
    pub(crate) fn accept(&mut self, name: &str, value: &str) -> bool {
        let weight = name.len() + value.len();
        let fits = self.variables.len() < VARIABLES && self.bytes + weight <= BYTES;
        if !fits || !is_harmless(name) || value.contains('\0') {
            return false;
        }
        self.bytes += weight;
        self.variables.push((name.to_owned(), value.to_owned()));
        true
    }
}

fn is_harmless(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // Some of GIT_ name programs that git starts.
    let git =
        ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_PROTOCOL"];
    plain
        && ([
            "LANG",
            "LANGUAGE",
            "TZ",
            "TERM",
            "COLORTERM",
            "TERM_PROGRAM",
            "TERM_PROGRAM_VERSION",
            "NO_COLOR",
        ]
        .contains(&name)
            || name.starts_with("LC_")
            || git.contains(&name))
}

/// What a session knows of itself, besides settings and account.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) shell: &'a str,
    /// `CLIENT_IP CLIENT_PORT SERVER_IP SERVER_PORT`.
    pub(crate) connection: String,
    /// `CLIENT_IP CLIENT_PORT SERVER_PORT`.
    pub(crate) client: String,
    /// The terminal's path and kind.
    pub(crate) terminal: Option<(String, &'a str)>,
    /// The socket of the forwarded agent.
    pub(crate) agent: Option<&'a str>,
    /// What was asked for where another command is forced.
    pub(crate) original: Option<String>,
}

/// The whole environment. Later ones win: image, client, key, then what the session says itself.
pub(crate) fn compose(
    settings: &Settings,
    account: &Account,
    sent: &Sent,
    of_key: &[(String, String)],
    facts: Facts<'_>,
) -> Vec<(String, String)> {
    let image = settings.environment.iter().filter_map(|assignment| {
        let (name, value) = assignment.split_once('=')?;
        (!name.is_empty() && !assignment.contains('\0')).then(|| (name.to_owned(), value.to_owned()))
    });
    let home = account.home.to_string_lossy();
    let own = [
        ("USER", Some(account.login.as_str())),
        ("LOGNAME", Some(&account.login)),
        ("HOME", Some(&home)),
        ("SHELL", (!facts.shell.is_empty()).then_some(facts.shell)),
        ("SSH_CONNECTION", Some(&facts.connection)),
        ("SSH_CLIENT", Some(&facts.client)),
        ("SSH_TTY", facts.terminal.as_ref().map(|(path, _)| path.as_str())),
        ("TERM", facts.terminal.as_ref().map(|(_, kind)| *kind).filter(|kind| !kind.is_empty())),
        ("SSH_AUTH_SOCK", facts.agent),
        ("SSH_ORIGINAL_COMMAND", facts.original.as_deref()),
    ];
    let path = [("PATH".to_owned(), settings.path.clone())];
    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let all =
        image.chain(path).chain(sent.variables.iter().cloned()).chain(of_key.iter().cloned()).chain(own);
    let mut variables = Vec::<(String, String)>::new();
    for (name, value) in all {
        match variables.iter_mut().find(|(own, _)| *own == name) {
            Some((_, old)) => *old = value,
            None => variables.push((name, value)),
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_variables_are_taken() {
        let mut sent = Sent::default();
        for name in ["LANG", "LC_ALL", "TERM", "COLORTERM", "GIT_AUTHOR_NAME", "GIT_PROTOCOL"] {
            assert!(sent.accept(name, "x"), "{name}");
        }
        for name in [
            "LD_PRELOAD",
            "PATH",
            "HOME",
            "BASH_ENV",
            "ENV",
            "IFS",
            "GIT_SSH_COMMAND",
            "GIT_EXTERNAL_DIFF",
            "LC_=",
            "LC_A B",
            "",
        ] {
            assert!(!sent.accept(name, "x"), "{name}");
        }
        assert!(!sent.accept("LANG", "a\0b"));
        assert!(!sent.accept("LANG", &"x".repeat(BYTES)));
        for _ in 0..VARIABLES {
            sent.accept("LC_ALL", "");
        }
        assert!(!sent.accept("LC_ALL", ""));
    }

    #[test]
    fn the_session_has_the_last_word() {
        let settings = Settings {
            host_keys: Vec::new(),
            accounts: Vec::new(),
            environment: vec![
                "HOME=/root".to_owned(),
                "LANG=C".to_owned(),
                "A=b=c".to_owned(),
                "=x".to_owned(),
                "none".to_owned(),
            ],
            path: "/bin".to_owned(),
            banner: None,
            motd: None,
            limits: crate::Limits::default(),
        };
        let account = Account {
            login: "ann".to_owned(),
            uid: 1,
            gid: 1,
            groups: Vec::new(),
            home: "/home/ann".into(),
            shell: None,
            keys: Vec::new(),
        };
        let mut sent = Sent::default();
        assert!(sent.accept("LANG", "de"));
        let facts = Facts { shell: "/bin/sh", ..Facts::default() };
        let made = compose(&settings, &account, &sent, &[("USER".to_owned(), "root".to_owned())], facts);
        let value = |name: &str| made.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        assert_eq!(value("HOME"), Some("/home/ann"));
        assert_eq!(value("LANG"), Some("de"));
        assert_eq!(value("A"), Some("b=c"));
        assert_eq!(value("USER"), Some("ann"));
        assert_eq!(value("PATH"), Some("/bin"));
        assert_eq!(value("SSH_TTY"), None);
        assert_eq!(value(""), None);
        assert_eq!(made.iter().filter(|(name, _)| name == "HOME").count(), 1);
    }
}

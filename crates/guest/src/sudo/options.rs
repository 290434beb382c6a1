//! What a command line of sudo asks for. Pure; options as sudo(8) of version 1.9 has them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A command, or a shell.
    Run(Box<Run>),
    /// `-v`: may I?
    Validate,
    /// `-l`, perhaps with a command.
    List(Vec<OsString>),
    /// `-k` and `-K` alone: there is nothing to forget, nobody was asked for a password.
    Forget,
    Version,
    Help,
}

/// A command to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// Name or `#uid`; root if absent (with a group alone: the caller).
    pub(super) user: Option<OsString>,
    /// Name or `#gid`; the user's own if absent.
    pub(super) group: Option<OsString>,
    pub(super) shell: Shell,
    pub(super) keep: Keep,
    pub(super) keep_groups: bool,
    pub(super) set_home: bool,
    pub(super) background: bool,
    pub(super) folder: Option<OsString>,
    /// The first file descriptor that the command does not get.
    pub(super) close_from: Option<u32>,
    /// `NAME=value` before the command.
    pub(super) assignments: Vec<(OsString, OsString)>,
    pub(super) command: Vec<OsString>,
}

/// Whether a shell reads the command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shell {
    #[default]
    No,
    /// `-s`: the caller's.
    Callers,
    /// `-i`: the target's, as at its login.
    Login,
}

/// Which variables of the caller the command gets beside the harmless ones.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Keep {
    #[default]
    Few,
    All,
    Named(Vec<OsString>),
}

/// A command line that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OptionError {
    #[error("option {0} is not known; sudo --help lists those that are")]
    Unknown(String),
    #[error("option {0} is not available in a Testyard node")]
    NotHere(&'static str),
    #[error("option {0} needs a value")]
    NoValue(String),
    #[error("the value of option {0} is no number from 3 on")]
    NoNumber(&'static str),
    #[error("options -i and -s exclude each other")]
    TwoShells,
    #[error("name a command, or use -i or -s for a shell")]
    NoCommand,
}

/// What was met so far.
#[derive(Default)]
struct Met {
    run: Run,
    validate: bool,
    list: bool,
    forget: bool,
    done: Option<Request>,
}

/// Long options and the letters that mean the same; those with a value end in `=`.
const LONG: &[(&str, u8)] = &[
    ("askpass", b'A'),
    ("background", b'b'),
    ("bell", b'B'),
    ("chdir=", b'D'),
    ("chroot=", b'R'),
    ("close-from=", b'C'),
    ("command-timeout=", b'T'),
    ("edit", b'e'),
    ("group=", b'g'),
    ("help", b'?'),
    ("host=", b'h'),
    ("list", b'l'),
    ("login", b'i'),
    ("no-update", b'N'),
    ("non-interactive", b'n'),
    ("other-user=", b'U'),
    ("preserve-env", b'E'),
    ("preserve-groups", b'P'),
    ("prompt=", b'p'),
    ("remove-timestamp", b'K'),
    ("reset-timestamp", b'k'),
    ("role=", b'r'),
    ("set-home", b'H'),
    ("shell", b's'),
    ("stdin", b'S'),
    ("type=", b't'),
    ("user=", b'u'),
    ("validate", b'v'),
    ("version", b'V'),
];

const WITH_VALUE: &[u8] = b"CDghpRrTtUu";

/// Reads the arguments after the program's name.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Request, OptionError> {
    let mut met = Met::default();
    let mut rest = arguments.into_iter().peekable();
    while let Some(word) = rest.next_if(|word| is_option(word) || assignment(word).is_some()) {
        if let Some(pair) = assignment(&word) {
            met.run.assignments.push(pair);
        } else if word == "--" {
            // What follows may still begin with assignments, as with sudo.
            while let Some(pair) = rest.peek().and_then(|word| assignment(word)) {
                met.run.assignments.push(pair);
                rest.next();
            }
            break;
        } else if let Some(long) = word.as_bytes().strip_prefix(b"--") {
            met.long(long, &mut rest)?;
        } else {
            met.letters(&word.as_bytes()[1..], &mut rest)?;
        }
    }
    met.run.command = rest.collect();
    met.request()
}

fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_bytes()[0] == b'-'
}

fn assignment(word: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = word.as_bytes();
    let at = bytes.iter().position(|b| *b == b'=')?;
    let (name, value) = (&bytes[..at], &bytes[at + 1..]);
    let good = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let is_name = name.first().is_some_and(|b| !b.is_ascii_digit()) && name.iter().all(good);
    is_name.then(|| (OsString::from_vec(name.to_vec()), OsString::from_vec(value.to_vec())))
}

impl Met {
    fn long(&mut self, word: &[u8], rest: &mut impl Iterator<Item = OsString>) -> Result<(), OptionError> {
        let (name, value) = match word.iter().position(|b| *b == b'=') {
            Some(at) => (&word[..at], Some(OsString::from_vec(word[at + 1..].to_vec()))),
            None => (word, None),
        };
        let shown = || format!("--{}", String::from_utf8_lossy(name));
        if name == b"preserve-env"
            && let Some(list) = value
        {
            let names = list.as_bytes().split(|b| *b == b',').filter(|name| !name.is_empty());
            let names = names.map(|name| OsString::from_vec(name.to_vec()));
            match &mut self.run.keep {
                Keep::Named(known) => known.extend(names),
                Keep::Few => self.run.keep = Keep::Named(names.collect()),
                Keep::All => {}
            }
            return Ok(());
        }
        let (long, letter) = LONG
            .iter()
            .find(|(long, _)| long.trim_end_matches('=').as_bytes() == name)
            .ok_or_else(|| OptionError::Unknown(shown()))?;
        let value = match (long.ends_with('='), value) {
            (true, Some(value)) => value,
            (true, None) => rest.next().ok_or_else(|| OptionError::NoValue(shown()))?,
            (false, None) => OsString::new(),
            (false, Some(_)) => return Err(OptionError::Unknown(shown())),
        };
        self.take(*letter, value)
    }

    fn letters(
        &mut self,
        letters: &[u8],
        rest: &mut std::iter::Peekable<impl Iterator<Item = OsString>>,
    ) -> Result<(), OptionError> {
        for (at, letter) in letters.iter().enumerate() {
            if *letter == b'h' && letters.len() == 1 && rest.peek().is_none() {
                return self.take(b'?', OsString::new());
            }
            if WITH_VALUE.contains(letter) {
                let glued = &letters[at + 1..];
                let value = match glued {
                    [] => rest.next(),
                    glued => Some(OsString::from_vec(glued.to_vec())),
                };
                let value = value.ok_or_else(|| OptionError::NoValue(format!("-{}", char::from(*letter))))?;
                return self.take(*letter, value);
            }
            self.take(*letter, OsString::new())?;
        }
        Ok(())
    }

    fn take(&mut self, letter: u8, value: OsString) -> Result<(), OptionError> {
        let run = &mut self.run;
        match letter {
            b'u' => run.user = Some(value),
            b'g' => run.group = Some(value),
            b'i' | b's' => {
                let shell = if letter == b'i' { Shell::Login } else { Shell::Callers };
                if run.shell != Shell::No && run.shell != shell {
                    return Err(OptionError::TwoShells);
                }
                run.shell = shell;
            }
            b'E' => run.keep = Keep::All,
            b'P' => run.keep_groups = true,
            b'H' => run.set_home = true,
            b'b' => run.background = true,
            b'D' => run.folder = Some(value),
            b'C' => {
                let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| *number >= 3);
                run.close_from = Some(number.ok_or(OptionError::NoNumber("-C"))?);
            }
            // Whose rights to list is no question here: everybody has all of them or none.
            b'v' => self.validate = true,
            b'l' | b'U' => self.list = true,
            b'k' | b'K' => self.forget = true,
            b'V' => self.done = Some(Request::Version),
            b'?' => self.done = Some(Request::Help),
            // Nobody is asked for a password.
            b'n' | b'S' | b'A' | b'B' | b'N' | b'p' => {}
            b'e' => return Err(OptionError::NotHere("-e (edit)")),
            b'h' => return Err(OptionError::NotHere("-h (another host)")),
            b'R' => return Err(OptionError::NotHere("-R (another root folder)")),
            b'T' => return Err(OptionError::NotHere("-T (a time limit)")),
            b'r' | b't' => return Err(OptionError::NotHere("-r or -t (SELinux)")),
            other => return Err(OptionError::Unknown(format!("-{}", char::from(other).escape_default()))),
        }
        Ok(())
    }

    fn request(self) -> Result<Request, OptionError> {
        let Self { run, validate, list, forget, done } = self;
        if let Some(done) = done {
            return Ok(done);
        }
        if list {
            return Ok(Request::List(run.command));
        }
        if validate {
            return Ok(Request::Validate);
        }
        if run.command.is_empty() && run.shell == Shell::No {
            return if forget { Ok(Request::Forget) } else { Err(OptionError::NoCommand) };
        }
        Ok(Request::Run(Box::new(run)))
    }
}

/// A command as one line for a shell that `-s` and `-i` start: every byte but the plainest is quoted. `$` is left as
/// it is, as with sudo.
pub(super) fn line(command: &[OsString]) -> OsString {
    let mut line = Vec::new();
    for word in command {
        if !line.is_empty() {
            line.push(b' ');
        }
        for byte in word.as_bytes() {
            match byte {
                // A quoted line end would be no line end.
                b'\n' => line.extend_from_slice(b"'\n'"),
                byte if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$') => {
                    line.push(*byte);
                }
                byte if byte.is_ascii() => line.extend([b'\\', *byte]),
                byte => line.push(*byte),
            }
        }
    }
    OsString::from_vec(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect()
    }

    fn run(text: &str) -> Run {
        match parse(words(text)) {
            Ok(Request::Run(run)) => *run,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn as_people_and_tools_call_it() {
        let ansible = run("-H -S -n -u root /bin/sh -c echo");
        assert_eq!((ansible.user, ansible.set_home), (Some("root".into()), true));
        assert_eq!(ansible.command, words("/bin/sh -c echo"));
        let glued = run("-nHuann -g#7 A=1 -E B=x=y -- C=3 id -u");
        assert_eq!((glued.user, glued.group), (Some("ann".into()), Some("#7".into())));
        assert_eq!((glued.assignments.len(), glued.keep), (3, Keep::All));
        assert_eq!(glued.command, words("id -u"));
        assert_eq!(run("-i").shell, Shell::Login);
        assert_eq!(run("--shell ls -l").command, words("ls -l"));
        assert_eq!(run("--user=bob --preserve-env=A,B --preserve-env=C x").keep, Keep::Named(words("A B C")));
        assert_eq!(run("--user bob -p : -C 5 -b x").close_from, Some(5));
        assert_eq!(run("-k ls").command, words("ls"));
        assert_eq!(run("./a=b c").command, words("./a=b c"));
    }

    #[test]
    fn questions() {
        for (text, request) in [
            ("-v", Request::Validate),
            ("-nv", Request::Validate),
            ("-k", Request::Forget),
            ("-K", Request::Forget),
            ("-V", Request::Version),
            ("-h", Request::Help),
            ("--help", Request::Help),
            ("-l", Request::List(vec![])),
            ("-n -l ls x", Request::List(words("ls x"))),
            ("-ll -U ann", Request::List(vec![])),
        ] {
            assert_eq!(parse(words(text)).unwrap(), request, "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in
            ["", "-n", "-u", "--user", "-u root", "-Z x", "--none x", "-i -s", "-C 2 x", "--shell=x y"]
        {
            assert!(parse(words(text)).is_err(), "{text}");
        }
        for text in ["-e /etc/passwd", "-R / x", "-h host x", "-r a x", "-T 5 x"] {
            assert!(matches!(parse(words(text)), Err(OptionError::NotHere(_))), "{text}");
        }
    }

    #[test]
    fn a_line_for_a_shell() {
        assert_eq!(line(&words("echo a;b $HOME")), "echo a\\;b $HOME");
        assert_eq!(line(&["a b".into(), "'".into(), "x\ny".into()]), "a\\ b \\' x'\n'y");
    }

    proptest! {
        #[test]
        fn nothing_panics_and_words_reach_the_command(
            words in proptest::collection::vec(proptest::collection::vec(1u8..=255, 0..12), 0..8)
        ) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
            let _ = parse(words.clone());
            let mut behind: Vec<OsString> = vec!["-u".into(), "root".into(), "--".into(), "/bin/x".into()];
            behind.extend(words.clone());
            let Ok(Request::Run(run)) = parse(behind) else { panic!("no command") };
            prop_assert_eq!(&run.command[1..], &words[..]);
        }

        #[test]
        fn a_shell_reads_back_the_same_words(
            words in proptest::collection::vec("[ -#%-~\n]{1,8}", 1..4)
        ) {
            let mut command: Vec<OsString> = vec!["printf".into(), "%s\\n.".into()];
            command.extend(words.iter().map(OsString::from));
            let output = std::process::Command::new("sh").arg("-c").arg(line(&command)).output().unwrap();
            let expected: String = words.iter().map(|word| format!("{word}\n.")).collect();
            prop_assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        }
    }
}

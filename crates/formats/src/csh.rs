//! Commands that were written for csh, which DETER's and Emulab's users have as their login shell: what of it sh
//! would refuse, or take for something else, is written for sh (deter.md §2.7 has `>& FILE`).
//!
//! Only what no sh command means otherwise is changed, and nothing within quotes: `2>&1`, `>&2` and `>&-` stay. What is
//! written for sh is as it is when it is read again.

/// A command as sh reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) text: String,
    /// What was changed, once each: what it was, and what it is.
    changed: Vec<(&'static str, &'static str)>,
    /// The first thing that is csh's and was not changed.
    odd: Option<String>,
}

/// Words that begin a statement of csh's alone.
const CSH_ONLY: [&str; 7] = ["foreach", "endif", "endsw", "breaksw", "switch", "rehash", "onintr"];
/// Words of sh behind which a command begins.
const OPENERS: [&str; 9] = ["then", "do", "else", "elif", "if", "while", "until", "!", "{"];

/// How often what was changed is looked at again: more changes than that come of no command.
const PASSES: usize = 8;

/// Reads a command for sh.
pub(crate) fn to_sh(text: &str) -> Command {
    let mut command = Command { text: text.to_owned(), ..Command::default() };
    for _ in 0..PASSES {
        let mut reader =
            Reader { rest: &command.text, changed: command.changed.clone(), ..Reader::default() };
        // A quote that is never closed: no shell takes it.
        if reader.read().is_none() {
            break;
        }
        let (text, changed, odd) = (reader.out, reader.changed, reader.odd);
        if text == command.text {
            return Command { text, changed, odd };
        }
        (command.text, command.changed) = (text, changed);
    }
    Command { text: text.to_owned(), ..Command::default() }
}

/// Whether a command is sh's as it stands.
pub(crate) fn is_sh(text: &str) -> bool {
    to_sh(text).text == text
}

impl Command {
    /// What was changed, for people.
    pub(crate) fn note(&self) -> Option<String> {
        let parts: Vec<String> =
            self.changed.iter().map(|(was, is)| format!("{was} is taken for {is}")).collect();
        (!parts.is_empty()).then(|| format!("the command is csh's, and sh runs it: {}", parts.join(", ")))
    }

    /// What sh will not understand, for people.
    pub(crate) fn doubt(&self) -> Option<String> {
        let odd = self.odd.as_ref()?;
        Some(format!(
            "{odd}, and sh runs the command: write it for sh, or run csh -c '…' in an image that has csh"
        ))
    }
}

#[derive(Default)]
struct Reader<'t> {
    rest: &'t str,
    out: String,
    changed: Vec<(&'static str, &'static str)>,
    odd: Option<String>,
    /// A here-document begins at the end of the line: what follows is text.
    has_document: bool,
}

impl<'t> Reader<'t> {
    /// None if a quote is never closed.
    fn read(&mut self) -> Option<()> {
        // Whether a command's first word may come next.
        let mut at_command = true;
        while let Some(c) = self.rest.chars().next() {
            match c {
                '\n' if self.has_document => {
                    self.keep(self.rest.len());
                }
                ' ' | '\t' => self.keep(1),
                '\n' | ';' | '(' | ')' | '`' => {
                    self.keep(1);
                    at_command = true;
                }
                '#' if self.is_word_start() => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.keep(end);
                }
                '|' | '&' => {
                    self.operator();
                    at_command = true;
                }
                '<' => self.input(),
                '>' => self.output()?,
                _ => {
                    let word = word(self.rest)?;
                    if word.is_empty() {
                        self.keep(c.len_utf8());
                    } else if at_command {
                        at_command = self.command(word)?;
                    } else {
                        self.keep(word.len());
                    }
                }
            }
        }
        Some(())
    }

    fn keep(&mut self, length: usize) {
        let (kept, rest) = self.rest.split_at(length);
        self.out.push_str(kept);
        self.rest = rest;
    }

    fn replace(&mut self, length: usize, by: &str, change: (&'static str, &'static str)) {
        self.out.push_str(by);
        self.rest = &self.rest[length..];
        if !self.changed.contains(&change) {
            self.changed.push(change);
        }
    }

    fn doubt(&mut self, what: impl Into<String>) {
        self.odd.get_or_insert_with(|| what.into());
    }

    fn is_word_start(&self) -> bool {
        self.out.chars().next_back().is_none_or(|c| c.is_whitespace() || ";&|()`".contains(c))
    }

    /// `|&` is both outputs into a pipe.
    fn operator(&mut self) {
        let double = ["||", "&&"].iter().any(|double| self.rest.starts_with(double));
        if !double && self.rest.starts_with("|&") && !self.rest[2..].starts_with(['&', '|']) {
            let blank = if self.out.ends_with([' ', '\t']) { "" } else { " " };
            self.replace(2, &format!("{blank}2>&1 |"), ("|&", "2>&1 |"));
        } else {
            self.keep(if double { 2 } else { 1 });
        }
    }

    fn input(&mut self) {
        self.has_document |= self.rest.starts_with("<<") && !self.rest.starts_with("<<<");
        let length = self.rest.bytes().take_while(|b| *b == b'<').count();
        self.keep(length);
        if self.rest.starts_with(['&', '>']) {
            self.keep(1);
        }
    }

    /// `>& FILE` is both outputs into a file, `>! FILE` is over whatever is there.
    fn output(&mut self) -> Option<()> {
        let digits = self.out.len() - self.out.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let before = &self.out[..self.out.len() - digits];
        let is_numbered = digits > 0
            && before.chars().next_back().is_none_or(|c| c.is_whitespace() || ";&|()`<>".contains(c));
        let arrows = if self.rest.starts_with(">>") { 2 } else { 1 };
        let behind = &self.rest[arrows..];
        let both = behind.starts_with('&');
        let over = behind[usize::from(both)..].starts_with('!');
        let start = arrows + usize::from(both) + usize::from(over);
        let blanks = self.rest[start..].len() - self.rest[start..].trim_start_matches([' ', '\t']).len();
        let target = word(&self.rest[start + blanks..])?;
        let is_csh = !is_numbered && (both || over && (blanks > 0 || target.starts_with('/')));
        if !is_csh || !is_file(target) {
            if is_csh && both && is_variable(target) {
                self.doubt(format!(">& {target} is a file for csh, and a number for sh"));
            }
            // What stands behind is no file's name: sh's own, or no shell's.
            self.keep(arrows + usize::from(both || self.rest[arrows..].starts_with('|')));
            if both && !over {
                self.keep(blanks + target.len());
            }
            return Some(());
        }
        let length = start + blanks + target.len();
        let arrow = &self.rest[..arrows];
        let (text, change) = match (both, arrows) {
            (true, 2) => (format!("{arrow}{target} 2>&1"), (">>& FILE", ">>FILE 2>&1")),
            (true, _) => (format!("{arrow}{target} 2>&1"), (">& FILE", ">FILE 2>&1")),
            (false, _) => (format!("{arrow}{target}"), (">! FILE", ">FILE")),
        };
        self.replace(length, &text, change);
        Some(())
    }

    /// A word where a command begins; whether another one may begin behind it.
    fn command(&mut self, first: &'t str) -> Option<bool> {
        let behind = &self.rest[first.len()..];
        match first {
            "setenv" => self.set_variable(behind)?,
            "unsetenv" if is_name(argument(behind)?) => {
                self.replace(first.len(), "unset", ("unsetenv A", "unset A"));
            }
            "set" => {
                let name = argument(behind)?;
                let rest = behind.split_once(name).map_or("", |(_, rest)| rest);
                let is_csh = name.split_once('=').is_some_and(|(name, _)| is_name(name))
                    || is_name(name) && rest.trim_start_matches([' ', '\t']).starts_with('=');
                if is_csh {
                    self.doubt("set A = B is csh's");
                }
                self.keep(first.len());
            }
            "alias" => {
                let name = argument(behind)?;
                if is_name(name) && behind.trim().len() > name.len() && !behind.trim_start().contains(';') {
                    self.doubt("alias A B is csh's");
                }
                self.keep(first.len());
            }
            "source" => {
                self.doubt("source FILE is csh's (in sh it is . FILE)");
                self.keep(first.len());
            }
            "if" | "while" if is_csh_condition(behind) => {
                self.doubt(format!("{first} (…) is csh's"));
                self.keep(first.len());
            }
            _ if CSH_ONLY.contains(&first) || first == "@" => {
                self.doubt(format!("{first} is csh's"));
                self.keep(first.len());
            }
            _ => self.keep(first.len()),
        }
        let is_assignment = first.split_once('=').is_some_and(|(name, _)| is_name(name));
        Some(is_assignment || OPENERS.contains(&first))
    }

    /// `setenv A B` is `export A=B`.
    fn set_variable(&mut self, behind: &str) -> Option<()> {
        const CHANGE: (&str, &str) = ("setenv A B", "export A=B");
        let length = "setenv".len();
        let name = argument(behind)?;
        let name_end = behind.split_once(name).map_or(0, |(blank, _)| blank.len()) + name.len();
        let value = argument(&behind[name_end..])?;
        let value_end =
            name_end + behind[name_end..].split_once(value).map_or(0, |(blank, _)| blank.len()) + value.len();
        let rest = behind[value_end..].trim_start_matches([' ', '\t']);
        let ends = rest.is_empty() || rest.starts_with([';', '&', '|', ')', '\n', '`', '#', '>']);
        if !is_name(name) || !ends {
            self.doubt("setenv is csh's");
            self.keep(length);
            return Some(());
        }
        // Without quotes sh would part it at blanks, where csh does not.
        let is_plain = value.starts_with(['"', '\'']) || !value.contains(['$', '`', '"', '\'', '\\']);
        let text = if is_plain {
            format!("export {name}={value}")
        } else if value.contains(['"', '\'', '\\']) {
            self.doubt("setenv is csh's");
            self.keep(length);
            return Some(());
        } else {
            format!("export {name}=\"{value}\"")
        };
        self.replace(length + value_end, &text, CHANGE);
        Some(())
    }
}

/// The word that a text begins with, its quotes closed; none if they are not.
fn word(text: &str) -> Option<&str> {
    let mut rest = text.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '\\' => {
                rest.next();
            }
            '\'' => {
                rest.find(|(_, c)| *c == '\'')?;
            }
            '"' => loop {
                match rest.next()?.1 {
                    '"' => break,
                    '\\' => {
                        rest.next()?;
                    }
                    _ => {}
                }
            },
            // `${…}` and `$(…)` end where they are closed.
            '$' if text[at..].starts_with("${") => {
                rest.find(|(_, c)| *c == '}')?;
            }
            c if c.is_whitespace() || ";&|<>()`".contains(c) => return Some(&text[..at]),
            _ => {}
        }
    }
    Some(text)
}

/// The word behind blanks.
fn argument(text: &str) -> Option<&str> {
    word(text.trim_start_matches([' ', '\t']))
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a word names a file for sure, and no number of one that is open.
fn is_file(word: &str) -> bool {
    let begins = word.starts_with(|c: char| c.is_alphanumeric() || "/._~\"'$".contains(c));
    begins && !word.bytes().all(|b| b.is_ascii_digit()) && !is_variable(word)
}

/// Whether all of a word is a variable's value.
fn is_variable(word: &str) -> bool {
    let plain = word.trim_matches('"');
    plain.starts_with('$') && !plain.contains(['/', '.']) || plain.is_empty() && !word.is_empty()
}

/// Whether a condition is an expression; in sh a command would stand in the parentheses.
fn is_csh_condition(behind: &str) -> bool {
    let inside = behind.trim_start_matches([' ', '\t']).strip_prefix('(').map(|inside| inside.trim_start());
    inside.is_some_and(|inside| {
        inside.starts_with(|c: char| c.is_ascii_digit() || "$-\"".contains(c)) || inside.starts_with("! -")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_cshs_becomes_shs() {
        for (csh, sh) in [
            ("/proj/x/go >& /tmp/log", "/proj/x/go >/tmp/log 2>&1"),
            ("sudo a b.conf >&log&", "sudo a b.conf >log 2>&1&"),
            ("(a; b) >>& \"/tmp/my log\" ; c", "(a; b) >>\"/tmp/my log\" 2>&1 ; c"),
            ("a >&! /tmp/x", "a >/tmp/x 2>&1"),
            ("a >! x; b >>! x", "a >x; b >>x"),
            ("a >& $HOME/log", "a >$HOME/log 2>&1"),
            ("make |& tee log", "make 2>&1 | tee log"),
            ("make|&tee log", "make 2>&1 |tee log"),
            ("setenv A b", "export A=b"),
            ("setenv A; x", "export A=; x"),
            ("cd /x && setenv P $HOME/bin:$PATH && go", "cd /x && export P=\"$HOME/bin:$PATH\" && go"),
            ("setenv A 'b c' ; go >& l", "export A='b c' ; go >l 2>&1"),
            ("unsetenv A", "unset A"),
            ("if true; then setenv A b; fi", "if true; then export A=b; fi"),
            ("A=1 setenv B c", "A=1 export B=c"),
        ] {
            let read = to_sh(csh);
            assert_eq!(read.text, sh, "{csh}");
            assert!(read.note().is_some() && read.doubt().is_none(), "{read:?}");
        }
        assert_eq!(
            to_sh("a >& b; c >& d").note().unwrap(),
            "the command is csh's, and sh runs it: >& FILE is taken for >FILE 2>&1"
        );
    }

    #[test]
    fn what_is_shs_stays() {
        for sh in [
            "a 2>&1",
            "a >&2",
            "a >& 2",
            "a 1>&2 2>&-",
            "a >/dev/null 2>&1 &",
            "a >&-",
            "a <&3",
            "exec 3<>/dev/tcp",
            "echo '>& x' \"|& setenv A b\" \\>& 2",
            "echo a>|b",
            "a || b && c & d",
            "echo setenv A b",
            "cat <<E\nsetenv A b >& x\nE\n",
            "# a >& b\ntrue",
            "set -- a b; set -e",
            "if (grep -q x y); then z; fi",
            "while (read x); do :; done",
            "echo ${x:-a b} $(id)",
            "echo \"never closed >& x",
            "alias ll='ls -l'",
            "",
        ] {
            assert_eq!(to_sh(sh), Command { text: sh.to_owned(), ..Command::default() }, "{sh}");
        }
    }

    #[test]
    fn what_cannot_be_said_for_sh_is_told() {
        for (csh, told) in [
            ("foreach i (1 2)\n echo $i\nend", "foreach is csh's"),
            ("set x = 5; echo $x", "set A = B is csh's"),
            ("if ($x == 1) echo y", "if (…) is csh's"),
            ("if ( -e /x ) then\n y\nendif", "if (…) is csh's"),
            ("@ i = 1", "@ is csh's"),
            ("setenv A b c", "setenv is csh's"),
            ("source /etc/x.csh", "source FILE is csh's"),
            ("alias ll ls -l", "alias A B is csh's"),
            ("a >& $log", ">& $log is a file for csh"),
        ] {
            let read = to_sh(csh);
            assert_eq!(read.text, csh);
            assert!(read.doubt().is_some_and(|doubt| doubt.starts_with(told)), "{read:?}");
        }
    }

    /// What it becomes is what sh takes, and does what csh would have done.
    #[test]
    fn sh_takes_it() {
        let folder = tempfile::tempdir().unwrap();
        let run = |text: &str| {
            let output = std::process::Command::new("sh")
                .args(["-c", text])
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(output.stderr.is_empty(), "{text}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let text = "setenv A 'b c'; (echo $A; echo err 1>&2) >& log; (echo more; echo e 1>&2) |& cat >>& log";
        assert_eq!(run(&to_sh(text).text), "");
        assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap(), "b c\nerr\nmore\ne\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What is written for sh is written for sh.
        #[test]
        fn once_is_enough(text in "([ab1/$\"'\\\\>&|!<;(#` \n-]|>&|setenv |\\|&|>>!){0,16}") {
            let once = to_sh(&text).text;
            prop_assert_eq!(&to_sh(&once).text, &once);
        }
    }
}

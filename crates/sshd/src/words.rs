//! A command line as words, for nodes that have no shell: POSIX quotes, and nothing else of a shell.

/// Why a command line needs a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordsError {
    /// A quote that is not closed, or a backslash at the end.
    #[error("a quote is not closed")]
    Unclosed,
    /// An operator outside of quotes: what it asks for would not be done.
    #[error("'{}' needs a shell, and this node has none", char::from(*.0))]
    Operator(u8),
}

/// Splits `line` into words as a shell would: single quotes, double quotes, backslashes, blanks. Nothing is expanded:
/// `$`, `*` and `~` stand for themselves.
///
/// # Errors
/// Where a shell would do more than start one program.
pub(crate) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, WordsError> {
    let mut words = Vec::new();
    // `None` between words: '' is a word, nothing is none.
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' => words.extend(word.take()),
            b'\n' if words.is_empty() && word.is_none() => {}
            b'\n' if bytes.clone().all(|byte| byte.is_ascii_whitespace()) => break,
            b'\n' | b'|' | b'&' | b';' | b'<' | b'>' | b'(' | b')' | b'`' => {
                return Err(WordsError::Operator(byte));
            }
            b'#' if word.is_none() => return Err(WordsError::Operator(byte)),
            b'\\' => match bytes.next().ok_or(WordsError::Unclosed)? {
                // A continued line.
                b'\n' => {}
                next => word.get_or_insert_default().push(next),
            },
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or(WordsError::Unclosed)? {
                        b'\'' => break,
                        byte => word.push(byte),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or(WordsError::Unclosed)? {
                        b'"' => break,
                        b'\\' => match bytes.next().ok_or(WordsError::Unclosed)? {
                            b'\n' => {}
                            next @ (b'$' | b'`' | b'"' | b'\\') => word.push(next),
                            next => word.extend([b'\\', next]),
                        },
                        byte => word.push(byte),
                    }
                }
            }
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    Ok(words)
}

/// `word` so that a shell, and [`split`], read it as one word.
#[must_use]
pub(crate) fn quote(word: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in word {
        match byte {
            b'\'' => quoted.extend(b"'\\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line.as_bytes()).unwrap().into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn words_are_what_a_shell_would_pass_on() {
        assert_eq!(words("  ls  -l\t/tmp \n"), ["ls", "-l", "/tmp"]);
        assert_eq!(words(r#"a 'b c' "d \" $e" f\ g ''"#), ["a", "b c", "d \" $e", "f g", ""]);
        assert_eq!(words(r#"x"y"'z'\w"#), ["xyzw"]);
        assert_eq!(words(r#""\n""#), [r"\n"]);
        assert_eq!(words("a\\\nb"), ["ab"]);
        assert_eq!(words("*.txt $HOME ~ a#b"), ["*.txt", "$HOME", "~", "a#b"]);
        assert!(words("").is_empty());
    }

    #[test]
    fn what_needs_a_shell_is_not_taken_for_words() {
        for (line, byte) in [
            ("a | b", b'|'),
            ("a; b", b';'),
            ("a > f", b'>'),
            ("a `b`", b'`'),
            ("a\nb", b'\n'),
            ("# a", b'#'),
        ] {
            assert_eq!(split(line.as_bytes()), Err(WordsError::Operator(byte)), "{line}");
        }
        for line in ["'a", "\"a", "a\\", "\"a\\"] {
            assert_eq!(split(line.as_bytes()), Err(WordsError::Unclosed), "{line}");
        }
        assert_eq!(split(b"'a | b;'"), Ok(vec![b"a | b;".to_vec()]));
    }

    proptest! {
        #[test]
        fn a_quoted_word_is_that_word(word: Vec<u8>) {
            prop_assert_eq!(split(&quote(&word)), Ok(vec![word]));
        }

        #[test]
        fn any_bytes_are_split_or_refused(line: Vec<u8>) {
            let _ = split(&line);
        }
    }
}

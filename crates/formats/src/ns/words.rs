//! Tcl's lists, as NS texts within texts use them: members of a LAN, events.

/// The words of a text, parted by white space; braces and double quotes hold a word together.
pub(crate) fn words(text: &str) -> Vec<String> {
    statements(text).into_iter().flatten().collect()
}

/// The words of each statement of a text, parted by `;` outside of braces and quotes, and by line ends.
pub(super) fn statements(text: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut statement = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(&c) = rest.peek() {
        if c == ';' || c == '\n' {
            rest.next();
            if !statement.is_empty() {
                all.push(std::mem::take(&mut statement));
            }
        } else if c.is_whitespace() {
            rest.next();
        } else {
            statement.push(word(&mut rest));
        }
    }
    if !statement.is_empty() {
        all.push(statement);
    }
    all
}

fn word(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut word = String::new();
    match rest.peek() {
        Some('{') => {
            rest.next();
            let mut depth = 1;
            for c in rest.by_ref() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                word.push(c);
            }
        }
        Some('"') => {
            rest.next();
            while let Some(c) = rest.next() {
                match c {
                    '"' => break,
                    '\\' => word.extend(rest.next()),
                    c => word.push(c),
                }
            }
        }
        _ => {
            while let Some(&c) = rest.peek() {
                if c.is_whitespace() || c == ';' {
                    break;
                }
                rest.next();
                if c == '\\' {
                    word.extend(rest.next());
                } else {
                    word.push(c);
                }
            }
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(words(" a  {b c} \"d \\\"e\" f\\ g {h {i}}"), ["a", "b c", "d \"e", "f g", "h {i}"]);
        assert_eq!(words(""), Vec::<String>::new());
        assert_eq!(words("{a"), ["a"]);
        assert_eq!(
            statements("$l down; p start -command {a; b} ;;\n c"),
            [vec!["$l", "down"], vec!["p", "start", "-command", "a; b"], vec!["c"]]
        );
    }
}

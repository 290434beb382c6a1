//! Texts of nodes and testbeds for a terminal: nothing invisible, not too many lines, none too long. Pure.

/// The width of everything that is printed.
const WIDTH: usize = 100;

/// So many lines are shown as they are.
const MOST_LINES: usize = 6;

/// Of more, so many of the beginning and of the end.
const SHOWN: usize = 2;

/// More of one line is cut.
const MOST_CHARACTERS: usize = 400;

/// The lines of a text, shortened; what is no text is one dot a run.
pub(crate) fn short(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let all = lines.len();
    if all <= MOST_LINES {
        return lines.into_iter().map(readable).collect();
    }
    let (head, tail) = (&lines[..SHOWN], &lines[all - SHOWN..]);
    let left_out = format!("… ({all} lines in all)");
    let shown = |part: &[&str]| part.iter().copied().map(readable).collect::<Vec<_>>();
    [shown(head), vec![left_out], shown(tail)].concat()
}

/// The same, broken at blanks to fit the terminal; all lines but the first are indented.
pub(crate) fn lines(text: &str) -> Vec<String> {
    const INDENT: &str = "  ";
    let mut broken: Vec<String> = Vec::new();
    for line in short(text) {
        let mut current = if broken.is_empty() { String::new() } else { INDENT.to_owned() };
        let mut empty = true;
        for word in line.split(' ') {
            let width = current.chars().count() + usize::from(!empty) + word.chars().count();
            if !empty && width > WIDTH {
                broken.push(std::mem::replace(&mut current, INDENT.to_owned()));
            } else if !empty {
                current.push(' ');
            }
            // A word that is longer than a line stays whole: it may be a path or a command to be copied.
            current.push_str(word);
            empty = false;
        }
        broken.push(current);
    }
    broken
}

/// All lines of a text; what is no text is one dot a run.
pub(crate) fn whole(text: &str) -> Vec<String> {
    text.lines().map(readable).collect()
}

fn readable(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut in_run = false;
    for c in line.trim_end().chars().take(MOST_CHARACTERS) {
        let foreign = c == char::REPLACEMENT_CHARACTER || (c.is_control() && c != '\t');
        match (foreign, in_run) {
            (true, true) => {}
            (true, false) => text.push('·'),
            (false, _) => text.push(c),
        }
        in_run = foreign;
    }
    if line.trim_end().chars().count() > MOST_CHARACTERS {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lines_are_shortened() {
        assert_eq!(short("a\nb"), ["a", "b"]);
        let told = short(&(1..=250).map(|n| format!("{n}\n")).collect::<String>());
        assert_eq!(told, ["1", "2", "… (250 lines in all)", "249", "250"]);
        assert_eq!(short(&"x".repeat(5000))[0].chars().count(), MOST_CHARACTERS + 1);
    }

    #[test]
    fn what_is_no_text_is_dots() {
        assert_eq!(short("a\u{fffd}\u{fffd}\u{1}b\u{1b}[0m"), ["a·b·[0m"]);
    }

    #[test]
    fn long_lines_are_broken_at_blanks() {
        let told = lines(&"word ".repeat(50));
        assert!(told.len() == 3 && told.iter().all(|line| line.chars().count() <= WIDTH), "{told:#?}");
        assert!(told[1].starts_with("  word") && told[0].ends_with("word"), "{told:#?}");
        let path = "/x".repeat(80);
        assert_eq!(lines(&format!("see {path}")), ["see".to_owned(), format!("  {path}")]);
        assert_eq!(lines("short"), ["short"]);
    }
}

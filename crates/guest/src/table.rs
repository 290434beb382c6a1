//! The line-and-colon files of /etc (passwd, group, shadow, gshadow), with every foreign byte kept.

use std::collections::BTreeSet;

/// Such a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    lines: Vec<Vec<u8>>,
}

impl Table {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        Self { lines }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.lines.join(&b'\n');
        if !self.lines.is_empty() {
            bytes.push(b'\n');
        }
        bytes
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.split(|b| *b == b':').next() == Some(name.as_bytes()))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// The fields of the line that begins with `name`, as far as they are text.
    pub(crate) fn get(&self, name: &str) -> Option<Vec<String>> {
        self.position(name).map(|index| fields(&self.lines[index]))
    }

    /// The fields of every line.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.lines.iter().map(|line| fields(line))
    }

    /// The numbers in one column.
    pub(crate) fn numbers(&self, column: usize) -> BTreeSet<u32> {
        self.rows().filter_map(|row| row.get(column)?.parse().ok()).collect()
    }

    /// Gives the line that begins with `name` this text; a new one goes before the NIS lines (`+`, `-`), which must
    /// stay last.
    pub(crate) fn set(&mut self, name: &str, line: &str) {
        debug_assert!(line.starts_with(name) && !line.contains('\n'));
        match self.position(name) {
            Some(index) => self.lines[index] = line.into(),
            None => {
                let nis = self.lines.iter().position(|line| matches!(line.first(), Some(b'+' | b'-')));
                self.lines.insert(nis.unwrap_or(self.lines.len()), line.into());
            }
        }
    }

    /// Gives one field of the line that begins with `name` this text, if there is such a line.
    pub(crate) fn set_field(&mut self, name: &str, column: usize, text: &str) {
        let Some(index) = self.position(name) else { return };
        let line = &mut self.lines[index];
        let mut parts: Vec<Vec<u8>> = line.split(|b| *b == b':').map(<[u8]>::to_vec).collect();
        if parts.len() <= column {
            parts.resize(column + 1, Vec::new());
        }
        parts[column] = text.into();
        *line = parts.join(&b':');
    }
}

fn fields(line: &[u8]) -> Vec<String> {
    line.split(|b| *b == b':').map(|field| String::from_utf8_lossy(field).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_and_fields() {
        let mut table = Table::parse(b"root:x:0:0::/root:/bin/sh\n\xff:odd\n\n+::::::");
        table.set("ann", "ann:x:1000:1000::/home/ann:/bin/sh");
        table.set_field("ann", 6, "/bin/false");
        table.set_field("root", 8, "new");
        table.set_field("nobody", 1, "x");
        assert_eq!(
            table.bytes(),
            b"root:x:0:0::/root:/bin/sh::new\n\xff:odd\n\nann:x:1000:1000::/home/ann:/bin/false\n+::::::\n"
        );
        assert_eq!(table.numbers(2), [0, 1000].into());
        assert!(table.contains("ann") && !table.contains("an"));
    }

    proptest! {
        #[test]
        fn foreign_lines_are_kept(bytes in proptest::collection::vec(any::<u8>(), 0..300), name in "[a-z]{1,8}") {
            let mut table = Table::parse(&bytes);
            let mut expected = bytes.clone();
            if !expected.is_empty() && !expected.ends_with(b"\n") {
                expected.push(b'\n');
            }
            prop_assert_eq!(table.bytes(), expected);
            prop_assume!(!table.contains(&name));
            let before: Vec<_> = table.lines.clone();
            table.set(&name, &format!("{name}:x"));
            table.set(&name, &format!("{name}:y"));
            let foreign: Vec<_> = table.lines.iter().filter(|l| **l != format!("{name}:y").into_bytes()).cloned().collect();
            prop_assert_eq!(foreign, before);
            prop_assert!(table.get(&name).unwrap() == [name.as_str(), "y"]);
        }
    }
}

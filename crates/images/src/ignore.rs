//! `.dockerignore`: which entries of a context are no part of it.
//!
//! A line is a pattern: `*`, `?` and `[…]` stay within a name, `**` is any number of folders, `!` takes back what lines before it
//! have excluded, `#` at the beginning is a comment. What is in an excluded folder is excluded. The last line that matches counts.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// The longest file that is read, in bytes.
pub(crate) const LONGEST: u64 = 64 << 10;

/// The most patterns.
const MOST: usize = 1_000;

/// What a `.dockerignore` excludes.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    patterns: GlobSet,
    /// Of each pattern, whether it takes back.
    back: Vec<bool>,
}

/// A `.dockerignore` is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A line is no pattern.
    #[error("line {line} is no pattern: {reason}")]
    Pattern {
        /// Which, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// There are too many.
    #[error("it has more than {MOST} patterns")]
    TooMany,
    /// They are too much together.
    #[error("its patterns are too long altogether")]
    TooLong,
    /// It is something else.
    #[error("it is no text in UTF-8 of at most {LONGEST} bytes")]
    Text,
}

impl Ignore {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self, IgnoreError> {
        let (mut patterns, mut back) = (GlobSetBuilder::new(), Vec::new());
        for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1..) {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (line, takes_back) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), true),
                None => (line, false),
            };
            let Some(pattern) = clean(line) else { continue };
            let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build();
            let glob = glob
                .map_err(|error| IgnoreError::Pattern { line: number, reason: error.kind().to_string() })?;
            patterns.add(glob);
            back.push(takes_back);
            if back.len() > MOST {
                return Err(IgnoreError::TooMany);
            }
        }
        let patterns = patterns.build().map_err(|_| IgnoreError::TooLong)?;
        Ok(Self { patterns, back })
    }

    /// Whether an entry is excluded: by the last pattern that matches it or a folder that it is in.
    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        if self.back.is_empty() {
            return false;
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let paths = ends.chain([path.len()]).map(|end| std::ffi::OsStr::from_bytes(&path[..end]));
        let last = paths.filter_map(|path| self.patterns.matches(path).into_iter().max()).max();
        last.is_some_and(|last| !self.back[last])
    }
}

/// A pattern without what says nothing: slashes at its ends, `.`, names before `..`. None, if nothing is left. Braces are no
/// choice here, but themselves.
fn clean(line: &str) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for name in line.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    (!names.is_empty()).then(|| names.join("/").replace('{', "\\{").replace('}', "\\}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_excluded() {
        let of = |text: &str| {
            let ignore = Ignore::parse(text).unwrap();
            move |path: &str| ignore.excludes(path.as_bytes())
        };
        let plain = of("# a comment\n\n  target/ \n/docs\n*.log\n**/node_modules\nx{1,2}\n");
        for excluded in
            ["target", "target/a/b", "docs/x", "a.log", "node_modules/y", "a/b/node_modules/z", "x{1,2}"]
        {
            assert!(plain(excluded), "{excluded}");
        }
        for kept in ["src/target", "a/docs", "a/b.log", "x1", "# a comment", "Dockerfile"] {
            assert!(!plain(kept), "{kept}");
        }
        // The last one counts, for what is inside too.
        let but = of("*\n!src\nsrc/secret\n!src/secret/README\n");
        assert!(but("a") && but("a/b") && but("src/secret/key"));
        assert!(!but("src") && !but("src/main.c") && !but("src/secret/README"));
        // What leaves the context, or is nothing, excludes nothing.
        let nothing = of(".\n/\n!\n../\n");
        assert!(!nothing("a") && !Ignore::default().excludes(b"a"));
        assert!(of("./a/../b/./c")("b/c"));
        assert!(of("a\\*b")("a*b") && !of("a\\*b")("axb"));
        assert!(of("[a-c]?.txt")("bx.txt") && !of("[^a]")("a"));
        assert!(of("a/**/z")("a/z") && of("a/**/z")("a/b/c/z/inside"));
    }

    #[test]
    fn what_is_none() {
        let error = |text: &str| Ignore::parse(text).unwrap_err();
        assert!(matches!(error("ok\n[a"), IgnoreError::Pattern { line: 2, .. }));
        assert_eq!(error(&"a\n".repeat(MOST + 1)), IgnoreError::TooMany);
        // However much they ask for, it ends: here a long one of wildcards, against a long name.
        let slow = Ignore::parse(&"*a".repeat(500)).unwrap();
        assert!(!slow.excludes("a".repeat(499).as_bytes()));
    }
}

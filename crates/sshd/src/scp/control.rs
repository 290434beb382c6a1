//! The lines of the rcp protocol. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

/// A line is not longer than this.
pub(super) const LINE: usize = 4096 + 64;

/// What the sending side says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// A file follows.
    File { mode: u32, size: u64, name: OsString },
    /// A folder begins.
    Folder { mode: u32, name: OsString },
    /// The folder ends.
    End,
    /// Change and access of what comes next, in seconds since 1970.
    Times { change: i64, access: i64 },
    /// The other side could not do something and goes on.
    Warning(String),
    /// The other side gives up.
    Fatal(String),
}

/// A line without its end. `None` if it is none of the protocol, or if a name would lead elsewhere.
pub(super) fn parse(line: &[u8]) -> Option<Control> {
    let (kind, rest) = line.split_first()?;
    match kind {
        b'C' | b'D' => {
            let mut parts = rest.splitn(3, |byte| *byte == b' ');
            let mode = u32::from_str_radix(text(parts.next()?)?, 8).ok().filter(|mode| *mode <= 0o7777)?;
            let size = text(parts.next()?)?;
            if !size.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let size = size.parse().ok()?;
            let name = parts.next()?;
            if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
                return None;
            }
            let name = OsString::from_vec(name.to_vec());
            Some(if *kind == b'C' {
                Control::File { mode, size, name }
            } else {
                Control::Folder { mode, name }
            })
        }
        b'E' if rest.is_empty() => Some(Control::End),
        b'T' => {
            let mut parts = text(rest)?.split(' ');
            let mut number = || parts.next()?.parse::<u32>().ok();
            let (change, _, access, _) = (number()?, number()?, number()?, number()?);
            parts.next().is_none().then_some(Control::Times { change: change.into(), access: access.into() })
        }
        1 => Some(Control::Warning(String::from_utf8_lossy(rest).into_owned())),
        2 => Some(Control::Fatal(String::from_utf8_lossy(rest).into_owned())),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read() {
        let name = OsString::from("a b");
        assert_eq!(parse(b"C0644 12 a b"), Some(Control::File { mode: 0o644, size: 12, name: name.clone() }));
        assert_eq!(parse(b"D0755 0 a b"), Some(Control::Folder { mode: 0o755, name }));
        assert_eq!(parse(b"E"), Some(Control::End));
        assert_eq!(parse(b"T1 0 2 0"), Some(Control::Times { change: 1, access: 2 }));
        assert_eq!(parse(b"\x01scp: no"), Some(Control::Warning("scp: no".into())));
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for line in [
            "C0644 1 ../x",
            "C0644 1 ..",
            "D0755 0 .",
            "D0755 0 a/b",
            "C0644 1 ",
            "C0644 1 a\0",
            "C99999 1 a",
            "C0644 -1 a",
            "C0644 +1 a",
            "C0644 1",
            "",
            "X",
            "Ex",
            "T1 0 2",
            "T1 0 2 0 5",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line: Vec<u8>) {
            if let Some(Control::File { name, .. } | Control::Folder { name, .. }) = parse(&line) {
                prop_assert!(!name.as_encoded_bytes().contains(&b'/') && name != "..");
            }
        }
    }
}

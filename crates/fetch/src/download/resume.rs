//! A download that broke off is gone on with, if the server says that it is still the same thing (RFC 9110, 13.1.5 and
//! 14.2): the part that is missing is asked for on the condition that what is there has not changed.

use super::http::{Head, HttpError};

/// The longest validator that is sent back.
const MAX_VALIDATOR: usize = 256;

/// What is there of a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    validator: String,
    /// Its bytes.
    pub(crate) length: u64,
}

impl Part {
    /// The part of what this head announced; nothing if the server gave no word for it that would change with it.
    pub(crate) fn of(head: &Head, length: u64) -> Option<Self> {
        let validator = validator(head)?.to_owned();
        (length > 0).then_some(Self { validator, length })
    }

    /// The same download, further on.
    pub(crate) fn grown(&self, length: u64) -> Self {
        Self { validator: self.validator.clone(), length }
    }

    /// The headers that ask for the rest.
    pub(crate) fn headers(&self) -> String {
        format!("Range: bytes={}-\r\nIf-Range: {}\r\n", self.length, self.validator)
    }

    /// Whether this head (status 206) begins where the part ends; the bytes of the whole, if it says so.
    pub(crate) fn continues(&self, head: &Head) -> Result<Option<u64>, HttpError> {
        let range = head.header("content-range").and_then(|range| range.strip_prefix("bytes "));
        let (span, whole) = range.and_then(|range| range.trim().split_once('/')).ok_or(HttpError::Range)?;
        let (first, last) = span.split_once('-').ok_or(HttpError::Range)?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| digits).ok_or(HttpError::Range)
        };
        let whole = if whole == "*" { None } else { Some(number(whole)?) };
        let (first, last) = (number(first)?, number(last)?);
        // It may say again what it is; then it must be what it was.
        let same = validator(head).is_none_or(|validator| validator == self.validator);
        if first == self.length && last >= first && whole.is_none_or(|whole| last < whole) && same {
            Ok(whole)
        } else {
            Err(HttpError::Range)
        }
    }
}

/// A strong entity tag; without any tag the time of the last change, unless the answer is of the same second: then
/// there may be another change to come in it.
fn validator(head: &Head) -> Option<&str> {
    let known = match head.header("etag") {
        Some(tag) => Some(tag).filter(|tag| tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"')),
        None => head
            .header("last-modified")
            .filter(|changed| changed.len() > 8 && head.header("date").is_some_and(|date| date != *changed)),
    };
    // It goes back into a request: nothing of it may end a line.
    known.filter(|text| text.len() <= MAX_VALIDATOR && text.bytes().all(|b| matches!(b, b' '..=b'~')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &str) -> Head {
        Head::parse(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn only_what_would_change_with_the_contents_is_trusted() {
        for (headers, expected) in [
            ("ETag: \"a b\"\r\n", Some("\"a b\"")),
            ("ETag: \"a\"\r\nLast-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n", Some("\"a\"")),
            ("ETag: W/\"a\"\r\n", None),
            ("ETag: a\r\n", None),
            ("ETag: \"\"\r\n", None),
            ("ETag: \"a\rX: y\"\r\n", None),
            ("ETag: \"\u{e9}\"\r\n", None),
            ("ETag: \"a\"\r\nETag: \"b\"\r\n", None),
            ("Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n", None),
            ("Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\nDate: Sat, 01 Jan 2000 00:00:00 GMT\r\n", None),
            (
                "Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\nDate: Sun, 02 Jan 2000 00:00:00 GMT\r\n",
                Some("Sat, 01 Jan 2000 00:00:00 GMT"),
            ),
        ] {
            let part = Part::of(&head(headers), 5);
            assert_eq!(part.as_ref().map(|part| part.validator.as_str()), expected, "{headers}");
        }
        assert_eq!(Part::of(&head(&format!("ETag: \"{}\"\r\n", "x".repeat(300))), 5), None);
        assert_eq!(Part::of(&head("ETag: \"a\"\r\n"), 0), None);
    }

    #[test]
    fn only_the_missing_part_is_taken() {
        let part = Part::of(&head("ETag: \"a\"\r\n"), 5).unwrap();
        assert_eq!(part.headers(), "Range: bytes=5-\r\nIf-Range: \"a\"\r\n");
        assert_eq!(part.continues(&head("Content-Range: bytes 5-9/10\r\n")), Ok(Some(10)));
        assert_eq!(part.continues(&head("ETag: \"a\"\r\nContent-Range: bytes 5-9/*\r\n")), Ok(None));
        for bad in [
            "",
            "Content-Range: bytes */10\r\n",
            "Content-Range: bytes 4-9/10\r\n",
            "Content-Range: bytes 5-4/10\r\n",
            "Content-Range: bytes 5-10/10\r\n",
            "Content-Range: bytes +5-9/10\r\n",
            "Content-Range: items 5-9/10\r\n",
            "Content-Range: bytes 5-99999999999999999999/*\r\n",
            "ETag: \"b\"\r\nContent-Range: bytes 5-9/10\r\n",
        ] {
            assert_eq!(part.continues(&head(bad)), Err(HttpError::Range), "{bad}");
        }
    }
}

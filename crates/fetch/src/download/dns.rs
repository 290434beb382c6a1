//! DNS messages (RFC 1035): a question out, addresses in. Pure.

use std::net::IpAddr;

/// The kind of address asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    V4,
    V6,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

const CNAME: u16 = 5;
const CLASS_IN: u16 = 1;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The name's addresses of this kind; perhaps none.
    Addresses(Vec<IpAddr>),
    /// The name does not exist.
    NoSuchName,
    /// The answer did not fit: ask again over TCP.
    Truncated,
    /// The server cannot or will not answer.
    Refused(u8),
}

/// Bytes that are no answer to the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an answer to the question")]
pub(crate) struct NoAnswer;

/// A question, or nothing if `name` cannot be a name in the DNS.
pub(crate) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(name.len() + 18);
    out.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 253 {
        return None;
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.number().to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(out)
}

/// Reads the answer to `question(id, name, kind)`.
pub(crate) fn answer(message: &[u8], id: u16, name: &str, kind: Kind) -> Result<Answer, NoAnswer> {
    let mut reader = Reader { message, at: 0 };
    let (got_id, flags) = (reader.number()?, reader.number()?);
    let (questions, answers) = (reader.number()?, reader.number()?);
    reader.skip(4)?;
    let is_answer = flags & 0x8000 != 0;
    if got_id != id || !is_answer || questions != 1 {
        return Err(NoAnswer);
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if reader.name()? != name || reader.number()? != kind.number() || reader.number()? != CLASS_IN {
        return Err(NoAnswer);
    }
    if flags & 0x0200 != 0 {
        return Ok(Answer::Truncated);
    }
    match (flags & 0xf) as u8 {
        0 => {}
        3 => return Ok(Answer::NoSuchName),
        code => return Ok(Answer::Refused(code)),
    }
    let mut addresses: Vec<(String, IpAddr)> = Vec::new();
    let mut aliases: Vec<(String, String)> = Vec::new();
    for _ in 0..answers {
        let owner = reader.name()?;
        let (record, class) = (reader.number()?, reader.number()?);
        reader.skip(4)?;
        let length = usize::from(reader.number()?);
        let start = reader.at;
        let data = reader.skip(length)?;
        if class != CLASS_IN {
            continue;
        }
        if record == CNAME {
            let target = Reader { message, at: start }.name()?;
            aliases.push((owner, target));
        } else if record == kind.number() {
            let address = match kind {
                Kind::V4 => <[u8; 4]>::try_from(data).map(IpAddr::from),
                Kind::V6 => <[u8; 16]>::try_from(data).map(IpAddr::from),
            };
            addresses.push((owner, address.map_err(|_| NoAnswer)?));
        }
    }
    // Only what the name itself leads to counts; the chain of aliases is as long as the list of them at most.
    let mut current = name;
    for _ in 0..=aliases.len() {
        match aliases.iter().find(|(owner, _)| *owner == current) {
            Some((_, target)) => current.clone_from(target),
            None => break,
        }
    }
    let found =
        addresses.into_iter().filter(|(owner, _)| *owner == current).map(|(_, address)| address).collect();
    Ok(Answer::Addresses(found))
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, length: usize) -> Result<&'a [u8], NoAnswer> {
        let bytes = self.message.get(self.at..).and_then(|rest| rest.get(..length)).ok_or(NoAnswer)?;
        self.at += length;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u16, NoAnswer> {
        let bytes = self.skip(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name in lower case. Pointers lead backwards only, so they end.
    fn name(&mut self) -> Result<String, NoAnswer> {
        let mut name = String::new();
        let mut at = self.at;
        let mut end = None;
        loop {
            let length = usize::from(*self.message.get(at).ok_or(NoAnswer)?);
            match length {
                0 => {
                    self.at = end.unwrap_or(at + 1);
                    return Ok(name);
                }
                1..=63 => {
                    let label = self.message.get(at + 1..at + 1 + length).ok_or(NoAnswer)?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    // A dot inside a label must not look like the end of one.
                    name.extend(label.iter().map(|b| match b {
                        b'.' => '\u{fffd}',
                        b => char::from(b.to_ascii_lowercase()),
                    }));
                    if name.len() > 1024 {
                        return Err(NoAnswer);
                    }
                    at += 1 + length;
                }
                0xc0.. => {
                    let low = usize::from(*self.message.get(at + 1).ok_or(NoAnswer)?);
                    end.get_or_insert(at + 2);
                    let target = (length & 0x3f) << 8 | low;
                    if target >= at {
                        return Err(NoAnswer);
                    }
                    at = target;
                }
                _ => return Err(NoAnswer),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An answer to the question for `www.example`: an alias, its address, and an address of somebody else.
    fn message() -> Vec<u8> {
        let mut out = question(7, "WWW.example.", Kind::V4).unwrap();
        out[2] = 0x81;
        out[3] = 0x80;
        out[7] = 3;
        let end = u8::try_from(out.len()).unwrap();
        // www.example CNAME web.example (the tail by a pointer to the question's "example").
        out.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 6, 3, b'w', b'e', b'b', 0xc0, 16]);
        out.extend_from_slice(&[0xc0, end + 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        out.extend_from_slice(&[1, b'x', 0, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 66]);
        out
    }

    #[test]
    fn aliases_are_followed_and_strangers_left() {
        let found = answer(&message(), 7, "www.example", Kind::V4).unwrap();
        assert_eq!(found, Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]));
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        assert_eq!(answer(&message(), 8, "www.example", Kind::V4), Err(NoAnswer));
        assert_eq!(answer(&message(), 7, "other.example", Kind::V4), Err(NoAnswer));
        assert_eq!(answer(&message(), 7, "www.example", Kind::V6), Err(NoAnswer));
        let with_code = |high: u8, low: u8| {
            let mut message = message();
            message[2] |= high;
            message[3] |= low;
            answer(&message, 7, "www.example", Kind::V4)
        };
        assert_eq!(with_code(0, 3), Ok(Answer::NoSuchName));
        assert_eq!(with_code(0, 2), Ok(Answer::Refused(2)));
        assert_eq!(with_code(2, 0), Ok(Answer::Truncated));
    }

    #[test]
    fn a_pointer_to_itself_ends() {
        let mut message = message();
        message[12..14].copy_from_slice(&[0xc0, 12]);
        assert_eq!(answer(&message, 7, "www.example", Kind::V4), Err(NoAnswer));
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        for bad in ["", ".", "a..b", &"x".repeat(64), &"x.".repeat(200)] {
            assert_eq!(question(1, bad, Kind::V4), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn damaged_answers_are_survived(index in 0usize..200, byte: u8, cut in 0usize..200) {
            let mut message = message();
            if let Some(place) = message.get_mut(index) {
                *place = byte;
            }
            message.truncate(cut);
            let _ = answer(&message, 7, "www.example", Kind::V4);
        }
    }
}

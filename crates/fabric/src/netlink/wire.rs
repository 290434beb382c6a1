//! Netlink's way of writing: messages of a header, a fixed part and attributes, all padded to four bytes, numbers in
//! the host's order unless a comment says otherwise.

/// Padding of messages and attributes.
const ALIGN: usize = 4;
/// Length, type, flags, sequence number and port.
pub(crate) const HEADER: usize = 16;
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

/// A message being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

/// A message that was read: its type and what follows the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A request; `fixed` is the family's own header.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        pad(&mut bytes);
        Self { bytes }
    }

    /// With an attribute.
    #[must_use]
    pub(crate) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        let length =
            u16::try_from(value.len() + 4).expect("attributes are made from names, addresses and numbers");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(&mut self.bytes);
        self
    }

    /// With an attribute, if there is a value for it.
    #[must_use]
    pub(crate) fn attr_if(self, kind: u16, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.attr(kind, value),
            None => self,
        }
    }

    /// With a number.
    #[must_use]
    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// With a text, ended by NUL as the kernel likes names.
    #[must_use]
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    /// With attributes inside one.
    #[must_use]
    pub(crate) fn nest(self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        self.nest_with(kind | NESTED, &[], inside)
    }

    /// Likewise, with a fixed part before the inner attributes and the type as it is.
    #[must_use]
    pub(crate) fn nest_with(mut self, kind: u16, fixed: &[u8], inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(fixed);
        pad(&mut self.bytes);
        let mut done = inside(self);
        let length = u16::try_from(done.bytes.len() - start).expect("callers keep lists short");
        done.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        done
    }

    /// Appends the message, numbered, to a datagram.
    pub(crate) fn write(&self, sequence: u32, flags: u16, datagram: &mut Vec<u8>) {
        let start = datagram.len();
        datagram.extend_from_slice(&self.bytes);
        let length = u32::try_from(self.bytes.len()).expect("messages are short");
        let all_flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        datagram[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        datagram[start + 6..start + 8].copy_from_slice(&all_flags.to_ne_bytes());
        datagram[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
}

/// The messages of a datagram; ends at the first that is cut off.
pub(crate) fn messages(mut bytes: &[u8]) -> Vec<Reply> {
    let mut all = Vec::new();
    while let Some(header) = bytes.get(..HEADER) {
        let length = u32_at(header, 0) as usize;
        let Some(body) = bytes.get(HEADER..length) else { break };
        all.push(Reply {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32_at(header, 8),
            body: body.to_vec(),
        });
        bytes = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
    }
    all
}

/// The attributes of a message's part; ends at the first that is cut off.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// One attribute.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A number of four bytes; 0 where there are fewer.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..offset + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// A text up to its NUL.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Message::new(16, 0, &[1, 2, 3, 4])
            .text(3, "eth0")
            .u32(4, 1400)
            .nest(18, |m| m.text(1, "veth").nest_with(2, &[9; 16], |m| m.attr(1, &[7; 6])));
        let mut datagram = Vec::new();
        message.write(5, 4, &mut datagram);
        message.write(6, 0, &mut datagram);
        let read = messages(&datagram);
        assert_eq!(
            read.iter().map(|r| (r.kind, r.flags, r.sequence)).collect::<Vec<_>>(),
            [(16, 5, 5), (16, 1, 6)]
        );
        let body = &read[0].body[4..];
        assert_eq!(text(attribute(body, 3).unwrap()), "eth0");
        assert_eq!(u32_at(attribute(body, 4).unwrap(), 0), 1400);
        let info = attribute(body, 18).unwrap();
        assert_eq!(text(attribute(info, 1).unwrap()), "veth");
        assert_eq!(attribute(&attribute(info, 2).unwrap()[16..], 1).unwrap(), [7; 6]);
        assert_eq!(attribute(info, 3), None);
    }

    #[test]
    fn cut_off_input_ends_quietly() {
        let mut datagram = Vec::new();
        Message::new(16, 0, &[0; 16]).text(3, "eth0").write(1, 0, &mut datagram);
        for length in 0..datagram.len() {
            assert!(messages(&datagram[..length]).is_empty());
            assert!(attributes(&datagram[..length]).count() < datagram.len());
        }
        assert_eq!(messages(&[0; 64]).len(), 0, "a length of 0 must not loop");
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }
}

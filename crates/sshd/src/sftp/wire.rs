//! The bytes of SFTP, version 3 (draft-ietf-secsh-filexfer-02), with OpenSSH's extensions. Pure.

/// The largest packet either side may send, without its length; OpenSSH's.
pub(super) const PACKET: usize = 256 << 10;
/// The most that is read or written at once.
pub(super) const CHUNK: u32 = 255 << 10;

pub(super) const OK: u32 = 0;
pub(super) const EOF: u32 = 1;
pub(super) const NO_SUCH_FILE: u32 = 2;
pub(super) const PERMISSION_DENIED: u32 = 3;
pub(super) const FAILURE: u32 = 4;
pub(super) const BAD_MESSAGE: u32 = 5;
pub(super) const UNSUPPORTED: u32 = 8;

/// Attributes of a file; what is `None` is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size: Option<u64>,
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<u32>,
    /// Access, then change, in seconds since 1970.
    pub(super) times: Option<(u32, u32)>,
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Init,
    Open {
        path: &'a [u8],
        flags: u32,
        attributes: Attributes,
    },
    Close(u32),
    Read {
        handle: u32,
        offset: u64,
        length: u32,
    },
    Write {
        handle: u32,
        offset: u64,
        data: &'a [u8],
    },
    Stat {
        path: &'a [u8],
        follow: bool,
    },
    HandleStat(u32),
    SetStat {
        path: &'a [u8],
        attributes: Attributes,
        follow: bool,
    },
    HandleSetStat {
        handle: u32,
        attributes: Attributes,
    },
    OpenDir(&'a [u8]),
    ReadDir(u32),
    Remove(&'a [u8]),
    MakeDir {
        path: &'a [u8],
        attributes: Attributes,
    },
    RemoveDir(&'a [u8]),
    RealPath(&'a [u8]),
    Rename {
        from: &'a [u8],
        to: &'a [u8],
        replace: bool,
    },
    ReadLink(&'a [u8]),
    SymLink {
        target: &'a [u8],
        link: &'a [u8],
    },
    HardLink {
        target: &'a [u8],
        link: &'a [u8],
    },
    Space(&'a [u8]),
    HandleSpace(u32),
    Sync(u32),
    Limits,
    ExpandPath(&'a [u8]),
    /// Something that version 3 does not have, or an extension that is not ours.
    Unknown,
}

/// A packet without its length: the request's number, and the request. `None` if it is cut short.
pub(super) fn parse(packet: &[u8]) -> Option<(u32, Request<'_>)> {
    let mut rest = Rest(packet);
    let kind = rest.byte()?;
    // The version that a client speaks stands where all others have their number.
    let id = rest.u32()?;
    let request = match kind {
        1 => Request::Init,
        3 => Request::Open { path: rest.text()?, flags: rest.u32()?, attributes: rest.attributes()? },
        4 => Request::Close(rest.handle()?),
        5 => Request::Read { handle: rest.handle()?, offset: rest.u64()?, length: rest.u32()? },
        6 => Request::Write { handle: rest.handle()?, offset: rest.u64()?, data: rest.text()? },
        7 => Request::Stat { path: rest.text()?, follow: false },
        8 => Request::HandleStat(rest.handle()?),
        9 => Request::SetStat { path: rest.text()?, attributes: rest.attributes()?, follow: true },
        10 => Request::HandleSetStat { handle: rest.handle()?, attributes: rest.attributes()? },
        11 => Request::OpenDir(rest.text()?),
        12 => Request::ReadDir(rest.handle()?),
        13 => Request::Remove(rest.text()?),
        14 => Request::MakeDir { path: rest.text()?, attributes: rest.attributes()? },
        15 => Request::RemoveDir(rest.text()?),
        16 => Request::RealPath(rest.text()?),
        17 => Request::Stat { path: rest.text()?, follow: true },
        18 => Request::Rename { from: rest.text()?, to: rest.text()?, replace: false },
        19 => Request::ReadLink(rest.text()?),
        // All servers have these two the other way round than the draft, because OpenSSH has.
        20 => Request::SymLink { target: rest.text()?, link: rest.text()? },
        200 => match rest.text()? {
            b"posix-rename@openssh.com" => {
                Request::Rename { from: rest.text()?, to: rest.text()?, replace: true }
            }
            b"statvfs@openssh.com" => Request::Space(rest.text()?),
            b"fstatvfs@openssh.com" => Request::HandleSpace(rest.handle()?),
            b"hardlink@openssh.com" => Request::HardLink { target: rest.text()?, link: rest.text()? },
            b"fsync@openssh.com" => Request::Sync(rest.handle()?),
            b"lsetstat@openssh.com" => {
                Request::SetStat { path: rest.text()?, attributes: rest.attributes()?, follow: false }
            }
            b"limits@openssh.com" => Request::Limits,
            b"expand-path@openssh.com" => Request::ExpandPath(rest.text()?),
            _ => Request::Unknown,
        },
        _ => Request::Unknown,
    };
    Some((id, request))
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// A handle as this server gives them out; one that it cannot have given out is one that is not open.
    fn handle(&mut self) -> Option<u32> {
        let text = self.text()?;
        Some(text.try_into().map_or(u32::MAX, u32::from_be_bytes))
    }

    fn attributes(&mut self) -> Option<Attributes> {
        let flags = self.u32()?;
        let mut attributes = Attributes::default();
        if flags & 1 != 0 {
            attributes.size = Some(self.u64()?);
        }
        if flags & 2 != 0 {
            attributes.owner = Some((self.u32()?, self.u32()?));
        }
        if flags & 4 != 0 {
            attributes.mode = Some(self.u32()?);
        }
        if flags & 8 != 0 {
            attributes.times = Some((self.u32()?, self.u32()?));
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.u32()? {
                self.text()?;
                self.text()?;
            }
        }
        Some(attributes)
    }
}

/// Answers, one after another, each with its length.
#[derive(Debug, Default)]
pub(super) struct Answers(pub(super) Vec<u8>);

/// An answer that is being written; its length is set when it is finished.
pub(super) struct Answer<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Answers {
    pub(super) fn begin(&mut self, kind: u8, id: u32) -> Answer<'_> {
        let start = self.0.len();
        self.0.extend([0; 4]);
        self.0.push(kind);
        self.0.extend(id.to_be_bytes());
        Answer { bytes: &mut self.0, start }
    }

    pub(super) fn status(&mut self, id: u32, code: u32, text: &str) {
        let mut answer = self.begin(101, id);
        answer.u32(code);
        answer.text(text.as_bytes());
        answer.text(b"");
    }
}

impl Answer<'_> {
    pub(super) fn u32(&mut self, number: u32) {
        self.bytes.extend(number.to_be_bytes());
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.bytes.extend(number.to_be_bytes());
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        self.u32(u32::try_from(text.len()).unwrap_or(0));
        self.bytes.extend(text);
    }

    pub(super) fn attributes(&mut self, attributes: &Attributes) {
        let Attributes { size, owner, mode, times } = *attributes;
        let flag = |bit: u32, said: bool| if said { bit } else { 0 };
        self.u32(
            flag(1, size.is_some())
                | flag(2, owner.is_some())
                | flag(4, mode.is_some())
                | flag(8, times.is_some()),
        );
        if let Some(size) = size {
            self.u64(size);
        }
        if let Some((user, group)) = owner {
            self.u32(user);
            self.u32(group);
        }
        if let Some(mode) = mode {
            self.u32(mode);
        }
        if let Some((access, change)) = times {
            self.u32(access);
            self.u32(change);
        }
    }

    /// Room for `length` bytes of data, to be filled by `fill`, which says how many there are.
    pub(super) fn data<E>(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let at = self.bytes.len();
        self.bytes.resize(at + 4 + length, 0);
        let read = fill(&mut self.bytes[at + 4..])?;
        self.bytes[at..at + 4].copy_from_slice(&u32::try_from(read).unwrap_or(0).to_be_bytes());
        self.bytes.truncate(at + 4 + read);
        Ok(read)
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Takes the answer back.
    pub(super) fn forget(self) {
        self.bytes.truncate(self.start);
        // Its length is not to be set.
        std::mem::forget(self);
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start - 4).unwrap_or(0);
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_read() {
        let mut packet = vec![3, 0, 0, 0, 7, 0, 0, 0, 2, b'/', 0xff, 0, 0, 0, 9, 0, 0, 0, 12];
        packet.extend([0, 0, 1, 0xa4, 0, 0, 0, 1, 0, 0, 0, 2]);
        let attributes = Attributes { mode: Some(0o644), times: Some((1, 2)), ..Attributes::default() };
        assert_eq!(parse(&packet), Some((7, Request::Open { path: b"/\xff", flags: 9, attributes })));
        assert_eq!(parse(&packet[..20]), None);
        assert_eq!(parse(&[4, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3]), Some((1, Request::Close(u32::MAX))));
        assert_eq!(parse(&[77, 0, 0, 0, 1]), Some((1, Request::Unknown)));
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn attributes_are_written_as_they_are_read() {
        let attributes = Attributes {
            size: Some(1 << 40),
            owner: Some((1, 2)),
            mode: Some(0o100_644),
            times: Some((3, 4)),
        };
        for attributes in
            [attributes, Attributes { mode: Some(1), ..Attributes::default() }, Attributes::default()]
        {
            let mut answers = Answers::default();
            answers.begin(105, 1).attributes(&attributes);
            let length = u32::from_be_bytes(answers.0[..4].try_into().unwrap()) as usize;
            assert_eq!(length, answers.0.len() - 4);
            assert_eq!(Rest(&answers.0[9..]).attributes(), Some(attributes));
        }
    }

    #[test]
    fn an_answer_that_is_taken_back_leaves_nothing() {
        let mut answers = Answers::default();
        answers.status(1, OK, "");
        let before = answers.0.clone();
        let mut answer = answers.begin(103, 2);
        assert_eq!(answer.data(10, |_| Err::<usize, ()>(())), Err(()));
        answer.forget();
        assert_eq!(answers.0, before);
    }

    proptest! {
        #[test]
        fn any_packet_is_read_or_refused(packet: Vec<u8>) {
            let _ = parse(&packet);
        }
    }
}

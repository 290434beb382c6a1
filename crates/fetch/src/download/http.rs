//! HTTP/1.1, as much as a download needs: a request, the head of the answer, the body as it is framed (RFC 9112).

use std::io::{self, BufRead, Read};

use super::resume::Part;
use super::url::Url;

/// The longest head in bytes.
const MAX_HEAD: usize = 64 << 10;

/// The longest line that begins a chunk, with its extensions.
const MAX_CHUNK_LINE: u64 = 4096;

/// An answer that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The first line is none of HTTP.
    #[error("its first line is not that of an answer")]
    StatusLine,
    /// A header is none.
    #[error("one of its headers has no name")]
    Header,
    /// The headers have no end.
    #[error("its head is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    /// The length is no number, or there are two.
    #[error("its length is not one number")]
    Length,
    /// The body is packed in a way that was not asked for.
    #[error("it is encoded as {0:?}, which was not asked for")]
    Encoding(String),
    /// A redirect leads nowhere.
    #[error("it redirects to nowhere")]
    Location,
    /// A chunk's length is no number.
    #[error("one of its chunks has no length")]
    Chunk,
    /// It is not the part that was asked for.
    #[error("it is not the part that was asked for")]
    Range,
}

/// Why no head was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// The request for a URL, or for what is missing of it. All parts of a URL are free of control characters and spaces.
pub(crate) fn request(url: &Url, there: Option<&Part>) -> String {
    let authorization = match &url.user {
        Some(user) => format!("Authorization: Basic {}\r\n", base64(user.as_bytes())),
        None => String::new(),
    };
    let range = there.map(Part::headers).unwrap_or_default();
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: testyard-guest/{}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
         {range}{authorization}Connection: close\r\n\r\n",
        url.target,
        url.authority(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// Reads the head of the final answer; interim ones (1xx) are passed over.
pub(crate) fn read_head(stream: &mut impl BufRead) -> Result<Head, ReadError> {
    let mut left = MAX_HEAD;
    loop {
        let mut text = Vec::new();
        loop {
            let start = text.len();
            let read = stream.by_ref().take(left as u64).read_until(b'\n', &mut text)?;
            left -= read;
            // At the end of the stream nothing is read, and what was read before may well end in a line.
            if read == 0 || !text.ends_with(b"\n") {
                let cut: ReadError = io::Error::from(io::ErrorKind::UnexpectedEof).into();
                return Err(if left == 0 { HttpError::HeadTooLong.into() } else { cut });
            }
            if matches!(&text[start..], b"\n" | b"\r\n") {
                break;
            }
        }
        let head = Head::parse(&text)?;
        if head.status >= 200 {
            return Ok(head);
        }
    }
}

impl Head {
    /// Reads a whole head.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HttpError> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .filter(|code| code.len() == 3)
            .and_then(|code| code.parse().ok())
            .filter(|code| (100..600).contains(code))
            .ok_or(HttpError::StatusLine)?;
        let mut headers = Vec::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(HttpError::Header)?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(HttpError::Header);
            }
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Self { status, headers })
    }

    /// The value of a header by its name in lower case, if there is exactly one.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values =
            self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known == name)
    }
}

impl Framing {
    /// How the body after this head is framed.
    pub(crate) fn of(head: &Head) -> Result<Self, HttpError> {
        if let Some(encoding) = head.header("content-encoding")
            && !encoding.eq_ignore_ascii_case("identity")
        {
            // Servers that label a .tar.gz so mean the file itself; nothing else was asked for.
            if !matches!(encoding.to_ascii_lowercase().as_str(), "gzip" | "x-gzip") {
                return Err(HttpError::Encoding(encoding.chars().take(40).collect()));
            }
        }
        if head.has("transfer-encoding") {
            return match head.header("transfer-encoding") {
                Some(encoding) if encoding.eq_ignore_ascii_case("chunked") => Ok(Self::Chunked),
                other => Err(HttpError::Encoding(other.unwrap_or("several").chars().take(40).collect())),
            };
        }
        if !head.has("content-length") {
            return Ok(Self::UntilClose);
        }
        let length = head.header("content-length").ok_or(HttpError::Length)?;
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HttpError::Length);
        }
        length.parse().map(Self::Length).map_err(|_| HttpError::Length)
    }
}

/// A body. A premature end is an error.
pub(crate) struct Body<R> {
    stream: R,
    framing: Framing,
    /// What is left of the body or of the chunk.
    left: u64,
    begun: bool,
    done: bool,
}

impl<R: BufRead> Body<R> {
    pub(crate) fn new(stream: R, framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Self { stream, framing, left, begun: false, done: framing == Framing::Length(0) }
    }

    /// How many bytes it has, if that was said in front of it.
    pub(crate) fn announced(&self) -> Option<u64> {
        matches!(self.framing, Framing::Length(_)).then_some(self.left)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.by_ref().take(MAX_CHUNK_LINE).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\n") {
            Some(line) => Ok(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()),
            None if line.len() as u64 == MAX_CHUNK_LINE => Err(broken()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The length of the next chunk, 0 for the last.
    fn next_chunk(&mut self) -> io::Result<u64> {
        if self.begun && !self.line()?.is_empty() {
            return Err(broken());
        }
        self.begun = true;
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(broken());
        }
        u64::from_str_radix(digits, 16).map_err(|_| broken())
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, HttpError::Chunk)
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.done || buffer.is_empty() {
            return Ok(0);
        }
        if self.framing == Framing::Chunked && self.left == 0 {
            self.left = self.next_chunk()?;
            if self.left == 0 {
                // What follows (trailers) is of no use, and the connection is closed anyway.
                self.done = true;
                return Ok(0);
            }
        }
        let room = match self.framing {
            Framing::UntilClose => buffer.len(),
            _ => usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len()),
        };
        let length = match self.stream.read(&mut buffer[..room]) {
            // A server that ends TLS without saying so: whether it was the end, the archive will tell.
            Err(error)
                if self.framing == Framing::UntilClose && error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                0
            }
            result => result?,
        };
        if self.framing == Framing::UntilClose {
            self.done = length == 0;
        } else if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        } else {
            self.left -= length as u64;
            self.done = self.left == 0 && self.framing != Framing::Chunked;
        }
        Ok(length)
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number =
            three.iter().enumerate().fold(0u32, |sum, (i, byte)| sum | u32::from(*byte) << (16 - 8 * i));
        for digit in 0..4 {
            if digit <= three.len() {
                text.push(char::from(DIGITS[(number >> (18 - 6 * digit)) as usize & 63]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framing(headers: &str) -> Result<Framing, HttpError> {
        Framing::of(&Head::parse(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes())?)
    }

    #[test]
    fn heads() {
        let head =
            read_head(&mut &b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404\r\nA: b\nC:d \r\n\r\nbody"[..])
                .unwrap();
        assert_eq!((head.status, head.header("a"), head.header("c")), (404, Some("b"), Some("d")));
        for cut in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b", "HTTP/1.1 100 C\r\n\r\n"] {
            assert!(matches!(read_head(&mut cut.as_bytes()), Err(ReadError::Io(_))), "{cut}");
        }
        for bad in [
            "",
            "HTTP/2 200 OK",
            "HTTP/1.1 20 x",
            "HTTP/1.1 999 x",
            "SSH-2.0-x",
            "HTTP/1.1 200 OK\r\nno colon",
        ] {
            assert!(Head::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn framings() {
        assert_eq!(framing(""), Ok(Framing::UntilClose));
        assert_eq!(framing("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(framing("Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        assert_eq!(framing("Content-Encoding: gzip\r\n"), Ok(Framing::UntilClose));
        for bad in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Content-Encoding: br\r\n",
        ] {
            assert!(framing(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_encoded() {
        for (text, code) in [
            ("", ""),
            ("a", "YQ=="),
            ("ab", "YWI="),
            ("abc", "YWJj"),
            ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ] {
            assert_eq!(base64(text.as_bytes()), code);
        }
    }

    proptest! {
        #[test]
        fn chunks_give_back_what_they_hold(parts in proptest::collection::vec("[a-z]{1,20}", 0..8), cut in 0usize..200) {
            let mut text: String = parts.iter().map(|part| format!("{:X}\r\n{part}\r\n", part.len())).collect();
            text.push_str("0\r\n\r\n");
            let mut whole = String::new();
            Body::new(text.as_bytes(), Framing::Chunked).read_to_string(&mut whole).unwrap();
            prop_assert_eq!(&whole, &parts.concat());
            // Cut anywhere before the last chunk, it is an error, not a shorter body.
            let cut = cut.min(text.len());
            if cut < text.len() - 4 {
                let mut partial = Vec::new();
                prop_assert!(Body::new(&text.as_bytes()[..cut], Framing::Chunked).read_to_end(&mut partial).is_err());
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_head(&mut &bytes[..]);
            let _ = Body::new(&bytes[..], Framing::Chunked).read_to_end(&mut Vec::new());
        }
    }
}

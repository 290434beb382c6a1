//! Entry points of the fuzzers (`fuzz/`); `tests/corpus.rs` runs the committed corpora through the same functions.

use std::io::{Cursor, Read as _};

use crate::archive::{ArchiveError, Budget, EntryPath, Sink, tar, zip};
use crate::download::dns::{self, Kind};
use crate::download::http::{Body, Framing, read_head};
use crate::download::resume::Part;
use crate::download::url::Url;

/// Takes entries and checks that no path leaves the folder.
struct Check(u64);

const LIMIT: u64 = 1 << 20;

impl Check {
    fn path(path: &EntryPath) {
        assert!(path.names().all(|name| !name.is_empty() && name != ".." && name != "."));
    }
}

impl Sink for Check {
    fn folder(&mut self, path: &EntryPath, mode: u32) -> Result<(), ArchiveError> {
        assert_eq!(mode & !0o777, 0);
        Self::path(path);
        Ok(())
    }

    fn file(
        &mut self,
        path: &EntryPath,
        about: crate::archive::About,
        contents: &mut dyn std::io::Read,
    ) -> Result<(), ArchiveError> {
        assert_eq!(about.mode & !0o777, 0);
        Self::path(path);
        self.0 += std::io::copy(contents, &mut std::io::sink()).map_err(ArchiveError::Read)?;
        assert!(self.0 <= LIMIT);
        Ok(())
    }

    fn symbolic_link(&mut self, path: &EntryPath, _: &[u8]) -> Result<(), ArchiveError> {
        Self::path(path);
        Ok(())
    }

    fn hard_link(&mut self, path: &EntryPath, existing: &EntryPath) -> Result<(), ArchiveError> {
        Self::path(path);
        Self::path(existing);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ArchiveError> {
        Ok(())
    }
}

/// A tar or zip archive.
pub fn archive(data: &[u8]) {
    let budget = || Budget::new(LIMIT, 1000);
    let _ = tar::unpack(data, &mut Check(0), &mut budget());
    let _ = tar::unpack(flate2::read::MultiGzDecoder::new(data), &mut Check(0), &mut budget());
    let _ = zip::unpack(&mut Cursor::new(data), &mut Check(0), &mut budget());
}

/// The answer of a name server.
pub fn dns(data: &[u8]) {
    for kind in [Kind::V4, Kind::V6] {
        let id = data.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
        let _ = dns::answer(data, id, "www.example.net", kind);
    }
}

/// The answer of a web server.
pub fn http(data: &[u8]) {
    let mut stream = data;
    if let Ok(head) = read_head(&mut stream) {
        if let Some(part) = Part::of(&head, 5) {
            assert_eq!(
                part.headers().matches(char::is_control).count(),
                4,
                "two lines: {:?}",
                part.headers()
            );
            if let Ok(Some(whole)) = part.continues(&head) {
                assert!(whole > part.length);
            }
        }
        if let Ok(framing) = Framing::of(&head) {
            let mut body = Vec::new();
            let _ = Body::new(stream, framing).read_to_end(&mut body);
            assert!(body.len() <= data.len());
        }
        if let Some(location) = head.header("location") {
            url(location.as_bytes());
        }
    }
}

/// An address, and a redirect to it.
pub fn url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let base = Url::parse("https://user@example.net/a/b?c").ok();
    for url in [Url::parse(&text).ok(), base.and_then(|base| base.join(&text).ok())].into_iter().flatten() {
        assert!(url.target.starts_with('/') && url.target.bytes().all(|b| b.is_ascii_graphic()));
        assert!(url.authority().bytes().all(|b| b.is_ascii_graphic()));
        assert!(url.file_name().is_none_or(|name| !name.contains('/') && name != ".."));
    }
}

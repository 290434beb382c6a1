//! What a fetched file is, by what it holds: names of URLs say little.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use flate2::read::MultiGzDecoder;
use testyard_fetch::archive::{self, Kind};
use testyard_fetch::text::printable;

use crate::dockerfile::LONGEST;

/// What it is.
pub(crate) enum Sort {
    Text(String),
    Archive(Kind),
    /// Nothing that an image is made of; in words.
    Other(String),
}

/// How much of a file tells an archive.
const HEAD: u64 = 4096;

/// What begins otherwise packed files, and their names.
const STRANGERS: [(&[u8], &str); 5] = [
    (b"\xfd7zXZ\0", "packed by xz"),
    (b"BZh", "packed by bzip2"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a rar archive"),
];

pub(crate) fn sort(file: &mut File) -> io::Result<Sort> {
    let mut head = Vec::new();
    file.rewind()?;
    file.by_ref().take(HEAD).read_to_end(&mut head)?;
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Sort::Archive(Kind::Zip));
    }
    if archive::is_tar(&head) {
        return Ok(Sort::Archive(Kind::Tar));
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        let mut inner = Vec::new();
        file.rewind()?;
        // What is damaged further on is told when it is unpacked.
        let _ = MultiGzDecoder::new(&mut *file).take(HEAD).read_to_end(&mut inner);
        return Ok(match archive::is_tar(&inner) {
            true => Sort::Archive(Kind::TarGz),
            false => Sort::Other("packed by gzip, and no tar archive".to_owned()),
        });
    }
    if let Some((_, what)) = STRANGERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(Sort::Other((*what).to_owned()));
    }
    if head.is_empty() {
        return Ok(Sort::Other("empty".to_owned()));
    }
    if head.trim_ascii_start().starts_with(b"<") {
        return Ok(Sort::Other("a web page".to_owned()));
    }
    file.rewind()?;
    let mut bytes = Vec::new();
    file.by_ref().take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    let shown = printable(&bytes, 40);
    Ok(match String::from_utf8(bytes) {
        Ok(text) if text.len() <= LONGEST && !text.contains('\0') => Sort::Text(text),
        Ok(_) => {
            Sort::Other(format!("longer than the {LONGEST} bytes that a Dockerfile may have, and no archive"))
        }
        Err(_) => Sort::Other(format!("neither an archive nor a text: it begins with {shown:?}")),
    })
}

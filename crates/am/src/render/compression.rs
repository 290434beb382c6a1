//! `geni_compressed`: base64 text of a zlib stream (RFC 1950).

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// The largest text that is unpacked.
const MAX: u64 = 64 << 20;

/// Why a text cannot be unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inflate;

pub(crate) fn compress(text: &str) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory can be written to");
    STANDARD.encode(encoder.finish().expect("memory can be written to"))
}

pub(crate) fn decompress(text: &str) -> Result<String, Inflate> {
    let bytes = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<_>>();
    let bytes = STANDARD.decode(bytes).map_err(|_| Inflate)?;
    let mut text = String::new();
    let read = ZlibDecoder::new(&bytes[..]).take(MAX).read_to_string(&mut text).map_err(|_| Inflate)?;
    if (read as u64) < MAX { Ok(text) } else { Err(Inflate) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for text in ["", "<rspec/>", &"\u{e9}".repeat(10_000)] {
            assert_eq!(decompress(&compress(text)).unwrap(), text);
        }
        assert_eq!(decompress("<rspec/>"), Err(Inflate));
        assert_eq!(decompress("AAAA"), Err(Inflate));
    }
}

//! Whether a download is what the request meant.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Seek as _};

use sha2::{Sha256, Sha512};

use crate::text::printable;

/// Reads the file from its beginning and compares; `wanted` is an algorithm, a colon and hex digits. An error is for
/// people and tells both.
pub(super) fn verify(file: &mut File, wanted: &str) -> Result<(), String> {
    let (algorithm, digits) = wanted.split_once(':').unwrap_or(("", wanted));
    let found = match algorithm {
        "sha256" => digest::<Sha256>(file),
        "sha512" => digest::<Sha512>(file),
        _ => {
            let shown = printable(wanted.as_bytes(), 40);
            return Err(format!(
                "its checksum {shown:?} is not of a kind that is known here: use sha256 or sha512"
            ));
        }
    };
    let found = found.map_err(|error| format!("the download cannot be read: {error}"))?;
    if found.eq_ignore_ascii_case(digits) {
        Ok(())
    } else {
        let digits = printable(digits.as_bytes(), 128);
        Err(format!("it is not what was meant: its {algorithm} is {found}, the request says {digits}"))
    }
}

fn digest<D: sha2::Digest + io::Write>(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut hasher = D::new();
    io::copy(file, &mut hasher)?;
    Ok(hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        // A text takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn both_sums_are_told() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(verify(&mut file, &format!("sha256:{sum}")), Ok(()));
        assert_eq!(verify(&mut file, &format!("sha256:{}", sum.to_uppercase())), Ok(()));
        let long = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                    2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        assert_eq!(verify(&mut file, &format!("sha512:{long}")), Ok(()));
        let other = sum.replace('b', "c");
        let told = verify(&mut file, &format!("sha256:{other}")).unwrap_err();
        assert!(told.contains(sum) && told.contains(&other), "{told}");
        assert!(verify(&mut file, "md5:900150983cd24fb0d6963f7d28e17f72").unwrap_err().contains("sha256"));
    }
}

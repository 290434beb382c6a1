//! Host keys as dropbear wants them, made from OpenSSH's private key format (PROTOCOL.key; never encrypted here).

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::files::{self, FileError};

/// A text that is no OpenSSH private key.
#[derive(Debug, thiserror::Error)]
#[error("this is no unencrypted OpenSSH private key of type ed25519 or ecdsa")]
pub(crate) struct NotAKey;

/// Writes dropbear's form of each key that it can use; the paths of what was written.
pub(crate) fn write_keys(root: &Path, keys: &[PathBuf]) -> Result<Vec<PathBuf>, FileError> {
    let mut written = Vec::new();
    for key in keys {
        let name = key.file_name().unwrap_or_default().to_string_lossy().replace("ssh_host", "dropbear");
        let path = root.join("etc/dropbear").join(name);
        let text = files::read(key)?.unwrap_or_default();
        let bytes = convert(&String::from_utf8_lossy(&text))
            .map_err(|error| FileError::new("convert", key, std::io::Error::other(error)))?;
        files::replace(&path, &bytes, Some(0o600))?;
        written.push(path);
    }
    Ok(written)
}

/// The key in dropbear's format.
pub(crate) fn convert(text: &str) -> Result<Vec<u8>, NotAKey> {
    let body: String = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "-----BEGIN OPENSSH PRIVATE KEY-----")
        .skip(1)
        .take_while(|line| *line != "-----END OPENSSH PRIVATE KEY-----")
        .collect();
    let bytes = BASE64_STANDARD.decode(body).map_err(|_| NotAKey)?;
    let mut outer = Reader(bytes.strip_prefix(b"openssh-key-v1\0").ok_or(NotAKey)?);
    if outer.text()? != b"none"
        || outer.text()? != b"none"
        || !outer.text()?.is_empty()
        || outer.number()? != 1
    {
        return Err(NotAKey);
    }
    outer.text()?;
    let mut inner = Reader(outer.text()?);
    if inner.number()? != inner.number()? {
        return Err(NotAKey);
    }
    let kind = inner.text()?;
    let mut out = Vec::new();
    put(&mut out, kind);
    if kind == b"ssh-ed25519" {
        inner.text()?;
        let pair = inner.text()?;
        if pair.len() != 64 {
            return Err(NotAKey);
        }
        put(&mut out, pair);
    } else if kind.starts_with(b"ecdsa-sha2-nistp") {
        // Curve, public point, private number: both formats agree.
        for _ in 0..3 {
            put(&mut out, inner.text()?);
        }
    } else {
        return Err(NotAKey);
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    // A piece of a base64 text that the agent sent in one message.
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u32, NotAKey> {
        let (head, rest) = self.0.split_first_chunk().ok_or(NotAKey)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*head))
    }

    fn text(&mut self) -> Result<&'a [u8], NotAKey> {
        let length = self.number()? as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or(NotAKey)?;
        self.0 = rest;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_both_kinds() {
        let testdata = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
        let read = |name: &str| std::fs::read_to_string(format!("{testdata}/{name}")).unwrap();
        for (name, kind, fields) in
            [("host_ed25519", "ssh-ed25519", 2), ("host_ecdsa", "ecdsa-sha2-nistp256", 4)]
        {
            let bytes = convert(&read(name)).unwrap();
            let public =
                BASE64_STANDARD.decode(read(&format!("{name}.pub")).split(' ').nth(1).unwrap()).unwrap();
            let mut reader = Reader(&bytes);
            let parts: Vec<&[u8]> = (0..fields).map(|_| reader.text().unwrap()).collect();
            assert!(reader.0.is_empty());
            assert_eq!(parts[0], kind.as_bytes());
            // The public half stands in both files.
            let half = if fields == 2 { &parts[1][32..] } else { parts[2] };
            assert!(public.ends_with(half));
        }
    }

    #[test]
    fn what_is_no_key() {
        for text in [
            "",
            "-----BEGIN OPENSSH PRIVATE KEY-----\n%%\n",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n",
        ] {
            assert!(convert(text).is_err());
        }
    }
}

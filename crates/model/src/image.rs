//! What a node boots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of an image as a container engine reads it: `debian:12`, `registry.example.net:5000/lab/tool@sha256:…`.
///
/// The grammar is that of the OCI distribution specification: nothing of it can be an option, a path or a shell word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImageName(String);

/// A text that names no image, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    /// It is the URL of something; what a URL may name is said by the message.
    #[error("{0:?} is a URL: name an image of a registry, like debian:12")]
    Url(String),
    /// It breaks the grammar of image names.
    #[error(
        "{0:?} is not the name of an image: use lower case, like debian:12 or registry.example.net/lab/tool:1"
    )]
    Grammar(String),
}

impl ImageName {
    /// The text as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The registry that it comes from, with its port: `registry.example.net:5000`; `docker.io` where the name has none.
    #[must_use]
    pub fn registry(&self) -> &str {
        match self.0.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
            _ => "docker.io",
        }
    }

    /// The name with an explicit tag or digest: `debian` becomes `debian:latest`.
    #[must_use]
    pub fn pinned(&self) -> String {
        let last = self.0.rsplit('/').next().unwrap_or(&self.0);
        if last.contains([':', '@']) { self.0.clone() } else { format!("{}:latest", self.0) }
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let shown = || text.chars().take(200).collect::<String>();
        if text.contains("://") {
            return Err(ImageNameError::Url(shown()));
        }
        if is_image_name(text) { Ok(Self(text.to_owned())) } else { Err(ImageNameError::Grammar(shown())) }
    }
}

fn is_image_name(text: &str) -> bool {
    if text.len() > 255 {
        return false;
    }
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let digest_good = digest.is_none_or(|digest| {
        digest.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
        })
    });
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let tag_good = tag.is_none_or(|tag| {
        (1..=128).contains(&tag.len())
            && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    });
    let mut components = path.split('/').peekable();
    let registry_good = match path.split_once('/') {
        // The first component is a registry if it looks like a host: with a dot or a port, or localhost.
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => {
            components.next();
            let (host, port) = host.split_once(':').unwrap_or((host, "0"));
            host.split('.').all(|label| !label.is_empty() && !label.starts_with('-'))
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
                && port.parse::<u16>().is_ok()
        }
        _ => true,
    };
    digest_good && tag_good && registry_good && components.peek().is_some() && components.all(is_component)
}

/// Lower-case letters and digits, parted by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    component.starts_with(alphanumeric)
        && component.ends_with(alphanumeric)
        && component.chars().all(|c| alphanumeric(c) || matches!(c, '.' | '_' | '-'))
        && !component.contains("..")
        && !component.contains("___")
        && !["._", "_.", ".-", "-.", "_-", "-_"].iter().any(|pair| component.contains(pair))
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageNameError;

    fn try_from(text: String) -> Result<Self, ImageNameError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries() {
        for (name, registry) in [
            ("debian:12", "docker.io"),
            ("lab/tool", "docker.io"),
            ("registry.example.net:5000/lab/tool:1.0", "registry.example.net:5000"),
            ("localhost/x", "localhost"),
        ] {
            assert_eq!(name.parse::<ImageName>().unwrap().registry(), registry);
        }
    }

    #[test]
    fn names() {
        for good in [
            "debian",
            "debian:12",
            "lab/tool",
            "registry.example.net:5000/lab/tool:1.0",
            "localhost/x",
            "a__b",
        ] {
            assert!(good.parse::<ImageName>().is_ok(), "{good}");
        }
        let digest = format!("debian@sha256:{}", "0".repeat(64));
        assert!(digest.parse::<ImageName>().is_ok());
        for bad in [
            "",
            "Debian",
            "-rm",
            "--privileged",
            "a b",
            "a;b",
            "$(id)",
            "../x",
            "/x",
            "a/",
            "a//b",
            "debian:",
            "a:b:c",
            "debian@sha256:12",
            "x\n",
            "`id`",
            "a..b",
            "a.",
            "host:99999/x",
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
        assert!(matches!("https://example.net/Dockerfile".parse::<ImageName>(), Err(ImageNameError::Url(_))));
    }

    #[test]
    fn pinned() {
        let pinned = |text: &str| text.parse::<ImageName>().unwrap().pinned();
        assert_eq!(pinned("debian"), "debian:latest");
        assert_eq!(pinned("r.example.net:5000/debian"), "r.example.net:5000/debian:latest");
        assert_eq!(pinned("debian:12"), "debian:12");
    }
}

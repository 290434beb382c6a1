//! What a node boots.
//!
//! ```text
//! ImageSource ─┬─ ImageName   debian:12                                     of a registry, or of the host's engine
//!              └─ ImageUrl    https://example.net/lab.zip#sha256=9f86d0…    of a file that an image is made of
//! ```

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
    /// It is the URL of something, where only the name of an image can be.
    #[error("{0:?} is a URL: name an image of a registry, like debian:12")]
    Url(String),
    /// Engines take it for the number of an image, which may be anybody's.
    #[error("{0:?} is the number of an image, not a name: use a name, like debian:12")]
    Number(String),
    /// It is a name of what Testyard has built for somebody.
    #[error("{0:?} is one of Testyard's own: use another name, like debian:12")]
    Own(String),
    /// It breaks the grammar of image names.
    #[error(
        "{0:?} is not the name of an image: use lower case, like debian:12 or registry.example.net/lab/tool:1"
    )]
    Grammar(String),
}

/// The registry, as image names have it, of what was built on a host: none that could ever answer (RFC 6761).
pub const BUILT: &str = "built.testyard.invalid";

impl ImageName {
    /// The name of an image that an agent has built or loaded itself. Nobody else can name it.
    ///
    /// # Panics
    /// If `tag` is none.
    #[must_use]
    pub fn built(instance: &crate::id::Instance, tag: &str) -> Self {
        let text = format!("{BUILT}/{instance}:{tag}");
        assert!(is_image_name(&text), "{text:?} is not the name of an image");
        Self(text)
    }

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
        if !is_image_name(text) {
            return Err(ImageNameError::Grammar(shown()));
        }
        // `sha256:…`, and bare hexadecimal digits, may be the beginning of an image's number.
        let is_number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
        if text.starts_with("sha256:") || (text.len() == 64 && is_number(text)) {
            return Err(ImageNameError::Number(shown()));
        }
        if text.split('/').next() == Some(BUILT) {
            return Err(ImageNameError::Own(shown()));
        }
        Ok(Self(text.to_owned()))
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

    /// What Testyard has written itself: there, the names of what it has built are good.
    fn try_from(text: String) -> Result<Self, ImageNameError> {
        if text.split('/').next() == Some(BUILT) && is_image_name(&text) {
            Ok(Self(text))
        } else {
            text.parse()
        }
    }
}

/// The URL of a file that an image is made of: a Dockerfile, an archive with one, or an image that was saved.
///
/// It has no user or password: manifests, logs and other hosts get to see it. A fragment `#sha256=…` is the checksum of the file,
/// and nothing else is taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImageUrl(String);

/// A text that is no such URL, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageUrlError {
    /// It is no address of a file on the web.
    #[error("{0:?} is no URL of a file: write it like https://example.net/lab/Dockerfile")]
    Grammar(String),
    /// It names who fetches.
    #[error("the URL names a user, and whoever sees the slice sees it: use one that needs none")]
    User,
    /// Behind the `#` is something else than a checksum.
    #[error("{0:?} behind the URL is no checksum: write #sha256= and 64 hexadecimal digits, or nothing")]
    Checksum(String),
}

impl ImageUrl {
    /// The longest.
    pub const LONGEST: usize = 2048;

    /// The text as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is fetched: the URL without its checksum.
    #[must_use]
    pub fn address(&self) -> &str {
        self.0.split('#').next().unwrap_or_default()
    }

    /// The checksum that the file must have, in lower case.
    #[must_use]
    pub fn sha256(&self) -> Option<String> {
        self.0.split_once("#sha256=").map(|(_, digest)| digest.to_ascii_lowercase())
    }
}

impl FromStr for ImageUrl {
    type Err = ImageUrlError;

    fn from_str(text: &str) -> Result<Self, ImageUrlError> {
        let wrong = || ImageUrlError::Grammar(text.chars().take(200).collect());
        let (address, fragment) = match text.split_once('#') {
            Some((address, fragment)) => (address, Some(fragment)),
            None => (text, None),
        };
        let scheme = ["http://", "https://"].into_iter().find(|scheme| {
            address.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        });
        let rest = &address[scheme.ok_or_else(wrong)?.len()..];
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(ImageUrlError::User);
        }
        let is_odd = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'`');
        if authority.is_empty() || text.len() > Self::LONGEST || address.bytes().any(is_odd) {
            return Err(wrong());
        }
        let is_checksum = |fragment: &str| {
            let digest = fragment.strip_prefix("sha256=").unwrap_or_default();
            digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        match fragment {
            Some(fragment) if !is_checksum(fragment) => {
                Err(ImageUrlError::Checksum(fragment.chars().take(100).collect()))
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for ImageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ImageUrl> for String {
    fn from(url: ImageUrl) -> Self {
        url.0
    }
}

impl TryFrom<String> for ImageUrl {
    type Error = ImageUrlError;

    fn try_from(text: String) -> Result<Self, ImageUrlError> {
        text.parse()
    }
}

/// Which content an image was made of: the SHA-256 of the file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Content(String);

/// A text that is no SHA-256 in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no SHA-256")]
pub struct ContentError(String);

impl Content {
    /// 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Content {
    type Err = ContentError;

    fn from_str(text: &str) -> Result<Self, ContentError> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(is_digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ContentError(text.chars().take(100).collect()))
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Content> for String {
    fn from(content: Content) -> Self {
        content.0
    }
}

impl TryFrom<String> for Content {
    type Error = ContentError;

    fn try_from(text: String) -> Result<Self, ContentError> {
        text.parse()
    }
}

/// Where the image of a node comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ImageSource {
    /// An image that has a name.
    Name(ImageName),
    /// A file that an image is made of.
    Url(ImageUrl),
}

/// A text that says neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageSourceError {
    /// It is no name.
    #[error(transparent)]
    Name(#[from] ImageNameError),
    /// It is no URL.
    #[error(transparent)]
    Url(#[from] ImageUrlError),
}

impl ImageSource {
    /// The text as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(name) => name.as_str(),
            Self::Url(url) => url.as_str(),
        }
    }

    /// The URL, where it is one.
    #[must_use]
    pub const fn url(&self) -> Option<&ImageUrl> {
        match self {
            Self::Name(_) => None,
            Self::Url(url) => Some(url),
        }
    }

    /// The name, where it is one.
    #[must_use]
    pub const fn name(&self) -> Option<&ImageName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Url(_) => None,
        }
    }
}

impl From<ImageName> for ImageSource {
    fn from(name: ImageName) -> Self {
        Self::Name(name)
    }
}

impl FromStr for ImageSource {
    type Err = ImageSourceError;

    fn from_str(text: &str) -> Result<Self, ImageSourceError> {
        if text.contains("://") { Ok(Self::Url(text.parse()?)) } else { Ok(Self::Name(text.parse()?)) }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<ImageSource> for String {
    fn from(source: ImageSource) -> Self {
        match source {
            ImageSource::Name(name) => name.0,
            ImageSource::Url(url) => url.0,
        }
    }
}

impl TryFrom<String> for ImageSource {
    type Error = ImageSourceError;

    fn try_from(text: String) -> Result<Self, ImageSourceError> {
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
    fn names_that_nobody_may_use() {
        let refused = |text: &str| text.parse::<ImageName>().unwrap_err();
        assert!(matches!(refused("sha256:0123abcd"), ImageNameError::Number(_)));
        assert!(matches!(refused(&"ab".repeat(32)), ImageNameError::Number(_)));
        assert!(matches!(refused("built.testyard.invalid/main:1"), ImageNameError::Own(_)));
        let built = ImageName::built(&"main".parse().unwrap(), "9f86");
        assert_eq!((built.as_str(), built.registry()), ("built.testyard.invalid/main:9f86", BUILT));
        assert_eq!(ImageName::try_from(built.to_string()), Ok(built.clone()));
        assert!(ImageSource::try_from(built.to_string()).is_err(), "what is asked for is never one");
        assert!("abba".parse::<ImageName>().is_ok());
    }

    #[test]
    fn urls() {
        let digest = "Ab".repeat(32);
        let url: ImageUrl = format!("https://example.net/a/Dockerfile?x=1#sha256={digest}").parse().unwrap();
        assert_eq!(url.address(), "https://example.net/a/Dockerfile?x=1");
        assert_eq!(url.sha256(), Some("ab".repeat(32)));
        assert_eq!("HTTP://[2001:db8::1]:8080/x.zip".parse::<ImageUrl>().unwrap().sha256(), None);
        for bad in [
            "ftp://example.net/x",
            "https://",
            "https:///x",
            "https://e/a b",
            "https://e/\"",
            "https://e/\\",
            "https://e/ü",
            "x",
            "https://e/\n",
        ] {
            assert!(matches!(bad.parse::<ImageUrl>(), Err(ImageUrlError::Grammar(_))), "{bad:?}");
        }
        assert_eq!("https://ann:secret@e/x".parse::<ImageUrl>(), Err(ImageUrlError::User));
        for bad in ["https://e/x#", "https://e/x#top", "https://e/x#sha256=12", "https://e/x#sha256=1#2"] {
            assert!(matches!(bad.parse::<ImageUrl>(), Err(ImageUrlError::Checksum(_))), "{bad:?}");
        }
        let long = format!("https://e/{}", "x".repeat(ImageUrl::LONGEST));
        assert!(long.parse::<ImageUrl>().is_err());
    }

    #[test]
    fn sources() {
        let read = |text: &str| text.parse::<ImageSource>();
        assert!(matches!(read("debian:12"), Ok(ImageSource::Name(name)) if name.as_str() == "debian:12"));
        assert!(matches!(read("http://e/x"), Ok(ImageSource::Url(url)) if url.as_str() == "http://e/x"));
        assert!(matches!(read("Debian"), Err(ImageSourceError::Name(_))));
        assert!(matches!(read("file:///etc/passwd"), Err(ImageSourceError::Url(_))));
    }

    #[test]
    fn pinned() {
        let pinned = |text: &str| text.parse::<ImageName>().unwrap().pinned();
        assert_eq!(pinned("debian"), "debian:latest");
        assert_eq!(pinned("r.example.net:5000/debian"), "r.example.net:5000/debian:latest");
        assert_eq!(pinned("debian:12"), "debian:12");
    }
}

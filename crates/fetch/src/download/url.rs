//! Addresses of downloads: `http` and `https`, parsed once.

use std::fmt;

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// An address whose parts can go into a request as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// With or without TLS.
    pub(crate) scheme: Scheme,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, percent-encoded, beginning with `/`.
    pub target: String,
    /// `user:password`, decoded.
    pub user: Option<String>,
}

/// A text that is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither http nor https.
    #[error("it does not begin with http:// or https://")]
    Scheme,
    /// There is no host, or it is none.
    #[error("its host is missing or has a character that no host has")]
    Host,
    /// The port is none.
    #[error("its port is no number from 1 to 65535")]
    Port,
    /// Nobody's address is so long.
    #[error("it is longer than {MAX_URL} characters")]
    TooLong,
}

const MAX_URL: usize = 4096;

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if text.len() > MAX_URL {
            return Err(UrlError::TooLong);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(decode(user)).filter(|user| !user.is_empty()), host),
            None => (None, authority),
        };
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(UrlError::Host)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
                (host, port)
            }
            None => {
                let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
                let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
                if host.is_empty() || host.len() > 253 || !host.bytes().all(good) {
                    return Err(UrlError::Host);
                }
                (host, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => scheme.port(),
            Some("") => scheme.port(),
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => match port.parse() {
                Ok(0) | Err(_) => return Err(UrlError::Port),
                Ok(port) => port,
            },
            _ => return Err(UrlError::Port),
        };
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port, target: encode_target(target), user })
    }

    /// Where a redirect from here to `location` leads. Another host does not get the password.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.trim();
        if location.len() > MAX_URL {
            return Err(UrlError::TooLong);
        }
        let scheme_end = location.find(':').filter(|end| {
            let scheme = &location[..*end];
            !scheme.is_empty()
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        });
        let mut next = if scheme_end.is_some() {
            Self::parse(location)?
        } else if location.starts_with("//") {
            Self::parse(&format!("{}:{location}", self.scheme.name()))?
        } else {
            let path = self.target.split('?').next().unwrap_or("/");
            let target = if location.starts_with('/') {
                location.to_owned()
            } else if location.starts_with('?') {
                format!("{path}{location}")
            } else {
                format!("{}{location}", &path[..=path.rfind('/').unwrap_or(0)])
            };
            Self { target: encode_target(&target), ..self.clone() }
        };
        if next.user.is_none() && (next.scheme, &next.host, next.port) == (self.scheme, &self.host, self.port)
        {
            next.user.clone_from(&self.user);
        }
        Ok(next)
    }

    /// The last part of the path, decoded, if it can be the name of a file.
    pub fn file_name(&self) -> Option<String> {
        let path = self.target.split('?').next().unwrap_or("/");
        let name = decode(path.rsplit('/').next().unwrap_or_default());
        let good = !name.is_empty()
            && name.len() <= 200
            && name != "."
            && name != ".."
            && !name.chars().any(|c| c == '/' || c.is_control());
        good.then_some(name)
    }
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Without user, password and query: these may be secrets.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or("/");
        write!(f, "{}://{}{path}", self.scheme.name(), self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

impl Url {
    /// Host and, unless it is the usual one, port, as a Host header says them.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.port() { host } else { format!("{host}:{}", self.port) }
    }
}

/// The path and query without a fragment, with everything encoded that a request line cannot hold.
fn encode_target(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let mut target = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        target.push('/');
    }
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            target.push(char::from(byte));
        } else {
            target.push_str(&format!("%{byte:02X}"));
        }
    }
    target
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let pair = more.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if *first == b'%' && more[0] != b'+' => {
                bytes.push(byte);
                rest = &more[2..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_as_people_write_them() {
        for (text, shown, target) in [
            ("http://example.net", "http://example.net/", "/"),
            (
                "HTTPS://Example.net:443/a b/ä.tgz?x=1#top",
                "https://example.net/a%20b/%C3%A4.tgz",
                "/a%20b/%C3%A4.tgz?x=1",
            ),
            ("http://[2001:db8::1]:8080?q", "http://[2001:db8::1]:8080/", "/?q"),
            (" http://a:/x ", "http://a/x", "/x"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.target.as_str()), (shown, target));
        }
        for bad in [
            "",
            "ftp://x/",
            "file:///etc/passwd",
            "http://",
            "http:///x",
            "http://a b/",
            "http://a:99999/",
            "http://a:+8/",
            "http://[::1/",
            "http://[x]/",
            "http://a\r\nX: y/",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn redirects_lead_where_browsers_go() {
        let url = Url::parse("http://u:p%40@a.example/x/y?z").unwrap();
        assert_eq!(url.user.as_deref(), Some("u:p@"));
        for (location, shown, user) in [
            ("/b", "http://a.example/b", true),
            ("c", "http://a.example/x/c", true),
            ("?q", "http://a.example/x/y", true),
            ("//b.example/d", "http://b.example/d", false),
            ("https://a.example/e", "https://a.example/e", false),
        ] {
            let next = url.join(location).unwrap();
            assert_eq!((next.to_string().as_str(), next.user.is_some()), (shown, user));
        }
        assert!(url.join("ftp://x/").is_err());
    }

    #[test]
    fn names_of_files() {
        let name = |text: &str| Url::parse(text).unwrap().file_name();
        assert_eq!(name("http://a/b/c.tar.gz?x=/y").as_deref(), Some("c.tar.gz"));
        assert_eq!(name("http://a/%41b").as_deref(), Some("Ab"));
        for bad in
            ["http://a", "http://a/b/", "http://a/..", "http://a/%2e%2e", "http://a/x%2fy", "http://a/x%00"]
        {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_out_of_a_request(text in "(http://)?(.|\n){0,60}", location in "(.|\n){0,60}") {
            if let Ok(url) = Url::parse(&text) {
                for url in [url.join(&location).unwrap_or(url.clone()), url] {
                    prop_assert!(url.target.starts_with('/') && url.target.bytes().all(|b| b.is_ascii_graphic()));
                    prop_assert!(url.authority().bytes().all(|b| b.is_ascii_graphic() && b != b'/'));
                    if let Some(name) = url.file_name() {
                        prop_assert!(!name.contains('/') && name != ".." && !name.is_empty());
                    }
                }
            }
        }
    }
}

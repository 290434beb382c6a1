//! Downloads over HTTP and HTTPS with nothing from the image but, where it has them, its certificates.
//!
//! | module | what |
//! | --- | --- |
//! | [`url`] | addresses, parsed once |
//! | [`resolve`], [`dns`] | names to addresses: /etc/hosts, then the node's name servers |
//! | [`connect`] | TCP and TLS with deadlines |
//! | [`http`] | heads of answers, and bodies as they are framed |
//!
//! Every download has limits: bytes, redirects, silence, time. What may pass by itself (a network that is just coming
//! up, a server that is restarting) is tried again for a minute.

mod connect;
pub(crate) mod dns;
pub(crate) mod http;
mod resolve;
pub(crate) mod url;

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::time::{Duration, Instant};

use crate::backoff::{Backoff, pause};
use crate::text;
pub(crate) use resolve::Network;
use url::{Scheme, Url, UrlError};

/// The most redirects of one download.
const MAX_REDIRECTS: u32 = 5;

/// How long a download is begun again after failures that may pass.
const RETRY_WINDOW: Duration = Duration::from_secs(60);

/// How often a body that broke off is fetched again after that.
const MAX_ATTEMPTS: u32 = 8;

/// The longest time for one download, whatever the server does.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0:?} is no address that can be fetched")]
    Url(String, #[source] UrlError),
    #[error("{0} is not known to the name servers")]
    UnknownName(String),
    #[error("the name {0} cannot be looked up")]
    Lookup(String, #[source] resolve::ResolveError),
    #[error("cannot connect to {0}")]
    Connect(String, #[source] io::Error),
    #[error("no secure connection to {0}")]
    Tls(String, #[source] io::Error),
    #[error("{0} broke off the download")]
    Broken(String, #[source] io::Error),
    #[error("the answer of {0} is no HTTP")]
    Http(String, #[source] http::HttpError),
    #[error("{host} answers with status {status}")]
    Status { host: String, status: u16 },
    #[error("more than {MAX_REDIRECTS} redirects")]
    Redirects,
    #[error("a redirect leads from https to http, to {0}")]
    Downgrade(String),
    #[error("it has more than the {0} bytes that may be downloaded")]
    TooLarge(u64),
    #[error("it took longer than {} minutes", DEADLINE.as_secs() / 60)]
    TooSlow,
    #[error("cannot write what was downloaded")]
    Write(#[source] io::Error),
}

impl FetchError {
    /// Whether it may pass by itself.
    fn may_pass(&self) -> bool {
        match self {
            Self::Lookup(..) | Self::Connect(..) | Self::Broken(..) => true,
            Self::Status { status, .. } => matches!(status, 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

/// Downloads `url` into `file`, which is emptied first. Returns the number of bytes.
pub(crate) fn download(
    url: &str,
    limit: u64,
    network: &Network,
    file: &mut File,
    mut note: impl FnMut(&str),
) -> Result<u64, FetchError> {
    let parsed =
        Url::parse(url).map_err(|error| FetchError::Url(text::printable(url.as_bytes(), 200), error))?;
    let began = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(8));
    let mut attempt = 1;
    loop {
        match try_download(parsed.clone(), limit, network, file, began + DEADLINE) {
            Err(error) if error.may_pass() && attempt < MAX_ATTEMPTS && began.elapsed() < RETRY_WINDOW => {
                note(&format!("{}; trying again", text::chain(&error)));
            }
            result => return result,
        }
        pause(backoff.next());
        attempt += 1;
    }
}

fn try_download(
    mut url: Url,
    limit: u64,
    network: &Network,
    file: &mut File,
    deadline: Instant,
) -> Result<u64, FetchError> {
    for _ in 0..=MAX_REDIRECTS {
        let host = url.host.clone();
        let http = |error| FetchError::Http(host.clone(), error);
        let mut stream = connect::connect(&url, network, deadline)?;
        stream
            .write_all(http::request(&url).as_bytes())
            .map_err(|error| FetchError::Broken(host.clone(), error))?;
        let mut stream = io::BufReader::with_capacity(16 << 10, stream);
        let head = http::read_head(&mut stream).map_err(|error| match error {
            http::ReadError::Io(_) if Instant::now() >= deadline => FetchError::TooSlow,
            http::ReadError::Io(error) => FetchError::Broken(host.clone(), error),
            http::ReadError::Http(error) => http(error),
        })?;
        match head.status {
            200 => {
                let framing = http::Framing::of(&head).map_err(http)?;
                if matches!(framing, http::Framing::Length(length) if length > limit) {
                    return Err(FetchError::TooLarge(limit));
                }
                return store(http::Body::new(stream, framing), limit, file, &host, deadline);
            }
            301 | 302 | 303 | 307 | 308 => {
                let location = head.header("location").ok_or_else(|| http(http::HttpError::Location))?;
                let next = url
                    .join(location)
                    .map_err(|error| FetchError::Url(text::printable(location.as_bytes(), 200), error))?;
                if url.scheme == Scheme::Https && next.scheme == Scheme::Http {
                    return Err(FetchError::Downgrade(next.host));
                }
                url = next;
            }
            status => return Err(FetchError::Status { host, status }),
        }
    }
    Err(FetchError::Redirects)
}

fn store(
    mut body: impl Read,
    limit: u64,
    file: &mut File,
    host: &str,
    deadline: Instant,
) -> Result<u64, FetchError> {
    file.set_len(0).and_then(|()| file.rewind()).map_err(FetchError::Write)?;
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0u64;
    loop {
        let length = match body.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(length) => length,
            Err(_) if Instant::now() >= deadline => return Err(FetchError::TooSlow),
            Err(error) => return Err(FetchError::Broken(host.to_owned(), error)),
        };
        total += length as u64;
        if total > limit {
            return Err(FetchError::TooLarge(limit));
        }
        file.write_all(&buffer[..length]).map_err(FetchError::Write)?;
    }
}

#[cfg(test)]
mod tests;

//! Downloads over HTTP and HTTPS with nothing from the image but, where it has them, its certificates.
//!
//! | module | what |
//! | --- | --- |
//! | [`url`] | addresses, parsed once |
//! | [`resolve`], [`dns`] | names to addresses: /etc/hosts, then the node's name servers |
//! | [`connect`] | TCP and TLS with deadlines |
//! | [`http`] | heads of answers, and bodies as they are framed |
//! | [`resume`] | going on with a download that broke off |
//!
//! Every download has limits: bytes, redirects, silence, time. What may pass by itself (a network that is just coming
//! up, a server that is restarting) is tried again for a minute; what has come is kept where the server can go on.

mod connect;
pub(crate) mod dns;
pub(crate) mod http;
mod resolve;
pub(crate) mod resume;
pub(crate) mod url;

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::time::{Duration, Instant};

use crate::backoff::{Backoff, pause};
use crate::text;
pub(crate) use resolve::Network;
use resume::Part;
use url::{Scheme, Url, UrlError};

/// The most redirects of one download.
const MAX_REDIRECTS: u32 = 5;

/// How long a download is begun again after failures that may pass.
const RETRY_WINDOW: Duration = Duration::from_secs(60);

/// How often a body that broke off is fetched again after that.
const MAX_ATTEMPTS: u32 = 8;

/// How many bytes more make an attempt one that was worth it: after it, counting begins anew.
const PROGRESS: u64 = 64 << 10;

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
    let deadline = Instant::now() + DEADLINE;
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(8));
    // Since when, and how often, nothing has come of it.
    let (mut since, mut attempt) = (Instant::now(), 1);
    let mut there: Option<Part> = None;
    loop {
        let before = there.as_ref().map(|part| part.length);
        let error = match try_download(parsed.clone(), limit, network, file, &mut there, deadline) {
            Ok(total) => return Ok(total),
            Err(error) => error,
        };
        let now = there.as_ref().map_or(0, |part| part.length);
        if now >= before.unwrap_or(0) + PROGRESS {
            (since, attempt) = (Instant::now(), 1);
            backoff.reset();
        }
        let unfit = before.is_some() && matches!(error, FetchError::Http(_, http::HttpError::Range));
        if unfit {
            there = None;
        }
        if !(unfit || error.may_pass()) || attempt >= MAX_ATTEMPTS || since.elapsed() >= RETRY_WINDOW {
            return Err(error);
        }
        let how = match &there {
            Some(part) => format!("going on after {} bytes", part.length),
            None => "trying again".to_owned(),
        };
        note(&format!("{}; {how}", text::chain(&error)));
        pause(backoff.next());
        attempt += 1;
    }
}

/// One attempt, over all redirects. `there` is what earlier ones have left in `file`, and afterwards what this one has.
fn try_download(
    mut url: Url,
    limit: u64,
    network: &Network,
    file: &mut File,
    there: &mut Option<Part>,
    deadline: Instant,
) -> Result<u64, FetchError> {
    for _ in 0..=MAX_REDIRECTS {
        let host = url.host.clone();
        let http = |error| FetchError::Http(host.clone(), error);
        let mut stream = connect::connect(&url, network, deadline)?;
        stream
            .write_all(http::request(&url, there.as_ref()).as_bytes())
            .map_err(|error| FetchError::Broken(host.clone(), error))?;
        let mut stream = io::BufReader::with_capacity(16 << 10, stream);
        let head = http::read_head(&mut stream).map_err(|error| match error {
            http::ReadError::Io(_) if Instant::now() >= deadline => FetchError::TooSlow,
            http::ReadError::Io(error) => FetchError::Broken(host.clone(), error),
            http::ReadError::Http(error) => http(error),
        })?;
        match (head.status, there.take()) {
            (200, _) => {
                let body = http::Body::new(stream, http::Framing::of(&head).map_err(http)?);
                let (total, result) = store(body, 0, limit, file, &host, deadline);
                *there = Part::of(&head, total);
                return result.map(|()| total);
            }
            (206, Some(part)) => {
                let whole = part.continues(&head).map_err(http)?;
                let body = http::Body::new(stream, http::Framing::of(&head).map_err(http)?);
                let (total, result) = store(body, part.length, limit, file, &host, deadline);
                *there = Some(part.grown(total));
                result?;
                return if whole.is_none_or(|whole| whole == total) {
                    Ok(total)
                } else {
                    Err(http(http::HttpError::Range))
                };
            }
            (416, Some(_)) => return Err(http(http::HttpError::Range)),
            (301 | 302 | 303 | 307 | 308, part) => {
                *there = part;
                let location = head.header("location").ok_or_else(|| http(http::HttpError::Location))?;
                let next = url
                    .join(location)
                    .map_err(|error| FetchError::Url(text::printable(location.as_bytes(), 200), error))?;
                if url.scheme == Scheme::Https && next.scheme == Scheme::Http {
                    return Err(FetchError::Downgrade(next.host));
                }
                url = next;
            }
            (status, part) => {
                *there = part;
                return Err(FetchError::Status { host, status });
            }
        }
    }
    Err(FetchError::Redirects)
}

/// Puts a body behind the first `start` bytes of the file; how many are there in the end, and whether it was all.
fn store<R: io::BufRead>(
    mut body: http::Body<R>,
    start: u64,
    limit: u64,
    file: &mut File,
    host: &str,
    deadline: Instant,
) -> (u64, Result<(), FetchError>) {
    if body.announced().is_some_and(|length| start.saturating_add(length) > limit) {
        return (start, Err(FetchError::TooLarge(limit)));
    }
    if let Err(error) = file.set_len(start).and_then(|()| file.seek(io::SeekFrom::Start(start))) {
        return (0, Err(FetchError::Write(error)));
    }
    let mut buffer = vec![0; 64 << 10];
    let mut total = start;
    loop {
        let length = match body.read(&mut buffer) {
            Ok(0) => return (total, Ok(())),
            Ok(length) => length,
            Err(_) if Instant::now() >= deadline => return (total, Err(FetchError::TooSlow)),
            Err(error) => return (total, Err(FetchError::Broken(host.to_owned(), error))),
        };
        if total + length as u64 > limit {
            return (total, Err(FetchError::TooLarge(limit)));
        }
        if let Err(error) = file.write_all(&buffer[..length]) {
            return (total, Err(FetchError::Write(error)));
        }
        total += length as u64;
    }
}

#[cfg(test)]
mod tests;

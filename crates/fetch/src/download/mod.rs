//! Downloads over HTTP and HTTPS without any program or library of where they are made but, where there are some, its
//! certificates.
//!
//! | module | what |
//! | --- | --- |
//! | [`url`] | addresses, parsed once |
//! | [`resolve`], [`dns`] | names to addresses: /etc/hosts, then the name servers |
//! | [`reach`] | which addresses may be reached |
//! | [`connect`] | TCP and TLS with deadlines |
//! | [`http`] | heads of answers, and bodies as they are framed |
//! | [`resume`] | going on with a download that broke off |
//!
//! Every download has limits: bytes, redirects, silence, time. What may pass by itself (a network that is just coming
//! up, a server that is restarting) is tried again for a minute; what has come is kept where the server can go on.

mod connect;
pub(crate) mod dns;
pub(crate) mod http;
mod reach;
mod resolve;
pub(crate) mod resume;
pub(crate) mod url;

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::backoff::{Backoff, pause};
use crate::text;
pub use http::HttpError;
pub use reach::Reach;
pub use resolve::{Network, ResolveError};
use resume::Part;
use url::Scheme;
pub use url::{Url, UrlError};

/// The most redirects of one download.
const MAX_REDIRECTS: u32 = 5;

/// How long a download is begun again after failures that may pass.
const RETRY_WINDOW: Duration = Duration::from_secs(60);

/// How often a body that broke off is fetched again after that.
const MAX_ATTEMPTS: u32 = 8;

/// How many bytes more make an attempt one that was worth it: after it, counting begins anew.
const PROGRESS: u64 = 64 << 10;

/// What a download may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes.
    pub bytes: u64,
    /// The longest time, whatever the server does.
    pub time: Duration,
}

/// Who is told how a download goes on.
pub trait Watch {
    /// Something to know, as a line for people.
    fn note(&mut self, line: &str);

    /// How many bytes are here, of how many, as far as that is known. `false` ends the download.
    fn progress(&mut self, _done: u64, _total: Option<u64>) -> bool {
        true
    }
}

impl<F: FnMut(&str)> Watch for F {
    fn note(&mut self, line: &str) {
        self(line);
    }
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is no address, or the server sends us to none.
    #[error("{0:?} is no address that can be fetched")]
    Url(String, #[source] UrlError),
    /// There is no such name.
    #[error("{0} is not known to the name servers")]
    UnknownName(String),
    /// The name cannot be looked up.
    #[error("the name {0} cannot be looked up")]
    Lookup(String, #[source] resolve::ResolveError),
    /// Nobody answers there.
    #[error("cannot connect to {0}")]
    Connect(String, #[source] io::Error),
    /// There is no secure connection: the certificate is not good, for example.
    #[error("no secure connection to {0}")]
    Tls(String, #[source] io::Error),
    /// The connection ended before the download did.
    #[error("{0} broke off the download")]
    Broken(String, #[source] io::Error),
    /// The server speaks no HTTP, or not what was asked for.
    #[error("the answer of {0} is no HTTP")]
    Http(String, #[source] http::HttpError),
    /// The server says no.
    #[error("{host} answers with status {status}")]
    Status {
        /// Who.
        host: String,
        /// What it says.
        status: u16,
    },
    /// It is where nobody is to be sent.
    #[error("{0} is at {1}, which is not a public address: nothing is fetched from there")]
    Refused(String, IpAddr),
    /// It was ended.
    #[error("it was given up")]
    GivenUp,
    /// The server sends us on and on.
    #[error("more than {MAX_REDIRECTS} redirects")]
    Redirects,
    /// The server sends us from a secure place to one that is not.
    #[error("a redirect leads from https to http, to {0}")]
    Downgrade(String),
    /// There is more than is allowed.
    #[error("it has more than the {0} bytes that may be downloaded")]
    TooLarge(u64),
    /// It does not come to its end.
    #[error("it took longer than {} s", .0.as_secs())]
    TooSlow(Duration),
    /// What comes cannot be kept.
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
///
/// # Errors
/// [`FetchError`], after what may pass has been tried again.
pub fn download(
    url: &str,
    limits: Limits,
    network: &Network,
    file: &mut File,
    watch: &mut dyn Watch,
) -> Result<u64, FetchError> {
    let parsed =
        Url::parse(url).map_err(|error| FetchError::Url(text::printable(url.as_bytes(), 200), error))?;
    let deadline = Instant::now() + limits.time;
    let bounds = Bounds { limits, deadline };
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(8));
    // Since when, and how often, nothing has come of it.
    let (mut since, mut attempt) = (Instant::now(), 1);
    let mut there: Option<Part> = None;
    loop {
        let before = there.as_ref().map(|part| part.length);
        let error = match try_download(parsed.clone(), bounds, network, file, &mut there, watch) {
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
        watch.note(&format!("{}; {how}", text::chain(&error)));
        pause(backoff.step());
        if !watch.progress(now, None) {
            return Err(FetchError::GivenUp);
        }
        attempt += 1;
    }
}

/// What a download may take, and until when.
#[derive(Clone, Copy)]
struct Bounds {
    limits: Limits,
    deadline: Instant,
}

impl Bounds {
    fn are_over(self) -> bool {
        Instant::now() >= self.deadline
    }

    fn too_slow(self) -> FetchError {
        FetchError::TooSlow(self.limits.time)
    }
}

/// One attempt, over all redirects. `there` is what earlier ones have left in `file`, and afterwards what this one has.
fn try_download(
    mut url: Url,
    bounds: Bounds,
    network: &Network,
    file: &mut File,
    there: &mut Option<Part>,
    watch: &mut dyn Watch,
) -> Result<u64, FetchError> {
    for _ in 0..=MAX_REDIRECTS {
        let host = url.host.clone();
        let http = |error| FetchError::Http(host.clone(), error);
        let mut stream = connect::connect(&url, network, bounds)?;
        stream
            .write_all(http::request(&url, there.as_ref()).as_bytes())
            .map_err(|error| FetchError::Broken(host.clone(), error))?;
        let mut stream = io::BufReader::with_capacity(16 << 10, stream);
        let head = http::read_head(&mut stream).map_err(|error| match error {
            http::ReadError::Io(_) if bounds.are_over() => bounds.too_slow(),
            http::ReadError::Io(error) => FetchError::Broken(host.clone(), error),
            http::ReadError::Http(error) => http(error),
        })?;
        match (head.status, there.take()) {
            (200, _) => {
                let body = http::Body::new(stream, http::Framing::of(&head).map_err(http)?);
                let (total, result) = store(body, 0, bounds, file, &host, watch);
                *there = Part::of(&head, total);
                return result.map(|()| total);
            }
            (206, Some(part)) => {
                let whole = part.continues(&head).map_err(http)?;
                let body = http::Body::new(stream, http::Framing::of(&head).map_err(http)?);
                let (total, result) = store(body, part.length, bounds, file, &host, watch);
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
    bounds: Bounds,
    file: &mut File,
    host: &str,
    watch: &mut dyn Watch,
) -> (u64, Result<(), FetchError>) {
    let limit = bounds.limits.bytes;
    let whole = body.announced().map(|length| start.saturating_add(length));
    if whole.is_some_and(|whole| whole > limit) {
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
            Err(_) if bounds.are_over() => return (total, Err(bounds.too_slow())),
            Err(error) => return (total, Err(FetchError::Broken(host.to_owned(), error))),
        };
        if total + length as u64 > limit {
            return (total, Err(FetchError::TooLarge(limit)));
        }
        if let Err(error) = file.write_all(&buffer[..length]) {
            return (total, Err(FetchError::Write(error)));
        }
        total += length as u64;
        if !watch.progress(total, whole) {
            return (total, Err(FetchError::GivenUp));
        }
    }
}

#[cfg(test)]
mod tests;

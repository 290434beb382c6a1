//! A connection to the server of a URL, with a deadline over everything that happens on it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::resolve::Network;
use super::url::{Scheme, Url};
use super::{Bounds, FetchError};

/// How long one address may take to answer a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the server may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// The most bytes that are read of a file of certificates.
const MAX_BUNDLE: u64 = 4 << 20;

/// A connection, with or without TLS.
pub(super) enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

/// Connects to the first address that answers.
pub(super) fn connect(url: &Url, network: &Network, bounds: Bounds) -> Result<Stream, FetchError> {
    let host = &url.host;
    let addresses = network.lookup(host).map_err(|error| FetchError::Lookup(host.clone(), error))?;
    let mut refused = None;
    let mut last = None;
    let mut stream = None;
    for address in addresses {
        if !network.reach.allows(address) {
            refused = Some(address);
            continue;
        }
        let left = bounds.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(bounds.too_slow());
        }
        match TcpStream::connect_timeout(&SocketAddr::new(address, url.port), CONNECT.min(left)) {
            Ok(connected) => {
                stream = Some(connected);
                break;
            }
            Err(error) => last = Some(error),
        }
    }
    let stream = match (stream, last) {
        (Some(stream), _) => Timed { stream, deadline: bounds.deadline },
        (None, Some(error)) => return Err(FetchError::Connect(url.authority(), error)),
        (None, None) if let Some(address) = refused => {
            return Err(FetchError::Refused(host.clone(), address));
        }
        (None, None) => return Err(FetchError::UnknownName(host.clone())),
    };
    match url.scheme {
        Scheme::Http => Ok(Stream::Plain(stream)),
        Scheme::Https => secure(host, stream, &network.bundles).map(Stream::Tls).map_err(|error| match error
            .get_ref()
            .is_some_and(|e| e.is::<rustls::Error>())
        {
            true => FetchError::Tls(host.clone(), error),
            false => FetchError::Broken(host.clone(), error),
        }),
    }
}

fn secure(
    host: &str,
    mut stream: Timed,
    bundles: &[PathBuf],
) -> io::Result<Box<StreamOwned<ClientConnection, Timed>>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(bundles))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    // Now, so that a bad certificate is told as that.
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(Box::new(StreamOwned::new(connection, stream)))
}

/// The roots that came with us and those of the image: what its own programs trust works here too.
fn roots(bundles: &[PathBuf]) -> RootCertStore {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for bundle in bundles {
        let Ok(file) = open(bundle) else { continue };
        let certificates = CertificateDer::pem_reader_iter(file.take(MAX_BUNDLE)).map_while(Result::ok);
        roots.add_parsable_certificates(certificates);
        break;
    }
    roots
}

/// Opens a file for reading. Whatever else is in its place is an error: opening a pipe would wait for a writer, who may
/// never come.
fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

// === impl Stream ===

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection that gives up at the deadline, or after too long a silence before.
pub(super) struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left.min(SILENCE)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer).map_err(silence)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes).map_err(silence)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The kernel says "would block" where a person expects "took too long".
fn silence(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "the server is silent"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_roots_of_the_image_are_added_to_ours() {
        let ours = webpki_roots::TLS_SERVER_ROOTS.len();
        let testdata = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata");
        let none = PathBuf::from("/nonexistent");
        assert_eq!(roots(std::slice::from_ref(&none)).len(), ours);
        assert_eq!(roots(&[none, testdata.join("ca.pem")]).len(), ours + 1);
        assert_eq!(roots(&[testdata.join("server.key")]).len(), ours);
    }
}

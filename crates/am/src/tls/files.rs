//! The server's certificate and key, read again when their files change.
//!
//! Contents are compared, not times: a renewal may swap symbolic links, and may write the certificate before the key.
//! Whatever cannot be used is named in the log once, and the old pair stays in use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::ssl::SslAcceptor;
use openssl::x509::X509;

use super::acceptor::acceptor;

/// The largest file that is read. A long chain with a key has about 20 KiB.
const MAX_FILE: u64 = 1 << 20;

/// The server's certificate and key: one handle, shared by everybody who accepts connections.
#[derive(Clone)]
pub struct TlsFiles(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<SslAcceptor>,
    /// What was read last, good or bad.
    seen: Mutex<Seen>,
}

#[derive(Clone, PartialEq, Eq)]
struct Seen {
    contents: Option<[u8; 32]>,
    /// The error of the last attempt, so that each is logged once.
    error: Option<String>,
}

/// Why the certificate and the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is far larger than what it should hold.
    #[error("{} has more than {MAX_FILE} bytes", .0.display())]
    TooLarge(PathBuf),
    /// There is no certificate in PEM in the file, or a damaged one.
    #[error("{} holds no usable certificate in PEM", .0.display())]
    Certificate(PathBuf),
    /// There is no private key in PEM in the file, or a damaged or encrypted one.
    #[error("{} holds no usable private key in PEM without a passphrase", .0.display())]
    Key(PathBuf),
    /// They do not belong together, or OpenSSL does not want them.
    #[error("the key {} does not go with the certificate {}", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// OpenSSL's words.
        source: openssl::error::ErrorStack,
    },
}

impl TlsFiles {
    /// Reads the pair. Both may be in one file.
    ///
    /// # Errors
    /// [`TlsError`] if it cannot be used.
    pub fn load(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let texts = Texts::read(&certificate, &key)?;
        let current = ArcSwap::from_pointee(texts.acceptor(&certificate, &key)?);
        let seen = Mutex::new(Seen { contents: Some(texts.digest()), error: None });
        Ok(Self(Arc::new(Inner { certificate, key, current, seen })))
    }

    /// Reads the files again and uses what is in them from the next connection on; says whether it is new.
    ///
    /// # Errors
    /// [`TlsError`] if it cannot be used: the old pair stays in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let inner = &*self.0;
        let result = Texts::read(&inner.certificate, &inner.key).and_then(|texts| {
            let digest = texts.digest();
            if inner.seen().contents == Some(digest) {
                return Ok(false);
            }
            inner.current.store(Arc::new(texts.acceptor(&inner.certificate, &inner.key)?));
            inner.seen().contents = Some(digest);
            Ok(true)
        });
        if result.is_ok() {
            inner.seen().error = None;
        }
        result
    }

    /// Looks at the files for ever, and logs what it finds.
    pub async fn watch(self, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let files = self.clone();
            let looked = tokio::task::spawn_blocking(move || files.reload_logged()).await;
            debug_assert!(looked.is_ok(), "reading two files does not panic");
        }
    }

    /// [`Self::reload`], with its outcome in the log: each error once until something changes.
    pub fn reload_logged(&self) {
        match self.reload() {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(certificate = %self.0.certificate.display(), "the server certificate was read again");
            }
            Err(error) => {
                let text = error.to_string();
                let mut seen = self.0.seen();
                if seen.error.as_ref() != Some(&text) {
                    tracing::warn!(%error, "the server certificate was not read again; the old one stays in use");
                    seen.error = Some(text);
                }
            }
        }
    }

    /// The server's own certificate as it is in use, in PEM: for people who have to tell clients.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        let acceptor = self.acceptor();
        let pem = acceptor.context().certificate().and_then(|certificate| certificate.to_pem().ok());
        pem.and_then(|pem| String::from_utf8(pem).ok()).unwrap_or_default()
    }

    pub(crate) fn acceptor(&self) -> Arc<SslAcceptor> {
        self.0.current.load_full()
    }
}

impl Inner {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Texts {
    fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { certificate: read(certificate)?, key: read(key)? })
    }

    fn digest(&self) -> [u8; 32] {
        sha256(&[sha256(&self.certificate), sha256(&self.key)].concat())
    }

    fn acceptor(&self, certificate: &Path, key: &Path) -> Result<SslAcceptor, TlsError> {
        let chain = X509::stack_from_pem(&self.certificate)
            .ok()
            .filter(|chain| !chain.is_empty())
            .ok_or_else(|| TlsError::Certificate(certificate.to_owned()))?;
        // The callback says that there is no passphrase; without it OpenSSL would ask on the terminal.
        let private: PKey<Private> = PKey::private_key_from_pem_callback(&self.key, |_| Ok(0))
            .map_err(|_| TlsError::Key(key.to_owned()))?;
        acceptor(&chain, &private).map_err(|source| TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let error = |source| TlsError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(error)?.len() > MAX_FILE {
        return Err(TlsError::TooLarge(path.to_owned()));
    }
    std::fs::read(path).map_err(error)
}

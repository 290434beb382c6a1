//! The certificates that are trusted because the operator says so.
//!
//! A folder of PEM files (`*.pem`, `*.crt`, `*.cer`), each with one or more certificates, which may be roots,
//! intermediates or, where the policy allows it, no certificate authorities at all. A file that cannot be read is
//! named and left out; the others count. [`TrustRoots`] is a snapshot: the folder is read again by making a new one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use testyard_model::urn::Urn;

use crate::certificate::{Certificate, CertificateError, Fingerprint};
use crate::pem;

/// The largest file that is read as trust roots.
const MAX_FILE: u64 = 4 << 20;
const MAX_ROOTS_IN_FILE: usize = 4096;
const ENDINGS: [&str; 3] = ["pem", "crt", "cer"];

/// A snapshot of the trusted certificates.
#[derive(Clone, Debug, Default)]
pub struct TrustRoots {
    roots: Vec<Root>,
    faults: Vec<RootFault>,
    by_fingerprint: HashMap<Fingerprint, usize>,
}

/// One trusted certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The file that it was found in first.
    pub file: PathBuf,
    /// The certificate.
    pub certificate: Certificate,
}

/// A file in the folder of trust roots that could not be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the trust root file {} is left out: {reason}", file.display())]
pub struct RootFault {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub reason: String,
}

/// The folder itself could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the folder of trust roots {}", folder.display())]
pub struct RootsError {
    /// The folder.
    pub folder: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// What differs between two snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootsChange {
    /// In the new one only.
    pub added: Vec<Root>,
    /// In the old one only.
    pub dropped: Vec<Root>,
}

/// A root as it is listed for people and logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RootSummary {
    /// The file.
    pub file: PathBuf,
    /// Its subject, one line.
    pub subject: String,
    /// SHA-256 over the certificate, hexadecimal.
    pub fingerprint: String,
    /// The name that it vouches for, if it has one.
    pub urn: Option<Urn>,
}

impl TrustRoots {
    /// Reads a folder. Files that cannot be used are in [`Self::faults`].
    ///
    /// # Errors
    /// [`RootsError`] if the folder itself cannot be read.
    pub fn load(folder: &Path) -> Result<Self, RootsError> {
        let error = |source| RootsError { folder: folder.to_owned(), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(error)? {
            let path = entry.map_err(error)?.path();
            if is_candidate(&path) {
                files.push(path);
            }
        }
        files.sort();
        Ok(Self::load_files(&files))
    }

    /// Reads these files.
    #[must_use]
    pub fn load_files(files: &[PathBuf]) -> Self {
        let mut roots = Self::default();
        for file in files {
            match read_file(file) {
                Ok(certificates) => roots.extend(file, certificates),
                Err(reason) => roots.faults.push(RootFault { file: file.clone(), reason }),
            }
        }
        roots
    }

    /// Roots that are in memory already; `file` is what they are listed under.
    #[must_use]
    pub fn of(file: &Path, certificates: Vec<Certificate>) -> Self {
        let mut roots = Self::default();
        roots.extend(file, certificates);
        roots
    }

    fn extend(&mut self, file: &Path, certificates: Vec<Certificate>) {
        for certificate in certificates {
            if !self.contains(&certificate) {
                self.by_fingerprint.insert(certificate.fingerprint(), self.roots.len());
                self.roots.push(Root { file: file.to_owned(), certificate });
            }
        }
    }

    /// Every root once, in the order of files.
    pub fn iter(&self) -> impl Iterator<Item = &Root> {
        self.roots.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Files that were left out.
    #[must_use]
    pub fn faults(&self) -> &[RootFault] {
        &self.faults
    }

    /// Whether this very certificate is trusted.
    #[must_use]
    pub fn contains(&self, certificate: &Certificate) -> bool {
        self.by_fingerprint.contains_key(&certificate.fingerprint())
    }

    /// What a newer snapshot has more and less.
    #[must_use]
    pub fn diff(&self, newer: &Self) -> RootsChange {
        let only_in = |one: &Self, other: &Self| {
            one.roots.iter().filter(|root| !other.contains(&root.certificate)).cloned().collect()
        };
        RootsChange { added: only_in(newer, self), dropped: only_in(self, newer) }
    }
}

impl RootsChange {
    /// Whether nothing was added or dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.dropped.is_empty()
    }
}

impl Root {
    /// What is shown of it.
    #[must_use]
    pub fn summary(&self) -> RootSummary {
        RootSummary {
            file: self.file.clone(),
            subject: self.certificate.subject(),
            fingerprint: self.certificate.fingerprint().to_string(),
            urn: self.certificate.urn().ok().cloned(),
        }
    }
}

/// Whether a file in the folder is meant to hold roots.
pub(crate) fn is_candidate(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let ending = path.extension().is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known)));
    ending && !hidden
}

fn read_file(file: &Path) -> Result<Vec<Certificate>, String> {
    let read = |error: std::io::Error| error.to_string();
    let metadata = std::fs::metadata(file).map_err(read)?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if metadata.len() > MAX_FILE {
        return Err(format!("it has more than {MAX_FILE} bytes"));
    }
    let bytes = std::fs::read(file).map_err(read)?;
    parse(&bytes).map_err(|error| error.to_string())
}

fn parse(bytes: &[u8]) -> Result<Vec<Certificate>, CertificateError> {
    // A `.crt` may be plain DER.
    if bytes.first() == Some(&crate::der::SEQUENCE) {
        return Certificate::from_der(bytes).map(|certificate| vec![certificate]);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CertificateError::NotText)?;
    let ders = pem::bounded(text, usize::MAX, MAX_ROOTS_IN_FILE)?;
    ders.iter().map(|der| Certificate::from_der(der)).collect()
}

//! Runs a manifest of credential vectors: what `testyard credential check --manifest` does.
//!
//! The format is that of `testdata/credentials/manifest.json`, described in the README beside it. Vectors that the
//! manifest calls disputed are run and counted; only the undisputed decide whether a run is clean.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use testyard_model::time;
use testyard_model::urn::SliceUrn;

use crate::call::{Call, CallerChain, Grant, PassedCredential};
use crate::operation::Operation;
use crate::policy::CryptoPolicy;
use crate::refusal::{Reason, Refusal, Step};
use crate::roots::TrustRoots;
use crate::verifier::Verifier;

/// What came out of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Vectors with one right answer.
    pub undisputed: usize,
    /// Those of them that got it.
    pub undisputed_agreed: usize,
    /// Vectors whose answer is a suggestion.
    pub disputed: usize,
    /// Those of them that were judged as suggested.
    pub disputed_agreed: usize,
    /// Every vector that was judged otherwise.
    pub differences: Vec<Difference>,
}

/// A vector that was judged otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its name.
    pub id: String,
    /// Whether its answer is a suggestion only.
    pub disputed: bool,
    /// What the manifest says.
    pub expected: String,
    /// What was found.
    pub found: String,
}

/// A manifest that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest is not of the format.
    #[error("{} is not a manifest of credential vectors", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A vector says something that makes no sense.
    #[error("vector {id}: {what}")]
    Vector {
        /// Its name.
        id: String,
        /// What is wrong with it.
        what: String,
    },
}

#[derive(Deserialize)]
struct Manifest {
    defaults: Defaults,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Defaults {
    now: String,
    trust_roots: Vec<String>,
    credential: CredentialLabel,
}

#[derive(Deserialize)]
struct CredentialLabel {
    geni_type: String,
    geni_version: String,
}

#[derive(Deserialize)]
struct Vector {
    id: String,
    file: Option<String>,
    credentials: Option<Vec<Passed>>,
    caller: String,
    operation: String,
    slice_urn: Option<String>,
    speaking_for: Option<String>,
    trust_roots: Option<Vec<String>>,
    now: Option<String>,
    policy: Option<String>,
    expect: Expect,
    reason: Option<String>,
    #[serde(default)]
    reason_also: Vec<String>,
    grants: Option<BTreeMap<String, String>>,
    #[serde(default)]
    disputed: bool,
}

#[derive(Deserialize)]
struct Passed {
    file: String,
    geni_type: String,
    geni_version: String,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Accept,
    Reject,
}

/// Runs every vector of a manifest; the files that it names are found beside it.
///
/// # Errors
/// [`CorpusError`] if the manifest or a file cannot be read. A wrong verdict is no error but a difference.
pub fn run(manifest: &Path) -> Result<Report, CorpusError> {
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let text = read(manifest)?;
    let format = |source| CorpusError::Format { path: manifest.to_owned(), source };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(format)?;
    let mut runner = Runner { folder, defaults: manifest.defaults, verifiers: HashMap::new() };
    let mut report = Report::default();
    for vector in &manifest.vectors {
        let found = runner.judge(vector)?;
        let difference = compare(vector, &found);
        let (all, agreed) = match vector.disputed {
            true => (&mut report.disputed, &mut report.disputed_agreed),
            false => (&mut report.undisputed, &mut report.undisputed_agreed),
        };
        *all += 1;
        *agreed += usize::from(difference.is_none());
        report.differences.extend(difference);
    }
    Ok(report)
}

impl Report {
    /// Whether every undisputed vector got its verdict.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.undisputed == self.undisputed_agreed
    }
}

/// The counts in one line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { undisputed, undisputed_agreed, disputed, disputed_agreed, .. } = self;
        write!(
            f,
            "{} vectors: {undisputed_agreed} of {undisputed} undisputed agree, {disputed_agreed} of {disputed} disputed",
            undisputed + disputed
        )
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disputed = if self.disputed { " (disputed)" } else { "" };
        write!(f, "{}{disputed}: expected {}, found {}", self.id, self.expected, self.found)
    }
}

/// Roots and policy of a verifier.
type Setting = (Vec<String>, Option<String>);

struct Runner<'a> {
    folder: &'a Path,
    defaults: Defaults,
    verifiers: HashMap<Setting, Arc<Verifier>>,
}

impl Runner<'_> {
    fn judge(&mut self, vector: &Vector) -> Result<Result<Grant, Refusal>, CorpusError> {
        let wrong = |what: String| CorpusError::Vector { id: vector.id.clone(), what };
        let operation: Operation = vector.operation.parse().map_err(|error| wrong(format!("{error}")))?;
        let now = time::parse(vector.now.as_ref().unwrap_or(&self.defaults.now));
        let now = now.map_err(|error| wrong(error.to_string()))?;
        let caller =
            CallerChain::from_pem(&self.read(&vector.caller)?).map_err(|error| wrong(error.to_string()))?;
        let credentials = self.credentials(vector)?;
        let verifier = self.verifier(vector)?;
        let slice = match vector.slice_urn.as_deref().map(str::parse::<SliceUrn>).transpose() {
            Ok(slice) => slice,
            // As the AM does: what is no slice has no credential that is about it.
            Err(error) => {
                return Ok(Err(Refusal::new(Step::Target, Reason::TargetMismatch, error.to_string())));
            }
        };
        Ok(verifier.authorise(&Call {
            operation,
            slice: slice.as_ref(),
            caller: &caller,
            credentials: &credentials,
            speaking_for: vector.speaking_for.as_deref(),
            now,
        }))
    }

    fn credentials(&self, vector: &Vector) -> Result<Vec<PassedCredential>, CorpusError> {
        let label = &self.defaults.credential;
        let pass = |file: &str, kind: &str, version: &str| {
            let value = self.read(file)?;
            Ok(PassedCredential { kind: kind.to_owned(), version: version.to_owned(), value })
        };
        match (&vector.credentials, &vector.file) {
            (Some(list), _) => {
                list.iter().map(|one| pass(&one.file, &one.geni_type, &one.geni_version)).collect()
            }
            (None, Some(file)) => Ok(vec![pass(file, &label.geni_type, &label.geni_version)?]),
            (None, None) => Ok(Vec::new()),
        }
    }

    fn verifier(&mut self, vector: &Vector) -> Result<Arc<Verifier>, CorpusError> {
        let roots = vector.trust_roots.as_ref().unwrap_or(&self.defaults.trust_roots);
        let setting = (roots.clone(), vector.policy.clone());
        if let Some(known) = self.verifiers.get(&setting) {
            return Ok(Arc::clone(known));
        }
        let wrong = |what: String| CorpusError::Vector { id: vector.id.clone(), what };
        let policy = match vector.policy.as_deref() {
            None | Some("modern_crypto") => CryptoPolicy::modern(),
            Some("legacy_crypto") => CryptoPolicy::legacy(),
            Some(other) => return Err(wrong(format!("{other:?} is not a policy"))),
        };
        let files: Vec<PathBuf> = roots.iter().map(|file| self.folder.join(file)).collect();
        let roots = TrustRoots::load_files(&files);
        if let Some(fault) = roots.faults().first() {
            return Err(wrong(fault.to_string()));
        }
        let verifier = Arc::new(Verifier::new(roots, policy));
        self.verifiers.insert(setting, Arc::clone(&verifier));
        Ok(verifier)
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, CorpusError> {
        read(&self.folder.join(file))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CorpusError> {
    std::fs::read(path).map_err(|source| CorpusError::Read { path: path.to_owned(), source })
}

fn compare(vector: &Vector, found: &Result<Grant, Refusal>) -> Option<Difference> {
    let agrees = match (vector.expect, found) {
        (Expect::Accept, Ok(grant)) => {
            vector.grants.as_ref().is_none_or(|expected| *expected == shown(grant))
        }
        (Expect::Reject, Err(refusal)) => {
            let reasons = vector.reason.iter().chain(&vector.reason_also);
            reasons.map(String::as_str).any(|reason| reason == refusal.reason.as_str())
        }
        _ => false,
    };
    let expected = match vector.expect {
        Expect::Accept => format!("accept {:?}", vector.grants.clone().unwrap_or_default()),
        Expect::Reject => {
            let reasons: Vec<_> =
                vector.reason.iter().chain(&vector.reason_also).map(String::as_str).collect();
            format!("reject ({})", reasons.join(" or "))
        }
    };
    let found = match found {
        Ok(grant) => format!("accept {:?}", shown(grant)),
        Err(refusal) => format!("reject ({}, at {}): {}", refusal.reason, refusal.step, refusal.message),
    };
    (!agrees).then(|| Difference { id: vector.id.clone(), disputed: vector.disputed, expected, found })
}

/// A grant as manifests write it.
fn shown(grant: &Grant) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::from([
        ("owner".to_owned(), grant.owner.to_string()),
        ("target".to_owned(), grant.target.to_string()),
        ("expires".to_owned(), time::format(grant.expires)),
    ]);
    if let Some(tool) = &grant.tool {
        shown.insert("tool".to_owned(), tool.to_string());
    }
    shown
}

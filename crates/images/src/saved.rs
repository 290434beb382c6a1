//! Images that were saved: by `docker save`, or as an OCI layout (OCI image layout specification 1.1). What the engine gets is
//! written anew, with one image, without the names that the archive would give it.

use std::fs::File;
use std::io::{self, Read as _};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use testyard_fetch::text::printable;

use crate::contents::Contents;
use crate::context::Archive;
use crate::{Limits, PrepareError, Recipe};

/// The longest of the files that say what an archive holds.
const LONGEST: u64 = 4 << 20;

/// The most layers that an engine stacks.
const MOST_LAYERS: usize = 127;

/// How deep indices may lie in each other.
const DEEPEST: usize = 3;

/// A saved image that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SavedError {
    /// What should say what it holds does not.
    #[error("it has no sound {0}")]
    Damaged(String),
    /// There are several.
    #[error("it is not alone: {0} are saved in one archive; save one")]
    Several(usize),
    /// It is for other machines.
    #[error("it is not for this host, which is {here}: it is for {there}")]
    Platform {
        /// This host.
        here: String,
        /// What there is.
        there: String,
    },
    /// A part of it is missing.
    #[error("it lacks {0}")]
    Missing(String),
    /// A part of it is not what its number says.
    #[error("it is damaged: {0} is not what its digest says")]
    Digest(String),
    /// A layer is packed in an unknown way.
    #[error("it has a layer that is packed by {0}: save it uncompressed, or packed by gzip")]
    Packed(&'static str),
    /// It is too much.
    #[error("it unpacks to more than the allowed {0} bytes")]
    TooLarge(u64),
    /// It has too many layers.
    #[error("it has more than {MOST_LAYERS} layers")]
    TooMany,
}

/// Whether these are the contents of a saved image.
pub(crate) fn is_one(contents: &Contents) -> bool {
    let has = |name: &str| contents.entries.contains_key(name.as_bytes());
    has("manifest.json") && !has("Dockerfile") || has("oci-layout") && has("index.json")
}

/// What an image is made of: paths in the archive.
struct Parts {
    config: String,
    layers: Vec<String>,
}

/// An archive that an engine loads.
pub(crate) fn normalised(
    contents: &Contents,
    limits: &Limits,
    architecture: &str,
) -> Result<File, PrepareError> {
    let parts = match contents.read("manifest.json", LONGEST) {
        Some(manifest) => of_docker(&manifest)?,
        None => of_oci(contents, architecture)?,
    };
    let config = contents
        .read(&parts.config, LONGEST)
        .ok_or_else(|| SavedError::Missing(format!("its configuration {}", shown(&parts.config))))?;
    let about: Config = read(&config, "configuration")?;
    if let Some(there) = about.architecture.filter(|there| there != architecture) {
        return Err(SavedError::Platform {
            here: architecture.to_owned(),
            there: printable(there.as_bytes(), 40),
        }
        .into());
    }
    if parts.layers.len() > MOST_LAYERS {
        return Err(SavedError::TooMany.into());
    }
    if about.rootfs.diff_ids.len() != parts.layers.len() {
        return Err(SavedError::Damaged("list of layers".to_owned()).into());
    }
    let mut archive = Archive::new(limits)?;
    let mut left = limits.unpacked;
    let mut names = Vec::new();
    for (number, layer) in parts.layers.iter().enumerate() {
        left = unpacked(contents, layer, left)?.ok_or(SavedError::TooLarge(limits.unpacked))?;
        let part = contents.open(layer.as_bytes()).ok_or_else(|| SavedError::Missing(shown(layer)))?;
        let name = format!("{number}.tar");
        archive.file(name.as_bytes(), 0o644, part.left, part).map_err(PrepareError::Room)?;
        names.push(name);
    }
    archive.file(b"config.json", 0o644, config.len() as u64, &config[..]).map_err(PrepareError::Room)?;
    let manifest = serde_json::json!([{ "Config": "config.json", "Layers": names }]).to_string();
    archive.text("manifest.json", &manifest).map_err(PrepareError::Room)?;
    Ok(archive.finish(Recipe::Load)?.archive)
}

/// What is left of the budget once a layer is unpacked; none if that is not enough.
fn unpacked(contents: &Contents, layer: &str, left: u64) -> Result<Option<u64>, PrepareError> {
    let open = || contents.open(layer.as_bytes()).ok_or_else(|| SavedError::Missing(shown(layer)));
    let mut head = [0; 6];
    let length = open()?.read(&mut head).map_err(PrepareError::Room)?;
    let size = match &head[..length] {
        [0x1f, 0x8b, ..] => {
            let mut unpacked = MultiGzDecoder::new(open()?).take(left.saturating_add(1));
            io::copy(&mut unpacked, &mut io::sink())
                .map_err(|_| SavedError::Damaged(format!("gzip in {}", shown(layer))))?
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(SavedError::Packed("xz").into()),
        [b'B', b'Z', b'h', ..] => return Err(SavedError::Packed("bzip2").into()),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(SavedError::Packed("zstd").into()),
        _ => open()?.left,
    };
    Ok(left.checked_sub(size))
}

// === docker save ===

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    architecture: Option<String>,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

fn of_docker(manifest: &[u8]) -> Result<Parts, SavedError> {
    let mut all: Vec<Saved> = read(manifest, "manifest.json")?;
    match (all.pop(), all.len()) {
        (Some(saved), 0) => Ok(Parts {
            config: clean(&saved.config),
            layers: saved.layers.iter().map(|path| clean(path)).collect(),
        }),
        (Some(_), others) => Err(SavedError::Several(others + 1)),
        (None, _) => Err(SavedError::Damaged("manifest.json".to_owned())),
    }
}

/// A path as entries have it.
fn clean(path: &str) -> String {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").collect::<Vec<_>>().join("/")
}

// === OCI ===

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<Platform>,
}

#[derive(Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

fn of_oci(contents: &Contents, architecture: &str) -> Result<Parts, SavedError> {
    let index =
        contents.read("index.json", LONGEST).ok_or_else(|| SavedError::Damaged("index.json".to_owned()))?;
    let manifest = manifest(contents, &index, architecture, DEEPEST)?;
    let manifest: Manifest = read(&blob(contents, &manifest)?, "manifest")?;
    let layers = manifest.layers.iter().map(|layer| checked(contents, layer)).collect::<Result<_, _>>()?;
    Ok(Parts { config: checked(contents, &manifest.config)?, layers })
}

/// The one manifest of an index that is for this host.
fn manifest(
    contents: &Contents,
    index: &[u8],
    architecture: &str,
    deepest: usize,
) -> Result<Descriptor, SavedError> {
    let all: Index = read(index, "index")?;
    // Attestations lie beside images, for a platform that there is not.
    let mut all: Vec<Descriptor> = all
        .manifests
        .into_iter()
        .filter(|one| one.platform.as_ref().is_none_or(|platform| platform.os != "unknown"))
        .collect();
    let fits = |one: &Descriptor| {
        one.platform.as_ref().is_none_or(|of| of.os == "linux" && of.architecture == architecture)
    };
    let there: Vec<String> = all
        .iter()
        .filter_map(|one| one.platform.as_ref())
        .map(|of| printable(of.architecture.as_bytes(), 20))
        .take(8)
        .collect();
    all.retain(fits);
    let found = match (all.pop(), all.len()) {
        (Some(found), 0) => found,
        (Some(_), others) => return Err(SavedError::Several(others + 1)),
        (None, _) if there.is_empty() => return Err(SavedError::Damaged("index".to_owned())),
        (None, _) => {
            return Err(SavedError::Platform { here: architecture.to_owned(), there: there.join(", ") });
        }
    };
    if !found.media_type.contains("index") && !found.media_type.contains("manifest.list") {
        return Ok(found);
    }
    match deepest.checked_sub(1) {
        Some(deepest) => manifest(contents, &blob(contents, &found)?, architecture, deepest),
        None => Err(SavedError::Damaged("index: too many lie in each other".to_owned())),
    }
}

fn blob(contents: &Contents, of: &Descriptor) -> Result<Vec<u8>, SavedError> {
    let path = checked(contents, of)?;
    contents.read(&path, LONGEST).ok_or_else(|| SavedError::Damaged(shown(&path)))
}

/// The path of a blob, whose contents are what its digest says.
fn checked(contents: &Contents, of: &Descriptor) -> Result<String, SavedError> {
    let hex = of
        .digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .ok_or_else(|| SavedError::Damaged(format!("digest {}", shown(&of.digest))))?;
    let path = format!("blobs/sha256/{hex}");
    let mut part =
        contents.open(path.as_bytes()).ok_or_else(|| SavedError::Missing(format!("blob {hex}")))?;
    let mut hasher = Sha256::new();
    io::copy(&mut part, &mut hasher).map_err(|_| SavedError::Missing(format!("blob {hex}")))?;
    let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if digest == hex { Ok(path) } else { Err(SavedError::Digest(format!("blob {hex}"))) }
}

fn read<'b, T: Deserialize<'b>>(bytes: &'b [u8], what: &str) -> Result<T, SavedError> {
    serde_json::from_slice(bytes).map_err(|error| SavedError::Damaged(format!("{what} ({error})")))
}

fn shown(text: &str) -> String {
    printable(text.as_bytes(), 100)
}

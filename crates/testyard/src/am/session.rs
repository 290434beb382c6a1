//! Who calls whom, with what: the command line, completed from Testyard's folder.

use std::path::{Path, PathBuf};

use testyard_am::client::{AmClient, CallOptions, ClientSettings, Identity, ServerTrust, UserKeys};
use testyard_model::account::PublicKey;
use testyard_model::urn::{SliceUrn, UserUrn};
use testyard_trust::privilege::Privilege;
use testyard_trust::{Certificate, PassedCredential};

use super::Connection;
use crate::config;
use crate::credential::issue::{self, Issuer, SLICE_DAYS};
use crate::exit::Failure;
use crate::folder::{Folder, UserFiles};

/// A client of one aggregate and what its user has to show.
pub(super) struct Session {
    pub(super) client: AmClient,
    /// The aggregate's.
    pub(super) url: String,
    folder: Folder,
    files: Option<UserFiles>,
    chain: Vec<Certificate>,
    given: Vec<PassedCredential>,
    speaking_for: Option<String>,
}

impl Session {
    /// Finds everything that the command line does not say.
    pub(super) fn open(connection: &Connection) -> Result<Self, Failure> {
        let folder = connection.folder.folder();
        let files = user_files(connection, &folder)?;
        let (certificate, key) = match (&connection.cert, &files) {
            (Some(certificate), _) => (
                Some(certificate.clone()),
                Some(connection.key.clone().unwrap_or_else(|| certificate.clone())),
            ),
            (None, Some(files)) => (Some(files.certificate()), Some(files.key())),
            (None, None) => (None, None),
        };
        let identity = match (&certificate, &key) {
            (Some(certificate), Some(key)) => {
                Some(Identity { certificates: read(certificate)?, key: read(key)?, passphrase: None })
            }
            _ => None,
        };
        let chain = certificate.as_deref().map(issue::read_certificates).transpose()?.unwrap_or_default();
        let url = url(connection, &folder)?;
        let mut settings = ClientSettings::new(url.clone());
        settings.identity = identity;
        settings.server = server_trust(connection, &folder)?;
        settings.busy_retries = 3;
        let given = connection
            .credentials
            .iter()
            .map(|path| Ok(crate::credential::check::labelled(read(path)?)))
            .collect::<Result<_, Failure>>()?;
        Ok(Self {
            client: AmClient::new(settings)?,
            url,
            folder,
            files,
            chain,
            given,
            speaking_for: connection.speaking_for.clone(),
        })
    }

    /// Options that every call carries.
    pub(super) fn options(&self) -> CallOptions {
        CallOptions { speaking_for: self.speaking_for.clone(), ..CallOptions::default() }
    }

    /// The user: whom a tool speaks for, or the holder of the certificate.
    pub(super) fn user(&self) -> Result<UserUrn, Failure> {
        if let Some(urn) = &self.speaking_for {
            return urn.parse().map_err(Failure::usage);
        }
        let leaf = self.chain.first().ok_or_else(|| no_user(&self.folder))?;
        let urn = leaf.urn().map_err(|error| Failure::usage(format!("the client's certificate: {error}")))?;
        urn.clone().try_into().map_err(|error| Failure::usage(format!("the client's certificate: {error}")))
    }

    /// A slice given by its URN, or by its name at the user's authority.
    pub(super) fn slice(&self, text: &str) -> Result<SliceUrn, Failure> {
        if text.starts_with("urn:") {
            return text.parse().map_err(Failure::usage);
        }
        issue::slice_urn(text, self.user()?.authority())
    }

    /// What the user shows for a slice: what was given, or what the folder's authority issues.
    pub(super) fn slice_credentials(&self, slice: &SliceUrn) -> Result<Vec<PassedCredential>, Failure> {
        if !self.given.is_empty() {
            return Ok(self.given.clone());
        }
        if self.chain.is_empty() {
            return Err(no_user(&self.folder));
        }
        let issuer = Issuer::open(&self.folder).map_err(|error| {
            Failure::usage(format!("a credential for {slice} is needed: give --credential ({error:#})"))
        })?;
        let credential =
            issuer.slice_credential(slice, &self.chain, &[Privilege::new("*", false)], SLICE_DAYS)?;
        Ok(vec![PassedCredential::sfa(credential)])
    }

    /// What the user shows where it is about no slice.
    pub(super) fn user_credentials(&self) -> Result<Vec<PassedCredential>, Failure> {
        match (&self.files, self.given.is_empty()) {
            (_, false) => Ok(self.given.clone()),
            (Some(files), true) => Ok(vec![PassedCredential::sfa(read(&files.credential())?)]),
            (None, true) => Err(Failure::usage("a user credential is needed: give --credential")),
        }
    }

    /// The user with the given public keys, or those of the folder.
    pub(super) fn user_keys(&self, files: &[PathBuf]) -> Result<UserKeys, Failure> {
        let own = self.files.as_ref().map(UserFiles::ssh_public_key).filter(|path| path.exists());
        let mut keys = Vec::new();
        for path in if files.is_empty() { own.as_slice() } else { files } {
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            let found = PublicKey::parse_all(&text)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            keys.extend(found.iter().map(ToString::to_string));
        }
        if keys.is_empty() {
            return Err(Failure::usage("no SSH key to install: give --ssh-key FILE.pub"));
        }
        Ok(UserKeys { urn: self.user()?.to_string(), keys })
    }

    /// The private SSH key of the folder's user.
    pub(super) fn ssh_key(&self) -> Option<PathBuf> {
        self.files.as_ref().map(UserFiles::ssh_key).filter(|path| path.exists())
    }
}

fn no_user(folder: &Folder) -> Failure {
    let hint = match folder.users().len() {
        0 => format!("`testyard init` makes one in {}", folder.path().display()),
        _ => format!("choose one with --as: {}", folder.users().join(", ")),
    };
    Failure::usage(format!("which user calls? {hint}, or give --cert"))
}

fn user_files(connection: &Connection, folder: &Folder) -> Result<Option<UserFiles>, Failure> {
    if connection.cert.is_some() {
        return Ok(None);
    }
    let known = folder.users();
    match &connection.user {
        Some(user) if known.contains(user) => Ok(Some(folder.user(user))),
        Some(user) => {
            Err(Failure::usage(format!("there is no user {user}; there are: {}", known.join(", "))))
        }
        // Some calls need no user; those that do say so.
        None => Ok(folder.default_user().map(|user| folder.user(&user))),
    }
}

fn url(connection: &Connection, folder: &Folder) -> Result<String, Failure> {
    match &connection.url {
        Some(url) => Ok(url.clone()),
        None if folder.configuration().exists() => {
            Ok(config::load(&folder.configuration())?.testbed.public_url)
        }
        None => Err(Failure::usage(format!(
            "which aggregate? there is no testbed in {}: give --url",
            folder.path().display()
        ))),
    }
}

/// Whether the call goes to the testbed of the folder, which is on this machine.
pub(super) fn is_own_testbed(connection: &Connection) -> bool {
    let configured = || config::load(&connection.folder.folder().configuration()).ok();
    match &connection.url {
        None => true,
        Some(url) => configured().is_some_and(|settings| settings.testbed.public_url == *url),
    }
}

/// A testbed of this folder is known by its certificate and its root; others by what is given or the system's roots.
fn server_trust(connection: &Connection, folder: &Folder) -> Result<ServerTrust, Failure> {
    if connection.insecure {
        return Ok(ServerTrust::Anything);
    }
    if let Some(path) = &connection.server_ca {
        return Ok(ServerTrust::Certificates(read(path)?));
    }
    if connection.url.is_some() {
        return Ok(ServerTrust::System);
    }
    let certificate = match config::load(&folder.configuration()) {
        Ok(settings) => settings.tls.certificate,
        Err(_) => folder.server("certificate.pem"),
    };
    let known: Vec<u8> = [certificate, folder.authority("root.pem")]
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .flat_map(|mut text| {
            text.push(b'\n');
            text
        })
        .collect();
    Ok(if known.is_empty() { ServerTrust::System } else { ServerTrust::Certificates(known) })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

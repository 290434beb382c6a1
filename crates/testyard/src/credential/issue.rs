//! `testyard credential issue`: the built-in authority at work. Who can read its key can issue; it runs without the
//! server.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use testyard_model::name::Login;
use testyard_model::urn::{Authority, SliceUrn, UserUrn};
use testyard_trust::issuer::{CredentialRequest, Identity, Validity};
use testyard_trust::privilege::Privilege;
use testyard_trust::{Certificate, NewKey};

use super::ssh_key;
use crate::cli::FolderArgument;
use crate::exit::{Failure, Outcome};
use crate::folder::{self, Folder, Readers};
use crate::print;

/// How long a user's certificate lasts.
pub const USER_DAYS: u32 = 365;
/// How long a slice's credential lasts.
pub const SLICE_DAYS: u32 = 90;

/// `testyard credential issue …`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A new user: keys, certificate and user credential; for one that is there, a fresh user credential
    #[command(after_help = "Example: testyard credential issue user bob --email bob@example.net")]
    User(UserArguments),
    /// A slice's credential for a user
    #[command(after_help = "Examples:\n  \
        testyard credential issue slice demo --user ann --output demo.xml\n  \
        testyard credential issue slice demo --certificate carol.pem   (a user of another authority)")]
    Slice(SliceArguments),
}

/// `testyard credential issue user`
#[derive(Debug, Args)]
pub struct UserArguments {
    /// The user's name
    name: Login,
    /// The address in the certificate
    #[arg(long)]
    email: Option<String>,
    /// The user's public SSH key [default: a new pair is made, if there is none]
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// How long certificate and credential last
    #[arg(long, default_value_t = USER_DAYS)]
    days: u32,
    #[command(flatten)]
    folder: FolderArgument,
}

/// `testyard credential issue slice`
#[derive(Debug, Args)]
pub struct SliceArguments {
    /// The slice: a name at this authority, or a URN below it
    slice: String,
    /// Who gets it: a user of this authority [default: the first one]
    #[arg(long, conflicts_with = "certificate")]
    user: Option<Login>,
    /// Who gets it: the holder of this certificate
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// What it allows: *, refresh, embed, bind, control, info
    #[arg(long = "privilege", value_name = "NAME", default_value = "*")]
    privileges: Vec<String>,
    /// The holder may pass it on
    #[arg(long)]
    delegable: bool,
    /// How long it lasts
    #[arg(long, default_value_t = SLICE_DAYS)]
    days: u32,
    /// Where it goes, instead of the standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    folder: FolderArgument,
}

/// What a user's certificate says and how long it lasts.
#[derive(Debug)]
pub struct UserOptions<'a> {
    /// The address in the certificate.
    pub email: Option<&'a str>,
    /// How long certificate and credential last.
    pub days: u32,
}

impl Default for UserOptions<'_> {
    fn default() -> Self {
        Self { email: None, days: USER_DAYS }
    }
}

/// The built-in authority, with its key.
#[derive(Debug)]
pub struct Issuer {
    identity: Identity,
    authority: Authority,
}

impl Issuer {
    /// Reads the authority's certificate and key.
    ///
    /// # Errors
    /// If a file cannot be read: no `testyard init` yet, or somebody else's key.
    pub fn open(folder: &Folder) -> anyhow::Result<Self> {
        let read = |path: PathBuf| {
            std::fs::read(&path)
                .with_context(|| format!("{}: `testyard init` makes it, its owner reads it", path.display()))
        };
        let identity = Identity::from_pem(
            &read(folder.authority("authority.pem"))?,
            &read(folder.authority("authority.key"))?,
        )?;
        let authority =
            identity.certificate().urn().context("the authority's certificate")?.authority().clone();
        Ok(Self { identity, authority })
    }

    /// The URN of a slice given by its name or as a whole.
    ///
    /// # Errors
    /// If it is neither.
    pub fn slice_urn(&self, text: &str) -> Result<SliceUrn, Failure> {
        slice_urn(text, &self.authority)
    }

    /// A credential for a slice.
    ///
    /// # Errors
    /// If this authority is none over the slice, or OpenSSL fails.
    pub fn slice_credential(
        &self,
        slice: &SliceUrn,
        owner: &[Certificate],
        privileges: &[Privilege],
        days: u32,
    ) -> anyhow::Result<String> {
        let validity = Validity::days(Timestamp::now(), days);
        let target = self.identity.issue_slice(slice, validity)?;
        let request = CredentialRequest { owner, target: &target, privileges, expires: validity.until };
        Ok(self.identity.sign_credential(&request)?)
    }
}

/// The URN of a slice given by its name at an authority, or as a whole.
///
/// # Errors
/// If it is neither.
pub fn slice_urn(text: &str, authority: &Authority) -> Result<SliceUrn, Failure> {
    if text.starts_with("urn:") { text.parse() } else { SliceUrn::new(authority, text) }
        .map_err(Failure::usage)
}

/// Runs the command.
///
/// # Errors
/// If the authority cannot be read, or does not issue what is asked for.
pub fn run(command: &Command) -> Outcome {
    match command {
        Command::User(arguments) => {
            let folder = arguments.folder.folder();
            let issuer = Issuer::open(&folder)?;
            let options = UserOptions { email: arguments.email.as_deref(), days: arguments.days };
            let ssh_key = arguments.ssh_key.as_deref().map(ssh_key::read).transpose()?;
            user(&issuer, &folder, &arguments.name, &options)?;
            ssh_key::install(&folder, &arguments.name, ssh_key.as_ref())?;
            say!("{}", folder.user(arguments.name.as_str()).path().display());
            Ok(())
        }
        Command::Slice(arguments) => slice(arguments),
    }
}

/// Makes a user's key and certificate, unless there are some, and a fresh user credential.
///
/// # Errors
/// If a file cannot be written, or OpenSSL fails.
pub fn user(issuer: &Issuer, folder: &Folder, name: &Login, options: &UserOptions<'_>) -> Outcome {
    let files = folder.user(name.as_str());
    let urn = UserUrn::new(&issuer.authority, name.as_str()).map_err(Failure::usage)?;
    let now = Timestamp::now();
    let validity = Validity::days(now, options.days);
    let chain = if files.certificate().exists() {
        read_certificates(&files.certificate())?
    } else {
        let user = issuer
            .identity
            .issue_user(&urn, options.email, NewKey::Rsa(2048), validity)
            .with_context(|| format!("certificate of {urn}"))?;
        // The key comes first: a certificate means that both are there.
        let key = user.key().to_pem().context("private key")?;
        replace(&files.key(), &key, Readers::Owner)?;
        replace(&files.certificate(), user.chain_pem().as_bytes(), Readers::All)?;
        user.chain().to_vec()
    };
    let end = chain.iter().map(Certificate::not_after).min().unwrap_or(validity.until).min(validity.until);
    let request = CredentialRequest {
        owner: &chain,
        target: &chain,
        privileges: &["refresh", "resolve", "info"].map(|name| Privilege::new(name, true)),
        expires: end,
    };
    let credential =
        issuer.identity.sign_credential(&request).with_context(|| format!("credential of {urn}"))?;
    replace(&files.credential(), credential.as_bytes(), Readers::Owner)
}

fn slice(arguments: &SliceArguments) -> Outcome {
    let folder = arguments.folder.folder();
    let issuer = Issuer::open(&folder)?;
    let slice = issuer.slice_urn(&arguments.slice)?;
    let user = arguments.user.as_ref().map(ToString::to_string).or_else(|| folder.default_user());
    let certificate = match (&arguments.certificate, user) {
        (Some(path), _) => path.clone(),
        (None, Some(user)) if folder.users().contains(&user) => folder.user(&user).certificate(),
        (None, user) => {
            let problem = user.map_or("who gets it?".to_owned(), |user| format!("there is no user {user}"));
            return Err(Failure::usage(format!("{problem}; there are: {}", folder.users().join(", "))));
        }
    };
    let owner = read_certificates(&certificate)?;
    let privileges: Vec<Privilege> =
        arguments.privileges.iter().map(|name| Privilege::new(name, arguments.delegable)).collect();
    let credential = issuer.slice_credential(&slice, &owner, &privileges, arguments.days)?;
    match &arguments.output {
        Some(path) => replace(path, credential.as_bytes(), Readers::Owner),
        None => {
            print::text(&credential);
            Ok(())
        }
    }
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// If there are none.
pub fn read_certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let text = std::fs::read(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Certificate::from_pem(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// Writes a file that may be there already, whole or not at all.
fn replace(path: &Path, content: &[u8], readers: Readers) -> Outcome {
    folder::replace(path, content, readers)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}

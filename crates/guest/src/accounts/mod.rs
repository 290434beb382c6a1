//! The accounts of a node: exactly those that the agent lists, beside the image's own.
//!
//! | module | what |
//! | --- | --- |
//! | [`plan`] | which lines of passwd, group and shadow change; pure |
//! | [`registry`] | which accounts are ours; survives restarts, and an interrupted change |
//! | [`home`] | homes and authorized_keys, in folders that users may write to |
//! | [`sudo`] | who may become root |
//!
//! An account of the image is never touched: only those in the registry are ours. The registry is written before the
//! files of /etc, so that an account whose making was interrupted is ours at the next boot.
//!
//! Where the root is read-only the files of /etc stay as they are. The accounts are then known to those who get the
//! list of [`Member`]s, the embedded SSH server and sudo, and to nobody else.

mod home;
mod lock;
mod plan;
mod registry;
mod sudo;

pub(crate) use plan::{Databases, ShellPaths, converge};
pub(crate) use registry::Registry;
pub(crate) use sudo::has_own as has_own_sudo;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use testyard_guest_protocol::Account;

use crate::files::{self, FileError};
use crate::state;
use crate::table::Table;
use crate::text;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What could not be done, each naming the account.
    pub(crate) failures: Vec<String>,
    /// What is otherwise than the image means it; the accounts work all the same.
    pub(crate) notice: Option<String>,
    /// Files of /etc that have changed.
    pub(crate) changed: Vec<PathBuf>,
    /// The accounts that are open, whether or not the image's files hold them.
    pub(crate) members: Vec<Member>,
    /// Programs of the image know them too.
    pub(crate) in_files: bool,
}

/// An open account, for those who do not read the image's files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) login: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
    /// The login shell, if the image has it.
    pub(crate) shell: Option<String>,
    /// Lines of authorized_keys.
    #[serde(skip)]
    pub(crate) keys: Vec<String>,
    /// May become root.
    pub(crate) sudo: bool,
}

const READ_ONLY: &str = "the root is read-only: the users are known to Testyard's SSH server and sudo, but not to the \
    image's own programs, and their homes last until the node stops";

/// Makes the accounts so.
pub(crate) fn apply(root: &Path, wanted: &[Account]) -> Outcome {
    let mut outcome = Outcome { in_files: !state::is_read_only(&root.join("etc")), ..Outcome::default() };
    if let Err(error) = try_apply(root, wanted, &mut outcome) {
        outcome.failures.push(format!("the accounts cannot be set up: {}", text::chain(&error)));
    }
    outcome
}

fn try_apply(root: &Path, wanted: &[Account], outcome: &mut Outcome) -> Result<(), FileError> {
    let mut registry = Registry::load(root)?;
    if wanted.is_empty() && registry.is_empty() {
        return Ok(());
    }
    let _lock = outcome.in_files.then(|| lock::Lock::take(root));
    let before = match read(root) {
        Ok(before) => before,
        Err(error) => {
            shut_out(root, &registry, wanted);
            outcome.members = known(root, &registry, wanted);
            return Err(error);
        }
    };
    let mut databases = before.clone();
    let made = converge(&mut databases, &mut registry, wanted, &ShellPaths::find(root));
    outcome.failures.extend(made.failures);
    outcome.members = made.open.iter().map(|account| member(root, account, &databases)).collect();
    if !outcome.in_files {
        outcome.notice = Some(READ_ONLY.to_owned());
    }
    save(root, &registry, &before, &databases, outcome)?;
    let mut blocked = Vec::new();
    for (account, member) in made.open.iter().zip(&mut outcome.members) {
        match home::open(root, account) {
            // Without a home a session begins in /, and the keys are in the list.
            Err(error) if !outcome.in_files => {
                text::log(&format!("account {}: {}", account.login, text::chain(&error)));
                member.home = "/".into();
            }
            Err(error) => {
                outcome.failures.push(format!("account {}: {}", account.login, text::chain(&error)));
            }
            Ok(()) => blocked.extend(home::obstacle(root, member).map(|why| {
                format!("{} cannot enter the home {} and begins in /: {why}", member.login, member.home)
            })),
        }
    }
    if !blocked.is_empty() {
        outcome.notice =
            Some(outcome.notice.take().into_iter().chain(blocked).collect::<Vec<_>>().join("; "));
    }
    for account in &made.locked {
        if let Err(error) = home::lock(root, account) {
            outcome.failures.push(format!("locked account {}: {}", account.login, text::chain(&error)));
        }
    }
    if !outcome.in_files {
        return Ok(());
    }
    let allowed: Vec<&str> =
        made.open.iter().filter(|account| account.sudo).map(|account| account.login.as_str()).collect();
    sudo::apply(root, &allowed)
}

/// Those whose accounts were made before the files of accounts became unreadable: they can still come in by Testyard's
/// own server, and mend it.
fn known(root: &Path, registry: &Registry, wanted: &[Account]) -> Vec<Member> {
    let shells = ShellPaths::find(root);
    let shell = Some(shells.login).filter(|path| root.join(path.trim_start_matches('/')).exists());
    let of = |account: &Account| {
        let entry = registry.get(&account.login).filter(|entry| !entry.locked)?;
        Some(Member {
            login: account.login.clone(),
            uid: entry.uid,
            // The group of their own that they got.
            gid: entry.uid,
            groups: Vec::new(),
            home: format!("{}/{}", shells.homes, account.login),
            shell: shell.clone(),
            keys: account.keys.clone(),
            sudo: account.sudo,
        })
    };
    wanted.iter().filter_map(of).collect()
}

/// Takes the keys of those who may not come in any more where the files of accounts cannot be read: the image's SSH
/// server may know how to read them all the same.
fn shut_out(root: &Path, registry: &Registry, wanted: &[Account]) {
    let homes = state::homes(root);
    for (login, _) in registry.iter().filter(|(login, _)| wanted.iter().all(|one| one.login != **login)) {
        let account = plan::Locked { login: login.clone(), home: format!("/{homes}/{login}") };
        if let Err(error) = home::lock(root, &account) {
            text::log(&format!("locked account {login}: {}", text::chain(&error)));
        }
    }
}

fn save(
    root: &Path,
    registry: &Registry,
    before: &Databases,
    after: &Databases,
    outcome: &mut Outcome,
) -> Result<(), FileError> {
    match registry.save(root) {
        // The same numbers come out again at the next boot: nothing else is remembered either.
        Err(error) if !outcome.in_files => text::log(&text::chain(&error)),
        saved => saved?,
    }
    if outcome.in_files { write(root, before, after, &mut outcome.changed) } else { Ok(()) }
}

fn member(root: &Path, account: &plan::Open, databases: &Databases) -> Member {
    let login = account.login.clone();
    let is_member =
        |row: &Vec<String>| row.get(3).is_some_and(|list| list.split(',').any(|user| user == login));
    let groups =
        databases.group.rows().filter(is_member).filter_map(|row| row.get(2)?.parse().ok()).collect();
    let shell = databases.passwd.get(&login).and_then(|row| row.get(6).cloned());
    Member {
        uid: account.uid,
        gid: account.gid,
        groups,
        home: account.home.clone(),
        shell: shell.filter(|path| path.starts_with('/') && root.join(&path[1..]).exists()),
        keys: account.keys.clone(),
        sudo: account.sudo,
        login,
    }
}

fn read(root: &Path) -> Result<Databases, FileError> {
    let table = |name: &str| -> Result<Option<Table>, FileError> {
        Ok(files::read(&root.join("etc").join(name))?.map(|bytes| Table::parse(&bytes)))
    };
    Ok(Databases {
        passwd: table("passwd")?.unwrap_or_default(),
        group: table("group")?.unwrap_or_default(),
        shadow: table("shadow")?,
        gshadow: table("gshadow")?,
    })
}

fn write(
    root: &Path,
    before: &Databases,
    after: &Databases,
    changed: &mut Vec<PathBuf>,
) -> Result<(), FileError> {
    let mut put = |name: &str, old: Option<&Table>, new: Option<&Table>| -> Result<(), FileError> {
        let path = root.join("etc").join(name);
        match new {
            Some(table) if old != new && files::replace(&path, &table.bytes(), None)? => changed.push(path),
            _ => {}
        }
        Ok(())
    };
    // passwd last: an account that is there is there in full.
    put("group", Some(&before.group), Some(&after.group))?;
    put("gshadow", before.gshadow.as_ref(), after.gshadow.as_ref())?;
    put("shadow", before.shadow.as_ref(), after.shadow.as_ref())?;
    put("passwd", Some(&before.passwd), Some(&after.passwd))
}

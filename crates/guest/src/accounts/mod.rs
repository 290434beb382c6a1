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

mod home;
mod lock;
mod plan;
mod registry;
mod sudo;

pub(crate) use plan::{Databases, ShellPaths, converge};
pub(crate) use registry::Registry;

use std::path::{Path, PathBuf};

use testyard_guest_protocol::Account;

use crate::files::{self, FileError};
use crate::table::Table;
use crate::text;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What could not be done, each naming the account.
    pub(crate) failures: Vec<String>,
    /// Files of /etc that have changed.
    pub(crate) changed: Vec<PathBuf>,
}

/// Makes the accounts so.
pub(crate) fn apply(root: &Path, wanted: &[Account]) -> Outcome {
    let mut outcome = Outcome::default();
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
    let _lock = lock::Lock::take(root);
    let before = read(root)?;
    let mut databases = before.clone();
    let made = converge(&mut databases, &mut registry, wanted, &ShellPaths::find(root));
    outcome.failures.extend(made.failures);

    registry.save(root)?;
    write(root, &before, &databases, &mut outcome.changed)?;
    for account in &made.open {
        if let Err(error) = home::open(root, account) {
            outcome.failures.push(format!("account {}: {}", account.login, text::chain(&error)));
        }
    }
    for account in &made.locked {
        if let Err(error) = home::lock(root, account) {
            outcome.failures.push(format!("locked account {}: {}", account.login, text::chain(&error)));
        }
    }
    let allowed: Vec<&str> =
        made.open.iter().filter(|account| account.sudo).map(|account| account.login.as_str()).collect();
    sudo::apply(root, &allowed)
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

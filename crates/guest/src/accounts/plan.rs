//! Which lines of passwd, group and shadow change. Pure.

use std::collections::BTreeSet;
use std::path::Path;

use testyard_guest_protocol::Account;

use super::registry::{Entry, Registry};
use crate::files;
use crate::state;
use crate::table::Table;

/// The files of accounts; the shadow ones only where the image has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Databases {
    pub(crate) passwd: Table,
    pub(crate) group: Table,
    pub(crate) shadow: Option<Table>,
    pub(crate) gshadow: Option<Table>,
}

/// What a new passwd line names.
#[derive(Clone, Debug)]
pub(crate) struct ShellPaths {
    /// What users get.
    pub(crate) login: String,
    /// What locked accounts get.
    pub(crate) nologin: String,
    /// The folder of homes, without a slash at its end.
    pub(crate) homes: String,
}

/// An account that should be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) login: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    pub(crate) keys: Vec<String>,
    pub(crate) sudo: bool,
}

/// An account that should be locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Locked {
    pub(crate) login: String,
    pub(crate) home: String,
}

/// What follows for homes and sudo.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) open: Vec<Open>,
    pub(crate) locked: Vec<Locked>,
    pub(crate) failures: Vec<String>,
}

/// Numbers for users, as distributions use them.
const NUMBERS: std::ops::RangeInclusive<u32> = 1000..=59_999;

/// The longest login that Linux' tools take.
const MAX_LOGIN: usize = 32;

const SHELL: usize = 6;
const SHADOW_PASSWORD: usize = 1;
const SHADOW_EXPIRY: usize = 7;

/// Changes files and registry so that the accounts of ours are the wanted ones, open, and all others locked.
pub(crate) fn converge(
    databases: &mut Databases,
    registry: &mut Registry,
    wanted: &[Account],
    shells: &ShellPaths,
) -> Made {
    let mut made = Made::default();
    let mut seen = BTreeSet::new();
    for account in wanted {
        let open = if seen.insert(account.login.as_str()) {
            open(databases, registry, account, shells)
        } else {
            Err("it is listed twice".into())
        };
        match open {
            Ok(open) => made.open.push(open),
            Err(reason) => {
                made.failures.push(format!("account {:?} cannot be made: {reason}", account.login))
            }
        }
    }
    let to_lock: Vec<(String, u32)> = registry
        .iter()
        .filter(|(login, _)| !seen.contains(login.as_str()))
        .map(|(login, entry)| (login.clone(), entry.uid))
        .collect();
    for (login, uid) in to_lock {
        // A user of this name and another number is not the one that we have made.
        if let Some(row) = databases.passwd.get(&login).filter(|row| row.get(2) == Some(&uid.to_string())) {
            databases.passwd.set_field(&login, SHELL, &shells.nologin);
            if let Some(shadow) = &mut databases.shadow {
                shadow.set_field(&login, SHADOW_EXPIRY, "1");
            }
            let home = row.get(5).cloned().unwrap_or_default();
            made.locked.push(Locked { login: login.clone(), home });
        }
        registry.set(&login, Entry { uid, locked: true });
    }
    made
}

fn open(
    databases: &mut Databases,
    registry: &mut Registry,
    account: &Account,
    shells: &ShellPaths,
) -> Result<Open, String> {
    let login = account.login.as_str();
    check(account)?;
    let known = registry.get(login).cloned();
    let row = databases.passwd.get(login);
    let uid = match (&known, &row) {
        (None, Some(row)) => {
            let uid = row.get(2).map_or("?", String::as_str);
            return Err(format!(
                "the image has an account of this name already (uid {uid}); choose another name or an image without it"
            ));
        }
        (Some(entry), Some(row)) if row.get(2) != Some(&entry.uid.to_string()) => {
            return Err("somebody in the node has replaced it by another account; remove that one".into());
        }
        (Some(entry), Some(_)) => entry.uid,
        (Some(entry), None) if !databases.passwd.numbers(2).contains(&entry.uid) => entry.uid,
        (_, None) => free_number(databases, registry).ok_or("all numbers for users are taken")?,
    };
    let home = match row {
        None => {
            let gid = make_group(databases, login, uid)?;
            let home = format!("{}/{login}", shells.homes);
            let password = if databases.shadow.is_some() { "x" } else { "*" };
            databases.passwd.set(login, &format!("{login}:{password}:{uid}:{gid}::{home}:{}", shells.login));
            home
        }
        Some(row) => {
            if known.is_some_and(|entry| entry.locked) {
                databases.passwd.set_field(login, SHELL, &shells.login);
            }
            row.get(5).cloned().unwrap_or_default()
        }
    };
    if let Some(shadow) = &mut databases.shadow {
        match shadow.get(login) {
            // `*` matches no password; `!` would make sshd refuse keys too.
            None => shadow.set(login, &format!("{login}:*::0:99999:7:::")),
            Some(row) => {
                if row.get(SHADOW_PASSWORD).is_none_or(|field| field.is_empty() || field.starts_with('!')) {
                    shadow.set_field(login, SHADOW_PASSWORD, "*");
                }
                if row.get(SHADOW_EXPIRY).is_some_and(|field| !field.is_empty()) {
                    shadow.set_field(login, SHADOW_EXPIRY, "");
                }
            }
        }
    }
    registry.set(login, Entry { uid, locked: false });
    let gid = databases.passwd.get(login).and_then(|row| row.get(3)?.parse().ok()).unwrap_or(uid);
    Ok(Open { login: login.to_owned(), uid, gid, home, keys: account.keys.clone(), sudo: account.sudo })
}

/// The sender has checked all this; a line break here would be another account.
fn check(account: &Account) -> Result<(), String> {
    let login = &account.login;
    let form = login.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && login.len() <= MAX_LOGIN
        && login.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    if !form {
        return Err("this is no name for an account".into());
    }
    if account.keys.iter().any(|key| key.chars().any(|c| c.is_control() && c != '\t')) {
        return Err("one of its keys is not a single line".into());
    }
    Ok(())
}

fn free_number(databases: &Databases, registry: &Registry) -> Option<u32> {
    let mut taken = databases.passwd.numbers(2);
    taken.extend(databases.group.numbers(2));
    taken.extend(registry.iter().map(|(_, entry)| entry.uid));
    NUMBERS.into_iter().find(|number| !taken.contains(number))
}

/// The account's own group: named as the account, or otherwise where the image has a group of that name, whose rights
/// the user must not get.
fn make_group(databases: &mut Databases, login: &str, gid: u32) -> Result<u32, String> {
    let ours = |row: &Vec<String>| row.get(2) == Some(&gid.to_string());
    if databases.group.rows().any(|row| ours(&row)) {
        // Made before an interruption, or left by `userdel`.
        return Ok(gid);
    }
    let other = format!("u-{login}");
    let name = [login, &other[..other.len().min(MAX_LOGIN)]]
        .into_iter()
        .find(|name| !databases.group.contains(name))
        .ok_or("the image has a group of this name already; choose another name")?
        .to_owned();
    databases.group.set(&name, &format!("{name}:x:{gid}:"));
    if let Some(gshadow) = &mut databases.gshadow
        && !gshadow.contains(&name)
    {
        gshadow.set(&name, &format!("{name}:!::"));
    }
    Ok(gid)
}

// === impl ShellPaths ===

impl ShellPaths {
    /// What the image has.
    pub(crate) fn find(root: &Path) -> Self {
        let there = |path: &str| root.join(path.trim_start_matches('/')).exists();
        let first = |paths: &[&str]| paths.iter().find(|path| there(path)).map(|path| (*path).to_owned());
        let listed = || {
            let shells = files::read(&root.join("etc/shells")).ok()??;
            String::from_utf8_lossy(&shells)
                .lines()
                .map(str::trim)
                .find(|line| line.starts_with('/') && there(line))
                .map(str::to_owned)
        };
        Self {
            login: first(&["/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh", "/bin/ash"])
                .or_else(listed)
                .unwrap_or_else(|| "/bin/sh".into()),
            nologin: first(&["/usr/sbin/nologin", "/sbin/nologin"]).unwrap_or_else(|| "/bin/false".into()),
            homes: format!("/{}", state::homes(root)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n";
    const GROUP: &str = "root:x:0:\ndocker:x:999:\nubuntu:x:1000:\nusers:x:1001:\n";

    fn image() -> Databases {
        Databases {
            passwd: Table::parse(PASSWD.as_bytes()),
            group: Table::parse(GROUP.as_bytes()),
            shadow: Some(Table::parse(b"root:*:19000:0:99999:7:::\n")),
            gshadow: None,
        }
    }

    fn shells() -> ShellPaths {
        ShellPaths { login: "/bin/bash".into(), nologin: "/usr/sbin/nologin".into(), homes: "/home".into() }
    }

    fn account(login: &str) -> Account {
        Account { login: login.into(), keys: vec!["ssh-ed25519 AAAA".into()], sudo: true }
    }

    #[test]
    fn an_account_is_made_locked_and_opened_again() {
        let (mut db, mut registry) = (image(), Registry::default());
        let made = converge(&mut db, &mut registry, &[account("ann")], &shells());
        assert_eq!((made.failures.len(), made.open[0].uid), (0, 1002));
        let passwd = String::from_utf8(db.passwd.bytes()).unwrap();
        assert_eq!(passwd, format!("{PASSWD}ann:x:1002:1002::/home/ann:/bin/bash\n"));
        assert_eq!(db.shadow.as_ref().unwrap().get("ann").unwrap().join(":"), "ann:*::0:99999:7:::");
        assert_eq!(db.group.get("ann").unwrap().join(":"), "ann:x:1002:");

        let settled = db.clone();
        converge(&mut db, &mut registry, &[account("ann")], &shells());
        assert_eq!(db, settled);

        let made = converge(&mut db, &mut registry, &[], &shells());
        assert_eq!(made.locked, [Locked { login: "ann".into(), home: "/home/ann".into() }]);
        assert_eq!(db.passwd.get("ann").unwrap()[6], "/usr/sbin/nologin");
        assert_eq!(db.shadow.as_ref().unwrap().get("ann").unwrap()[7], "1");

        converge(&mut db, &mut registry, &[account("bob"), account("ann")], &shells());
        assert_eq!(db.passwd.get("bob").unwrap()[2], "1003");
        assert_eq!(db.passwd.get("ann").unwrap()[6], "/bin/bash");
        assert_eq!(db.shadow.as_ref().unwrap().get("ann").unwrap()[7], "");
    }

    #[test]
    fn accounts_of_the_image_are_never_touched() {
        for name in ["root", "www-data", "ubuntu"] {
            let (mut db, mut registry) = (image(), Registry::default());
            let made = converge(&mut db, &mut registry, &[account(name)], &shells());
            assert!(made.failures[0].contains(name) && made.open.is_empty(), "{:?}", made.failures);
            assert_eq!(db, image());
            assert!(registry.is_empty());
        }
    }

    #[test]
    fn what_the_user_changed_is_kept() {
        let (mut db, mut registry) = (image(), Registry::default());
        converge(&mut db, &mut registry, &[account("ann")], &shells());
        db.passwd.set_field("ann", 6, "/usr/bin/zsh");
        db.shadow.as_mut().unwrap().set_field("ann", 1, "$6$hash");
        let mine = db.clone();
        converge(&mut db, &mut registry, &[account("ann")], &shells());
        assert_eq!(db, mine);
    }

    #[test]
    fn an_interrupted_making_is_finished() {
        let (mut db, mut registry) = (image(), Registry::default());
        converge(&mut db, &mut registry, &[account("ann")], &shells());
        // The registry and the groups were written, passwd was not.
        let mut half = image();
        half.group = db.group.clone();
        let made = converge(&mut half, &mut registry, &[account("ann")], &shells());
        assert!(made.failures.is_empty());
        assert_eq!(half, db);
    }

    #[test]
    fn a_group_of_the_image_is_not_joined() {
        let (mut db, mut registry) = (image(), Registry::default());
        let made = converge(&mut db, &mut registry, &[account("docker")], &shells());
        assert_eq!(made.open[0].gid, 1002);
        assert_eq!(db.group.get("docker").unwrap()[2], "999");
        assert_eq!(db.group.get("u-docker").unwrap()[2], "1002");
    }

    #[test]
    fn without_shadow_the_password_is_locked_in_passwd() {
        let (mut db, mut registry) = (image(), Registry::default());
        db.shadow = None;
        converge(&mut db, &mut registry, &[account("ann")], &shells());
        assert_eq!(db.passwd.get("ann").unwrap()[1], "*");
        assert!(db.shadow.is_none());
    }

    proptest! {
        #[test]
        fn hostile_names_make_no_line(login in "(.|\n){0,40}", key in "(.|\n){0,20}") {
            let (mut db, mut registry) = (image(), Registry::default());
            let wanted = Account { login: login.clone(), keys: vec![key], sudo: false };
            let made = converge(&mut db, &mut registry, &[wanted], &shells());
            let count = |table: &Table| table.rows().count();
            prop_assert!(count(&db.passwd) == count(&image().passwd) + made.open.len());
            prop_assert!(made.open.len() + made.failures.len() == 1);
        }

        #[test]
        fn any_sequence_keeps_numbers_apart_and_the_image_whole(
            steps in proptest::collection::vec(proptest::collection::btree_set("[a-d]|root|users|ubuntu", 0..5), 1..6)
        ) {
            let (mut db, mut registry) = (image(), Registry::default());
            for step in &steps {
                let wanted: Vec<Account> = step.iter().map(|login| account(login)).collect();
                converge(&mut db, &mut registry, &wanted, &shells());
            }
            let numbers: Vec<String> = db.passwd.rows().map(|row| row[2].clone()).collect();
            let distinct: BTreeSet<_> = numbers.iter().collect();
            prop_assert_eq!(numbers.len(), distinct.len());
            prop_assert!(String::from_utf8(db.passwd.bytes()).unwrap().starts_with(PASSWD));
            let last = steps.last().unwrap();
            for (login, entry) in registry.iter() {
                prop_assert_eq!(entry.locked, !last.contains(login));
            }
        }
    }
}

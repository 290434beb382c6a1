//! Who a command shall run as. Pure: over the image's files and the testbed's accounts.

use std::ffi::OsStr;

use super::record::Record;
use crate::table::Table;

/// Who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) login: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
    /// The login shell, if one is said.
    pub(super) shell: Option<String>,
}

/// Nobody of that name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    #[error("unknown user {0}")]
    User(String),
    #[error("unknown group {0}")]
    Group(String),
}

/// What is known of users and groups.
pub(super) struct Known<'a> {
    pub(super) passwd: &'a Table,
    pub(super) group: &'a Table,
    pub(super) record: &'a Record,
}

impl Known<'_> {
    /// The user that `-u` names: a name, or `#` and a number, which need not be anybody's.
    pub(super) fn user(&self, wanted: &OsStr) -> Result<Target, TargetError> {
        let unknown = || TargetError::User(wanted.to_string_lossy().into_owned());
        let text = wanted.to_str().filter(|text| !text.is_empty()).ok_or_else(unknown)?;
        match number(text) {
            Some(uid) => {
                let uid = uid.ok_or_else(unknown)?;
                Ok(self.by_uid(uid).unwrap_or_else(|| Target {
                    login: format!("#{uid}"),
                    uid,
                    gid: if uid == 0 { 0 } else { uid },
                    groups: Vec::new(),
                    home: "/".into(),
                    shell: None,
                }))
            }
            None if text == "root" => Ok(self.root()),
            None => {
                let row = self.passwd.get(text).and_then(|row| self.row(&row));
                row.or_else(|| self.member(|login, _| login == text)).ok_or_else(unknown)
            }
        }
    }

    /// The user with this number.
    pub(super) fn by_uid(&self, uid: u32) -> Option<Target> {
        if uid == 0 {
            return Some(self.root());
        }
        let row = self.passwd.rows().filter_map(|row| self.row(&row)).find(|target| target.uid == uid);
        row.or_else(|| self.member(|_, number| number == uid))
    }

    /// The group that `-g` names.
    pub(super) fn group(&self, wanted: &OsStr) -> Result<u32, TargetError> {
        let unknown = || TargetError::Group(wanted.to_string_lossy().into_owned());
        let text = wanted.to_str().filter(|text| !text.is_empty()).ok_or_else(unknown)?;
        match number(text) {
            Some(gid) => gid.ok_or_else(unknown),
            None => {
                let gid = self.group.get(text).and_then(|row| row.get(2)?.parse().ok());
                gid.filter(|gid| *gid != u32::MAX).ok_or_else(unknown)
            }
        }
    }

    /// Root, also where the image has no line for it.
    fn root(&self) -> Target {
        let row = self.passwd.get("root").and_then(|row| self.row(&row)).filter(|target| target.uid == 0);
        row.unwrap_or_else(|| Target {
            login: "root".into(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            home: "/root".into(),
            shell: None,
        })
    }

    fn row(&self, row: &[String]) -> Option<Target> {
        let login = row.first()?.clone();
        let text = |column: usize| row.get(column).filter(|text| !text.is_empty()).cloned();
        let member =
            |row: &Vec<String>| row.get(3).is_some_and(|list| list.split(',').any(|user| user == login));
        let groups = self.group.rows().filter(member).filter_map(|row| row.get(2)?.parse().ok()).collect();
        Some(Target {
            uid: row.get(2)?.parse().ok().filter(|uid| *uid != u32::MAX)?,
            gid: row.get(3)?.parse().ok().filter(|gid| *gid != u32::MAX)?,
            groups,
            home: text(5).unwrap_or_else(|| "/".into()),
            shell: text(6),
            login,
        })
    }

    fn member(&self, is: impl Fn(&str, u32) -> bool) -> Option<Target> {
        let member = self.record.accounts.iter().find(|member| is(&member.login, member.uid))?;
        Some(Target {
            login: member.login.clone(),
            uid: member.uid,
            gid: member.gid,
            groups: member.groups.clone(),
            home: member.home.clone(),
            shell: member.shell.clone(),
        })
    }
}

/// `#1000`. The number that means "leave it as it is" to the kernel is nobody's.
fn number(text: &str) -> Option<Option<u32>> {
    let digits = text.strip_prefix('#')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    Some(digits.parse().ok().filter(|number| plain && *number != u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Member;

    #[test]
    fn names_and_numbers() {
        let passwd =
            Table::parse(b"root:x:0:0::/root:/bin/ash\nweb:x:33:34::/var/www:\nodd:x:4294967295:0::/:\n");
        let group = Table::parse(b"web:x:34:\nadm:x:4:web,root\n");
        let record = Record {
            accounts: vec![Member {
                login: "ann".into(),
                uid: 1000,
                gid: 1001,
                home: "/h".into(),
                ..Member::default()
            }],
        };
        let known = Known { passwd: &passwd, group: &group, record: &record };
        let ids =
            |name: &str| known.user(OsStr::new(name)).map(|who| (who.uid, who.gid, who.groups, who.home));
        assert_eq!(ids("web").unwrap(), (33, 34, vec![4], "/var/www".into()));
        assert_eq!(ids("#33").unwrap(), (33, 34, vec![4], "/var/www".into()));
        assert_eq!(ids("root").unwrap(), (0, 0, vec![4], "/root".into()));
        // An account that the image's files do not know.
        assert_eq!(ids("ann").unwrap(), (1000, 1001, vec![], "/h".into()));
        assert_eq!(ids("#4242").unwrap(), (4242, 4242, vec![], "/".into()));
        for name in ["", "#", "#-1", "#+1", "#4294967295", "#4294967296", "none", "odd", "#1x"] {
            assert!(ids(name).is_err(), "{name}");
        }
        let of = |name: &str| known.group(OsStr::new(name));
        assert_eq!((of("adm"), of("#77")), (Ok(4), Ok(77)));
        assert!(of("none").is_err() && of("#4294967295").is_err());
        let nothing =
            Known { passwd: &Table::default(), group: &Table::default(), record: &Record::default() };
        assert_eq!(nothing.user(OsStr::new("root")).unwrap().home, "/root");
    }
}

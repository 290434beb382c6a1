//! Login names of users: derived from the last part of the user's URN, never shared by two users of a slice, never the
//! name of an account or group that images have already.
//!
//! A user who has a name in the slice keeps it. Of two new users whose URNs give the same name, the first gets it, the
//! other one gets it with a mark that is derived from the whole URN, so it is the same in every slice and after every
//! restart.

use std::collections::{BTreeMap, BTreeSet};

use testyard_model::name::Login;
use testyard_model::urn::UserUrn;

use crate::hash::fnv;

/// Names that no user gets: accounts and groups of Debian, Ubuntu, Alpine and Fedora base images and of packages that
/// are often in images. An account of such a name would change what is there.
const SYSTEM: &str = "\
    _apt abrt adm admin ansible apache audio avahi backup bin bind bitnami caddy ceph cdrom centos chrony \
    clamav colord consul couchdb cron crontab daemon dbus debian dhcpcd dialout dip disk dnsmasq docker \
    dovecot elasticsearch etcd exim fax fedora floppy ftp fwupd-refresh games geoclue git gitlab-runner \
    gnats grafana guest halt haproxy hplip http httpd influxdb input irc jenkins jovyan kafka kernoops kmem \
    kvm landscape lightdm list lock lp lpadmin lxd mail man memcache memcached messagebus minio mongodb \
    munge mysql nagios named netdev news nginx nobody nogroup node nslcd ntp ntpd ntpsec nut openvpn \
    operator oracle pi plugdev polkitd pollinate postdrop postfix postgres postmaster prometheus proxy pulse \
    puppet quagga rabbitmq redis render root rpc rpcuser rtkit saned sasl sgx shadow shutdown slurm smmsp \
    smmta snort solr speech-dispatcher squid src sshd ssl-cert sssd staff statd strongswan sudo swift sync \
    sys syslog tape tcpdump testyard tomcat tor tss tty ubuntu unbound usbmux users utempter utmp uucp uuidd \
    vagrant varnish video voice vpopmail wheel whoopsie wireshark www www-data xfs zabbix zookeeper";

/// Beginnings of names of system accounts.
const SYSTEM_PREFIXES: &[&str] = &["_", "systemd-", "gnome-", "debian-", "nm-", "cups-", "nixbld"];

const MAX: usize = 32;

/// Whether images may have an account or group of this name.
#[must_use]
pub fn is_system(login: &str) -> bool {
    SYSTEM.split(' ').any(|name| name == login)
        || SYSTEM_PREFIXES.iter().any(|prefix| login.starts_with(prefix))
}

/// A login name for each user, in their order, each user once; none of the `reserved` ones to a new user.
#[must_use]
pub fn assign(
    existing: &BTreeMap<UserUrn, Login>,
    users: &[UserUrn],
    reserved: &BTreeSet<Login>,
) -> Vec<(UserUrn, Login)> {
    let mut names: BTreeMap<UserUrn, Login> = existing.clone();
    let mut assigned: Vec<(UserUrn, Login)> = Vec::with_capacity(users.len());
    for user in users {
        if assigned.iter().any(|(assigned, _)| assigned == user) {
            continue;
        }
        let login = names.get(user).cloned().unwrap_or_else(|| free(user, &names, reserved));
        names.insert(user.clone(), login.clone());
        assigned.push((user.clone(), login));
    }
    assigned
}

/// The first name of the user's that nobody has.
fn free(user: &UserUrn, names: &BTreeMap<UserUrn, Login>, reserved: &BTreeSet<Login>) -> Login {
    let plain = plain(user.name());
    let mark = fnv(&user.to_string());
    let candidates = std::iter::once(plain.clone())
        .chain(std::iter::once(with_suffix(&plain, &format!("-{:05x}", mark & 0xf_ffff))))
        .chain(
            (2u64..).map(|round| with_suffix(&plain, &format!("-{:08x}", mark.wrapping_mul(round) >> 32))),
        );
    let mut free = candidates.filter_map(|text| {
        let login: Login = text.parse().ok()?;
        let good = !is_system(login.as_str()) && !reserved.contains(&login);
        (good && !names.values().any(|taken| *taken == login)).then_some(login)
    });
    // The candidates never end, so there is a free one before anyone has waited long.
    free.next().unwrap_or_else(|| unreachable!("an endless iterator has a next item"))
}

/// A valid login name for any text: what it may not have becomes a hyphen, and `u-` stands before what may not be at
/// the beginning or is a system name.
fn plain(name: &str) -> String {
    let mut login = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' => login.push(c),
            _ if login.is_empty() || login.ends_with('-') => {}
            _ => login.push('-'),
        }
    }
    let mut login = login.trim_matches('-').to_owned();
    if !login.starts_with(|c: char| c.is_ascii_lowercase()) || is_system(&login) {
        login.insert_str(0, if login.is_empty() { "user" } else { "u-" });
    }
    login.truncate(MAX);
    let login = login.trim_end_matches('-').to_owned();
    if is_system(&login) { with_suffix(&login, "-u") } else { login }
}

fn with_suffix(name: &str, suffix: &str) -> String {
    let end = name.len().min(MAX - suffix.len());
    format!("{}{suffix}", name[..end].trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(authority: &str, name: &str) -> UserUrn {
        format!("urn:publicid:IDN+{authority}+user+{name}").parse().unwrap()
    }

    fn logins(users: &[UserUrn]) -> Vec<String> {
        assign(&BTreeMap::new(), users, &BTreeSet::new())
            .into_iter()
            .map(|(_, login)| login.to_string())
            .collect()
    }

    #[test]
    fn names_of_urns() {
        for (name, login) in [
            ("ann", "ann"),
            ("Ann.Miller", "ann-miller"),
            ("ann+x@example.org", "ann-x-example-org"),
            ("1ann", "u-1ann"),
            ("root", "u-root"),
            ("_apt", "u-_apt"),
            ("systemd-network", "u-systemd-network"),
            ("...", "user"),
            ("';id;'", "id"),
            ("a-name-that-is-longer-than-linux-allows-it", "a-name-that-is-longer-than-linux"),
        ] {
            assert_eq!(logins(&[user("a", name)]), [login], "{name}");
        }
    }

    #[test]
    fn two_users_never_share_one() {
        let (one, other) = (user("a.example", "ann"), user("b.example", "ann"));
        let names = logins(&[one.clone(), other.clone(), one.clone()]);
        assert_eq!(names.len(), 2);
        assert_eq!(names[0], "ann");
        assert!(names[1].starts_with("ann-"), "{names:?}");
        let existing: BTreeMap<_, _> = [(other.clone(), "ann".parse().unwrap())].into();
        let names = assign(&existing, &[one, other], &BTreeSet::new());
        assert_eq!(names[1].1.as_str(), "ann", "who has a name keeps it");
        assert_ne!(names[0].1.as_str(), "ann");
    }

    #[test]
    fn reserved_names_are_not_given() {
        let reserved = ["ann".parse().unwrap()].into();
        assert_ne!(assign(&BTreeMap::new(), &[user("a", "ann")], &reserved)[0].1.as_str(), "ann");
    }

    proptest! {
        #[test]
        fn every_user_gets_a_good_name_of_his_own(
            names in prop::collection::vec("[!-~&&[^\"<>\\\\^`]]{1,40}|root|ann|ANN|an[.]n|sshd|_", 1..20),
            authority in prop::collection::vec("a|b|c:d", 20), kept in 0usize..5,
        ) {
            let users: Vec<_> = names.iter().zip(authority).map(|(name, authority)| user(&authority, name)).collect();
            let existing: BTreeMap<_, _> = assign(&BTreeMap::new(), &users[..kept.min(users.len())], &BTreeSet::new()).into_iter().collect();
            let assigned = assign(&existing, &users, &BTreeSet::new());
            let different: BTreeSet<_> = assigned.iter().map(|(_, login)| login).collect();
            prop_assert_eq!(different.len(), assigned.len());
            prop_assert_eq!(assigned.iter().map(|(user, _)| user).collect::<BTreeSet<_>>(), users.iter().collect());
            for (user, login) in &assigned {
                prop_assert!(!is_system(login.as_str()), "{}", login);
                prop_assert!(existing.get(user).is_none_or(|had| had == login));
            }
            prop_assert_eq!(assign(&existing, &users, &BTreeSet::new()), assigned);
        }
    }
}

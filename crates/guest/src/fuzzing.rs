//! Entry points of the fuzzers (`fuzz/`); `tests/corpus.rs` runs the committed corpora through the same functions.

/// The files of accounts, and a private host key.
pub fn accounts(data: &[u8]) {
    use crate::accounts::{Databases, Registry, ShellPaths, converge};
    use crate::table::Table;

    let table = Table::parse(data);
    assert_eq!(Table::parse(&table.bytes()), table);
    let mut databases =
        Databases { passwd: table.clone(), group: table.clone(), shadow: Some(table), gshadow: None };
    let shells = ShellPaths { login: "/bin/sh".into(), nologin: "/bin/false".into(), homes: "/home".into() };
    let login = String::from_utf8_lossy(data).chars().take(20).collect();
    let wanted = [login, "ann".to_owned()].map(|login| testyard_guest_protocol::Account {
        login,
        keys: vec![],
        sudo: false,
    });
    let mut registry = Registry::default();
    let made = converge(&mut databases, &mut registry, &wanted, &shells);
    assert!(made.open.iter().all(|account| account.uid >= 1000 && !account.login.contains([':', '\n'])));
    let _ = crate::ssh::convert(&String::from_utf8_lossy(data));
}

/// What a caller gives to sudo: arguments and variables, each ended by a zero byte, the two lists parted by an empty one.
pub fn sudo(data: &[u8]) {
    crate::sudo::check(data);
}

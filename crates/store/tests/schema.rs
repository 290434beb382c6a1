//! The schema is the one that is committed beside this test, so that a change of it is seen, and comes with a new
//! migration. `TESTYARD_BLESS=1` writes the file anew.
#![allow(clippy::unwrap_used)]

mod support;

#[test]
fn the_schema_is_the_committed_one() {
    let (_folder, store) = support::open();
    let connection = rusqlite::Connection::open(store.path()).unwrap();
    let sql = "SELECT sql || ';' FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'refinery%' \
               AND name NOT LIKE 'sqlite%' ORDER BY type DESC, name";
    let mut statement = connection.prepare(sql).unwrap();
    let found: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let found = found.join("\n\n") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql");
    if std::env::var_os("TESTYARD_BLESS").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, committed, "the schema differs from schema.sql: was a released migration edited?");
}

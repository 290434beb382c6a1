-- Hosts that come in by the network: tokens and certificates that are good, as JSON.
CREATE TABLE members (
    name   TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

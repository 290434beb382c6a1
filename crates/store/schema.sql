CREATE TRIGGER sliver_comes AFTER INSERT ON slivers BEGIN
    INSERT INTO hosts (name, slivers) VALUES (NEW.host, 1) ON CONFLICT (name) DO UPDATE SET slivers = slivers + 1;
END;

CREATE TRIGGER sliver_goes AFTER DELETE ON slivers BEGIN
    UPDATE hosts SET slivers = slivers - 1 WHERE name = OLD.host;
END;

CREATE TABLE addresses (
    host    TEXT NOT NULL,
    address TEXT NOT NULL,
    sliver  TEXT NOT NULL REFERENCES slivers (id) ON DELETE CASCADE,
    PRIMARY KEY (host, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        TEXT NOT NULL,
    user      TEXT NOT NULL,
    tool      TEXT,
    object     TEXT NOT NULL,
    operation TEXT NOT NULL,
    detail    TEXT NOT NULL
, request TEXT) STRICT;

CREATE TABLE documents (
    slice  TEXT NOT NULL REFERENCES slices (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    text   TEXT NOT NULL, network TEXT,
    PRIMARY KEY (slice, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE hosts (
    name    TEXT NOT NULL PRIMARY KEY,
    slivers INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE logins (
    slice TEXT NOT NULL REFERENCES slices (id) ON DELETE CASCADE,
    user  TEXT NOT NULL,
    login TEXT NOT NULL,
    PRIMARY KEY (slice, user),
    UNIQUE (slice, login)
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    name   TEXT NOT NULL PRIMARY KEY,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ports (
    host   TEXT NOT NULL,
    port   INTEGER NOT NULL,
    sliver TEXT NOT NULL REFERENCES slivers (id) ON DELETE CASCADE,
    PRIMARY KEY (host, port)
) STRICT, WITHOUT ROWID;

CREATE TABLE reports (
    slice  TEXT NOT NULL PRIMARY KEY REFERENCES slices (id) ON DELETE CASCADE,
    at     TEXT NOT NULL,
    report TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE seen (
    sliver   TEXT NOT NULL PRIMARY KEY REFERENCES slivers (id) ON DELETE CASCADE,
    observed TEXT,
    events   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE shutdowns (
    slice TEXT NOT NULL PRIMARY KEY,
    user  TEXT NOT NULL,
    at    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE slices (
    id       TEXT NOT NULL PRIMARY KEY,
    urn      TEXT NOT NULL,
    tag      INTEGER NOT NULL UNIQUE CHECK (tag > 0),
    revision INTEGER NOT NULL,
    ended    INTEGER NOT NULL CHECK (ended IN (0, 1)),
    creator  TEXT NOT NULL,
    created  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE slivers (
    id        TEXT NOT NULL PRIMARY KEY,
    slice     TEXT NOT NULL REFERENCES slices (id) ON DELETE CASCADE,
    number    INTEGER NOT NULL,
    document  INTEGER NOT NULL,
    client_id TEXT NOT NULL,
    host      TEXT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('allocated', 'provisioned', 'leaving')),
    left_at   INTEGER CHECK ((state = 'leaving') = (left_at IS NOT NULL)),
    expires   TEXT NOT NULL,
    body      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX addresses_sliver ON addresses (sliver);

CREATE INDEX audit_object ON audit (object, id);

CREATE INDEX ports_sliver ON ports (sliver);

CREATE INDEX slices_creator ON slices (creator) WHERE ended = 0;

CREATE UNIQUE INDEX slices_living ON slices (urn) WHERE ended = 0;

CREATE UNIQUE INDEX slivers_client_id ON slivers (slice, client_id) WHERE state <> 'leaving';

CREATE INDEX slivers_slice ON slivers (slice);

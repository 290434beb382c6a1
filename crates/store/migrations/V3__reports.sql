-- What the links of a slice were measured to do, the newest report of each, as JSON that says its version.
CREATE TABLE reports (
    slice  TEXT NOT NULL PRIMARY KEY REFERENCES slices (id) ON DELETE CASCADE,
    at     TEXT NOT NULL,
    report TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The audit trail is of hosts and of the testbed, too, and says in which call something was done.
DROP INDEX audit_slice;
ALTER TABLE audit RENAME COLUMN slice TO object;
ALTER TABLE audit ADD COLUMN request TEXT;
CREATE INDEX audit_object ON audit (object, id);

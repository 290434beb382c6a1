-- The planned network of a request, as versioned JSON; none for requests of before.
ALTER TABLE documents ADD COLUMN network TEXT;

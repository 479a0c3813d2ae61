-- The line of a batch's file that a question comes from, by its keyed pseudonym; empty for others. The same line again is the same question until that expires.
ALTER TABLE asked ADD COLUMN line BLOB NOT NULL DEFAULT x'';
CREATE INDEX asked_line ON asked (line);

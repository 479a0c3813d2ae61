-- Checkpoints of other nodes' logs: those under which this node holds something (kept: a received run, else only a question),
-- and cosigned ones (cover = size, not kept) that cover them. cover is -1 where the checkpoint disagrees with what is witnessed.
CREATE TABLE checkpoints (log TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, kept INTEGER NOT NULL, note TEXT NOT NULL, since INTEGER NOT NULL, cover INTEGER, proof BLOB, witnessed INTEGER, PRIMARY KEY (log, size, root, kept)) WITHOUT ROWID;
CREATE INDEX checkpoints_open ON checkpoints (log, since) WHERE cover IS NULL;
CREATE INDEX checkpoints_cover ON checkpoints (log, cover) WHERE kept = 1;
-- Proofs that a log, or a note, says two things; the first of each.
CREATE TABLE forks (subject TEXT NOT NULL PRIMARY KEY, found INTEGER NOT NULL, proof TEXT NOT NULL) WITHOUT ROWID;
-- The checkpoint that a received run stands under.
ALTER TABLE received ADD COLUMN size INTEGER;
ALTER TABLE received ADD COLUMN root BLOB;

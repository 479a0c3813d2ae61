-- The newest checkpoint of each other log that this node cosigned, or saw. It never goes back.
CREATE TABLE seen (log TEXT NOT NULL PRIMARY KEY, size INTEGER NOT NULL, checkpoint TEXT NOT NULL) WITHOUT ROWID;
-- Checkpoints of this node's own logs with the cosignature that counts; the newest of each log number.
CREATE TABLE cosigned (number INTEGER NOT NULL PRIMARY KEY, size INTEGER NOT NULL, checkpoint TEXT NOT NULL) WITHOUT ROWID;
